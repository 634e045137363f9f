// Takes a submitted archive in: checked, unpacked, kept. Afterwards the code lies in a directory named by the
// archive's hash, whole, or nothing of it lies anywhere. Does not own formats (zip.ts, tar.ts) nor clean-up of old code.
import { hash, randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BellowsError } from '../../base/errors.ts';
import type { TenantId } from '../../base/ids.ts';
import { humanBytes } from '../../base/quantity.ts';
import type { ControlPlane, SubmittedCode } from '../../controller/control-plane.ts';
import type { Layout } from '../../sys/layout.ts';
import { maxArchiveBytes } from './limits.ts';
import { Staging, type EntrySink } from './staging.ts';
import { unpackTarGz } from './tar.ts';
import { unpackZip } from './zip.ts';

const stagingPrefix = '.new-';

export interface Archives {
  readonly control: Pick<ControlPlane, 'storeArchive'>;
  readonly layout: Layout;
}

/**
 * Unpacks `archive` for a tenant. `inspect` looks at the unpacked directory before it is kept, and may refuse it by
 * throwing. The same bytes again are free.
 * @throws BellowsError InvalidArchive, UnsafeArchive, ArchiveTooLarge, and whatever `inspect` throws
 */
export async function admitArchive<T>(
  { control, layout }: Archives,
  tenant: TenantId,
  archive: Buffer,
  inspect: (directory: string) => Promise<T>,
): Promise<{ code: SubmittedCode; inspected: T }> {
  const unpack = readerOf(archive);
  const target = layout.codeOf(tenant, hash('sha256', archive));
  if (await isDirectory(target)) {
    const inspected = await inspect(target);
    const code = await control.storeArchive(tenant, archive);
    // Held from clean-up only now; when clean-up was faster, it is unpacked again.
    if (await isDirectory(target)) return { code, inspected };
  }
  const staging = await makeStaging(layout, target);
  try {
    const writer = new Staging(staging);
    await unpack(archive, writer);
    await writer.finish();
    const inspected = await inspect(staging);
    const code = await control.storeArchive(tenant, archive);
    await rename(staging, target).catch((thrown: unknown) => {
      // Somebody submitted the same at the same time and was first: theirs is as good.
      if (!isNotEmpty(thrown)) throw thrown;
    });
    return { code, inspected };
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** Only says whether an archive would be admitted; nothing of it is kept. @throws as {@link admitArchive} */
export async function checkArchive(
  layout: Layout,
  tenant: TenantId,
  archive: Buffer,
): Promise<SubmittedCode> {
  const unpack = readerOf(archive);
  const sha256 = hash('sha256', archive);
  const staging = await makeStaging(layout, layout.codeOf(tenant, sha256));
  try {
    const writer = new Staging(staging);
    await unpack(archive, writer);
    await writer.finish();
    return { sha256, sizeBytes: archive.length };
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** Removes what an unpacking left that ended with its process. Call it before the first archive is admitted. */
export async function removeUnfinished(layout: Layout): Promise<void> {
  for (const tenant of await readdir(layout.code).catch(() => [])) {
    for (const name of await readdir(join(layout.code, tenant)).catch(() => [])) {
      if (name.startsWith(stagingPrefix))
        await rm(join(layout.code, tenant, name), { recursive: true, force: true });
    }
  }
}

export function archiveTooLarge(): BellowsError {
  return new BellowsError(
    'ArchiveTooLarge',
    `The archive has more than ${humanBytes(maxArchiveBytes)}.`,
    'Leave development dependencies and data out, or bundle the code.',
  );
}

function readerOf(archive: Buffer): (archive: Buffer, sink: EntrySink) => Promise<void> {
  if (archive.length > maxArchiveBytes) {
    throw archiveTooLarge();
  }
  const magic = archive.toString('latin1', 0, 4);
  if (magic === 'PK\x03\x04') return unpackZip;
  if (magic === 'PK\x05\x06')
    throw new BellowsError('InvalidArchive', 'The zip is empty.', 'Put at least one file in it.');
  if (magic.startsWith('\x1f\x8b')) return unpackTarGz;
  throw new BellowsError(
    'InvalidArchive',
    archive.length === 0 ? 'The archive is empty.' : 'The body is neither a zip nor a gzipped tar.',
    'Send the bytes of a file made by zip -r app.zip . or by tar -czf ../app.tar.gz .',
  );
}

/** Beside its target, for only within a file system is a rename atomic. */
async function makeStaging(layout: Layout, target: string): Promise<string> {
  // Only Bellows enters these: an instance is shown its own directory by a bind mount, which needs no way to it.
  await mkdir(layout.code, { recursive: true, mode: 0o700 });
  await mkdir(dirname(target), { recursive: true, mode: 0o700 });
  const staging = join(dirname(target), `${stagingPrefix}${randomBytes(8).toString('hex')}`);
  await mkdir(staging);
  await chmod(staging, 0o755);
  return staging;
}

async function isDirectory(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined))?.isDirectory() ?? false;
}

function isNotEmpty(thrown: unknown): boolean {
  return (
    thrown instanceof Error && 'code' in thrown && (thrown.code === 'ENOTEMPTY' || thrown.code === 'EEXIST')
  );
}
