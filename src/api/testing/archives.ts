// Archives for tests: honest ones made by well-kept writers, hostile ones byte by byte. Tests only.
import { buffer } from 'node:stream/consumers';
import { crc32, deflateRawSync, gzipSync } from 'node:zlib';
import { pack, type Header } from 'tar-stream';
import { ZipFile } from 'yazl';

export type Files = Readonly<Record<string, string | Buffer>>;

/** An honest zip. */
export async function zipOf(files: Files, mode = 0o100644): Promise<Buffer> {
  const zip = new ZipFile();
  for (const [name, content] of Object.entries(files)) zip.addBuffer(Buffer.from(content), name, { mode });
  zip.end();
  return await buffer(zip.outputStream);
}

export interface RawEntry {
  readonly name: string | Buffer;
  readonly content?: Buffer | string;
  /** Unix mode with its file type. */
  readonly mode?: number;
  readonly method?: number;
  readonly flags?: number;
  /** Lies of the central directory. */
  readonly saysSize?: number;
  readonly saysCrc?: number;
  /** Bytes that stand in the file instead of the packed content. */
  readonly packed?: Buffer;
  /** Points to the local header of the first entry instead of its own. */
  readonly sharesFirst?: boolean;
}

/** A zip of exactly these entries, however wrong they are. */
export function rawZip(entries: readonly RawEntry[]): Buffer {
  const bodies: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const entry of entries) {
    const name = Buffer.from(entry.name);
    const content = Buffer.from(entry.content ?? '');
    const method = entry.method ?? 8;
    const packed = entry.packed ?? (method === 8 ? deflateRawSync(content) : content);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(entry.flags ?? 0x800, 2);
    common.writeUInt16LE(method, 4);
    common.writeUInt32LE(entry.saysCrc ?? crc32(content), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(entry.saysSize ?? content.length, 18);
    common.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), common, name, packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE((((entry.mode ?? 0o100644) << 16) >>> 0) >>> 0, 6);
    tail.writeUInt32LE(entry.sharesFirst === true ? 0 : offset, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x03', 'latin1'), common, tail, name]));
    if (entry.sharesFirst !== true) {
      bodies.push(local);
      offset += local.length;
    }
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 0, 'latin1');
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...bodies, central, end]);
}

export type TarEntry = Partial<Header> & { readonly name: string; readonly content?: string };

/** A gzipped tar of exactly these entries; the writer checks no names. */
export async function tarGzOf(entries: readonly TarEntry[]): Promise<Buffer> {
  const tar = pack();
  for (const { content, ...header } of entries) tar.entry(header, content ?? '');
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  return gzipSync(Buffer.concat(chunks));
}
