// Archives that no honest tool makes: well-kept writers make them, then names are replaced by others as long.
import { gzipSync } from 'node:zlib';
import { pack, type Header } from 'tar-stream';
import { ZipFile } from 'yazl';
import { zipOf } from './archives.ts';

const manifest = JSON.stringify({ kind: 'function', handler: 'index.handler' });

/** An honest function's files and beside them one entry of this name. */
export async function zipWithName(name: string): Promise<Buffer> {
  const stand = 'x'.repeat(Buffer.byteLength(name));
  const zip = await zipOf({ 'bellows.json': manifest, 'index.mjs': '', [stand]: 'hostile' });
  return Buffer.from(
    zip.toString('latin1').replaceAll(stand, Buffer.from(name).toString('latin1')),
    'latin1',
  );
}

export async function zipWithLink(name: string, target: string): Promise<Buffer> {
  const zip = new ZipFile();
  zip.addBuffer(Buffer.from(manifest), 'bellows.json');
  zip.addBuffer(Buffer.from(target), name, { mode: 0o120777 });
  zip.end();
  const chunks: Buffer[] = [];
  for await (const chunk of zip.outputStream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

export async function tarWith(
  ...entries: readonly (Partial<Header> & { readonly name: string })[]
): Promise<Buffer> {
  const archive = pack();
  archive.entry({ name: 'bellows.json' }, manifest);
  for (const { name, ...header } of entries)
    archive.entry({ ...header, name }, header.type === undefined ? 'hostile' : '');
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive) chunks.push(chunk as Buffer);
  return gzipSync(Buffer.concat(chunks));
}

/** 300 MiB of zeros in 300 KiB. */
export async function zipBomb(): Promise<Buffer> {
  return zipOf({ 'bellows.json': manifest, 'index.mjs': '', zeros: Buffer.alloc(300 * 1024 * 1024) });
}
