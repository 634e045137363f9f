// Archives that must not be deployed, and what each is refused with.
import { randomBytes } from 'node:crypto';
import { zipOf } from '../../support/archives.ts';
import { tarWith, zipBomb, zipWithLink, zipWithName } from '../../support/hostile-archives.ts';

const mib = 1024 * 1024;
type ArchiveCase = readonly [
  what: string,
  archive: () => Buffer | Promise<Buffer>,
  status: number,
  code: string,
  message: RegExp,
];
const manifestOf = (manifest: unknown) => () =>
  zipOf({
    'bellows.json': typeof manifest === 'string' ? manifest : JSON.stringify(manifest),
    'index.mjs': '',
  });
const fn = { kind: 'function', handler: 'index.handler' };
export const archiveCases: readonly ArchiveCase[] = [
  ['nothing', () => Buffer.alloc(0), 400, 'InvalidArchive', /empty/],
  ['no archive', () => Buffer.from('hello'), 400, 'InvalidArchive', /neither a zip/],
  [
    'a zip that was cut off',
    async () => (await zipOf({ 'bellows.json': '{}' })).subarray(0, 60),
    400,
    'InvalidArchive',
    /./,
  ],
  [
    'a tar.gz that was cut off',
    async () => (await tarWith({ name: 'a' })).subarray(0, 60),
    400,
    'InvalidArchive',
    /./,
  ],
  [
    'a zip with a damaged byte',
    async () => damaged(await zipOf({ ...files(), noise: randomBytes(4096) })),
    400,
    'InvalidArchive',
    /./,
  ],
  ['51 MB', async () => zipOf({ ...files(), noise: randomBytes(51 * mib) }), 413, 'ArchiveTooLarge', /50/],
  ['a bomb of 300 MiB', zipBomb, 413, 'ArchiveTooLarge', /250/],
  [
    'a zip that says 60,000 entries',
    async () => sayingEntries(60_000, await zipOf(files())),
    413,
    'ArchiveTooLarge',
    /50000|50,000|entries/,
  ],
  ['a zip with a way up', () => zipWithName('../../../../tmp/evil'), 400, 'UnsafeArchive', /\.\./],
  ['a zip with a way up inside', () => zipWithName('a/../../evil'), 400, 'UnsafeArchive', /\.\./],
  ['a zip with an absolute path', () => zipWithName('/etc/cron.d/evil'), 400, 'UnsafeArchive', /absolute/],
  ['a zip with backslashes', () => zipWithName('..\\..\\evil'), 400, 'UnsafeArchive', /backslash/],
  ['a zip with a link out', () => zipWithLink('out', '/etc/passwd'), 400, 'UnsafeArchive', /out/],
  ['a zip with a link up', () => zipWithLink('a/out', '../../x'), 400, 'UnsafeArchive', /out/],
  ['a tar with a way up', () => tarWith({ name: '../evil' }), 400, 'UnsafeArchive', /\.\./],
  ['a tar with an absolute path', () => tarWith({ name: '/tmp/evil' }), 400, 'UnsafeArchive', /absolute/],
  [
    'a tar with a link out',
    () => tarWith({ name: 'l', type: 'symlink', linkname: '/etc/shadow' }),
    400,
    'UnsafeArchive',
    /"l"/,
  ],
  [
    'a tar that writes through a link',
    () => tarWith({ name: 'd', type: 'symlink', linkname: '/tmp' }, { name: 'd/evil' }),
    400,
    'UnsafeArchive',
    /"d/,
  ],
  [
    'a tar with a hard link out',
    () => tarWith({ name: 'h', type: 'link', linkname: '/etc/shadow' }),
    400,
    'UnsafeArchive',
    /"h"/,
  ],
  [
    'a tar with a device',
    () => tarWith({ name: 'sda', type: 'block-device', devmajor: 8, devminor: 0 }),
    400,
    'UnsafeArchive',
    /"sda"/,
  ],
  ['a tar with a pipe', () => tarWith({ name: 'p', type: 'fifo' }), 400, 'UnsafeArchive', /"p"/],
  ['the same file twice', () => tarWith({ name: 'a' }, { name: 'a' }), 400, 'InvalidArchive', /"a"/],
  ['no bellows.json', () => zipOf({ 'index.mjs': '' }), 400, 'InvalidManifest', /no bellows\.json/],
  ['bellows.json that is no JSON', manifestOf('kind: function'), 400, 'InvalidManifest', /not JSON/],
  ['bellows.json that is a list', manifestOf([]), 400, 'InvalidManifest', /object/],
  ['a wrong type in it', manifestOf({ ...fn, timeout: '10' }), 400, 'InvalidManifest', /timeout/],
  ['an unknown field in it', manifestOf({ ...fn, memroy: '1GiB' }), 400, 'InvalidManifest', /memroy/],
  ['an unknown kind in it', manifestOf({ kind: 'cron' }), 400, 'InvalidManifest', /kind/],
  [
    'a runtime that is not there',
    manifestOf({ ...fn, runtime: 'cobol85' }),
    400,
    'UnsupportedRuntime',
    /cobol85/,
  ],
  ['memory that is none', manifestOf({ ...fn, memory: 'lots' }), 400, 'InvalidManifest', /lots/],
];

function files(): Record<string, string> {
  return { 'bellows.json': JSON.stringify(fn), 'index.mjs': '' };
}
/** What the zip's end record says (APPNOTE.TXT 4.3.16). */
function sayingEntries(count: number, zip: Buffer): Buffer {
  const copy = Buffer.from(zip);
  const end = copy.lastIndexOf('PK\x05\x06');
  copy.writeUInt16LE(count, end + 8);
  copy.writeUInt16LE(count, end + 10);
  return copy;
}
function damaged(zip: Buffer): Buffer {
  const copy = Buffer.from(zip);
  copy[zip.indexOf('noise') + 2000]! ^= 0xff;
  return copy;
}
