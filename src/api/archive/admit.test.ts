import { createHash, randomBytes } from 'node:crypto';
import { lstat, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../base/errors.ts';
import type { TenantId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import { layoutOf, type Layout } from '../../sys/layout.ts';
import { rawZip, tarGzOf, zipOf, type RawEntry, type TarEntry } from '../testing/archives.ts';
import { admitArchive, removeUnfinished, type Archives } from './admit.ts';
import type { EntrySink } from './staging.ts';
import { unpackTarGz } from './tar.ts';
import { unpackZip } from './zip.ts';

const tenant = 'acme' as TenantId;
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

let layout: Layout;
let archives: Archives;
let stored: string[] = [];

beforeAll(async () => {
  layout = layoutOf(await mkdtemp(join(tmpdir(), 'bellows-archive-')));
  archives = {
    layout,
    control: {
      storeArchive: async (_tenant, bytes) => {
        const sha = sha256(Buffer.from(bytes));
        stored.push(sha);
        return { sha256: sha, sizeBytes: bytes.length };
      },
    },
  };
});
afterEach(async () => {
  stored = [];
  await rm(layout.code, { recursive: true, force: true });
});
afterAll(() => rm(layout.root, { recursive: true, force: true }));

const admit = (archive: Buffer): Promise<string> =>
  admitArchive(archives, tenant, archive, async (directory) => directory).then(({ code }) =>
    layout.codeOf(tenant, code.sha256),
  );

async function modeOf(path: string): Promise<string> {
  return ((await lstat(path)).mode & 0o7777).toString(8);
}

describe('a good archive is unpacked whole', () => {
  test('a zip keeps its content and only the executable bit of its modes', async () => {
    const directory = await admit(
      rawZip([
        { name: 'index.js', content: 'exports.x = 1' },
        { name: 'bin/run', content: '#!/bin/sh', mode: 0o104777 },
        { name: 'empty/', mode: 0o040777 },
        { name: 'stored.txt', content: 'as it is', method: 0 },
      ]),
    );
    expect(await readFile(join(directory, 'index.js'), 'utf8')).toBe('exports.x = 1');
    expect(await readFile(join(directory, 'stored.txt'), 'utf8')).toBe('as it is');
    expect(await modeOf(join(directory, 'index.js'))).toBe('644');
    expect(await modeOf(join(directory, 'bin/run'))).toBe('755');
    expect(await modeOf(join(directory, 'bin'))).toBe('755');
    expect(await readdir(join(directory, 'empty'))).toEqual([]);
    expect(await modeOf(directory)).toBe('755');
    expect(await modeOf(layout.code)).toBe('700');
  });

  test('a tar.gz made of "." keeps relative links that stay inside', async () => {
    const directory = await admit(
      await tarGzOf([
        { name: './', type: 'directory' },
        { name: './lib/', type: 'directory' },
        { name: './lib/real.js', content: 'hello' },
        { name: './lib/alias.js', type: 'symlink', linkname: '../lib/real.js' },
        { name: './bin/tool', mode: 0o6755, content: 'x' },
      ]),
    );
    expect(await readlink(join(directory, 'lib/alias.js'))).toBe('../lib/real.js');
    expect(await readFile(join(directory, 'lib/alias.js'), 'utf8')).toBe('hello');
    expect(await modeOf(join(directory, 'bin/tool'))).toBe('755');
  });

  test('the same bytes again are free, also at the same time, and leave one directory', async () => {
    const archive = await zipOf({ 'a.js': 'a' });
    const [first, second] = await Promise.all([admit(archive), admit(archive)]);
    const before = await lstat(first);
    expect(second).toBe(first);
    expect(await admit(archive)).toBe(first);
    expect((await lstat(first)).ino).toBe(before.ino);
    expect(await readdir(join(layout.code, tenant))).toEqual([sha256(archive)]);
  });

  test('many kilobytes of random content come out as they went in', async () => {
    const content = randomBytes(3 * mib);
    const directory = await admit(await zipOf({ 'data.bin': content, 'more/data.bin': content }));
    expect(sha256(await readFile(join(directory, 'more/data.bin')))).toBe(sha256(content));
  });
});

const zero = Buffer.alloc(mib);

interface BadCase {
  readonly what: string;
  readonly archive: () => Buffer | Promise<Buffer>;
  readonly code: ErrorCode;
  readonly message: RegExp;
}

const zipped = (what: string, entries: RawEntry[], code: ErrorCode, message: RegExp): BadCase => ({
  what: `zip: ${what}`,
  archive: () => rawZip(entries),
  code,
  message,
});
const tarred = (what: string, entries: TarEntry[], code: ErrorCode, message: RegExp): BadCase => ({
  what: `tar: ${what}`,
  archive: () => tarGzOf(entries),
  code,
  message,
});
const link = (name: string, target: string): RawEntry => ({ name, content: target, mode: 0o120777 });

const badCases: BadCase[] = [
  { what: 'an empty body', archive: () => Buffer.alloc(0), code: 'InvalidArchive', message: /empty/ },
  { what: 'text', archive: () => Buffer.from('hello'), code: 'InvalidArchive', message: /neither a zip nor/ },
  { what: 'an empty zip', archive: () => rawZip([]), code: 'InvalidArchive', message: /zip is empty/ },
  {
    what: 'a truncated zip',
    archive: async () => (await zipOf({ a: 'a'.repeat(5000) })).subarray(0, 100),
    code: 'InvalidArchive',
    message: /can not be read/,
  },
  {
    what: 'a truncated tar.gz',
    archive: async () => {
      const whole = await tarGzOf([{ name: 'a', content: randomBytes(5000).toString('hex') }]);
      return whole.subarray(0, whole.length - 2000);
    },
    code: 'InvalidArchive',
    message: /can not be read/,
  },
  {
    what: 'gzip of no tar',
    archive: () => gzipSync('a'.repeat(2000)),
    code: 'InvalidArchive',
    message: /can not be read/,
  },
  {
    what: 'more than 50 MiB',
    archive: () => Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(50 * mib)]),
    code: 'ArchiveTooLarge',
    message: /more than 50\.0 MiB/,
  },
  zipped('..', [{ name: '../evil', content: 'x' }], 'UnsafeArchive', /"\.\.\/evil" leads out of the archive/),
  zipped('.. in the middle', [{ name: 'a/../../evil', content: 'x' }], 'UnsafeArchive', /leads out/),
  zipped('an absolute path', [{ name: '/etc/passwd', content: 'x' }], 'UnsafeArchive', /absolute/),
  zipped('a drive', [{ name: 'C:/x', content: 'x' }], 'UnsafeArchive', /absolute/),
  zipped('a backslash', [{ name: '..\\evil', content: 'x' }], 'UnsafeArchive', /backslash/),
  zipped('NUL', [{ name: 'a\0b', content: 'x' }], 'UnsafeArchive', /NUL/),
  zipped('not UTF-8', [{ name: Buffer.from([0x61, 0xff, 0xfe]), content: 'x' }], 'UnsafeArchive', /UTF-8/),
  zipped('a long name', [{ name: 'x'.repeat(256), content: 'x' }], 'UnsafeArchive', /255 bytes/),
  zipped(
    'a long path',
    [{ name: `${'x'.repeat(200)}/`.repeat(6) + 'y', content: 'x' }],
    'UnsafeArchive',
    /1024 bytes/,
  ),
  zipped('too deep', [{ name: 'd/'.repeat(40) + 'y', content: 'x' }], 'UnsafeArchive', /32 directories deep/),
  zipped(
    'an absolute link',
    [link('a', '/etc/passwd')],
    'UnsafeArchive',
    /link "a" to "\/etc\/passwd" is absolute/,
  ),
  zipped('a link out', [link('d/a', '../../x')], 'UnsafeArchive', /leads out of the archive/),
  zipped(
    'a link out by way of another link',
    [link('d/up', '..'), link('d/out', 'up/../secret')],
    'UnsafeArchive',
    /"d\/out".* leads out of the archive/,
  ),
  zipped('a circle of links', [link('a', 'b'), link('b', 'a')], 'UnsafeArchive', /circles/),
  zipped('a link to nothing', [link('a', '')], 'UnsafeArchive', /no usable target/),
  zipped('a huge link target', [link('a', 'x'.repeat(5000))], 'UnsafeArchive', /5000 bytes/),
  zipped(
    'a file through a link',
    [link('d', 'e'), { name: 'd/x', content: 'x' }],
    'UnsafeArchive',
    /written through "d", which is a link/,
  ),
  zipped(
    'a file below a file',
    [
      { name: 'd', content: 'x' },
      { name: 'd/x', content: 'x' },
    ],
    'UnsafeArchive',
    /which is a file/,
  ),
  zipped(
    'a file twice',
    [
      { name: 'a', content: '1' },
      { name: './a', content: '2' },
    ],
    'InvalidArchive',
    /twice/,
  ),
  zipped('a device', [{ name: 'dev', mode: 0o020666 }], 'UnsafeArchive', /device/),
  zipped('a pipe', [{ name: 'pipe', mode: 0o010666 }], 'UnsafeArchive', /device, a socket or a pipe/),
  zipped('encryption', [{ name: 'a', content: 'x', flags: 0x801 }], 'InvalidArchive', /encrypted/),
  zipped('an odd method', [{ name: 'a', content: 'x', method: 12 }], 'InvalidArchive', /method 12/),
  zipped('a wrong checksum', [{ name: 'a', content: 'x', saysCrc: 1 }], 'InvalidArchive', /checksum/),
  zipped(
    'more bytes than it says',
    [{ name: 'a', content: zero, saysSize: 10 }],
    'InvalidArchive',
    /can not be read/,
  ),
  zipped(
    'fewer bytes than it says',
    [{ name: 'a', content: 'abc', saysSize: 10 }],
    'InvalidArchive',
    /can not be read/,
  ),
  zipped(
    'content that is no deflate',
    [{ name: 'a', packed: randomBytes(50), saysSize: 99 }],
    'InvalidArchive',
    /can not be read/,
  ),
  zipped(
    'entries that share their bytes',
    [
      { name: 'a', content: zero },
      { name: 'b', content: zero, sharesFirst: true },
    ],
    'UnsafeArchive',
    /overlaps/,
  ),
  zipped(
    'a bomb that says so',
    [{ name: 'a', content: 'x', saysSize: 4_000_000_000 }],
    'ArchiveTooLarge',
    /250 MiB/,
  ),
  {
    what: 'zip: a bomb of 251 honest MiB',
    archive: () => rawZip(Array.from({ length: 251 }, (_, index) => ({ name: `f${index}`, content: zero }))),
    code: 'ArchiveTooLarge',
    message: /250 MiB/,
  },
  {
    what: 'zip: 50,001 entries',
    archive: () => rawZip(Array.from({ length: 50_001 }, (_, index) => ({ name: `f${index}`, method: 0 }))),
    code: 'ArchiveTooLarge',
    message: /50001 entries/,
  },
  tarred('..', [{ name: '../evil', content: 'x' }], 'UnsafeArchive', /leads out/),
  tarred('an absolute path', [{ name: '/etc/cron.d/evil', content: 'x' }], 'UnsafeArchive', /absolute/),
  tarred('a hard link', [{ name: 'a', type: 'link', linkname: '/etc/shadow' }], 'UnsafeArchive', /hard link/),
  tarred(
    'a device',
    [{ name: 'a', type: 'block-device', devmajor: 8, devminor: 0 }],
    'UnsafeArchive',
    /block-device/,
  ),
  tarred('a pipe', [{ name: 'a', type: 'fifo' }], 'UnsafeArchive', /fifo/),
  tarred(
    'a link out',
    [{ name: 'a', type: 'symlink', linkname: '../../../etc/passwd' }],
    'UnsafeArchive',
    /leads out/,
  ),
  tarred(
    'a file through a link',
    [
      { name: 'd', type: 'symlink', linkname: '.' },
      { name: 'd/x', content: 'x' },
    ],
    'UnsafeArchive',
    /written through "d"/,
  ),
  tarred(
    'a link where a file is',
    [
      { name: 'd', content: 'x' },
      { name: 'd', type: 'symlink', linkname: 'e' },
    ],
    'InvalidArchive',
    /twice/,
  ),
];

describe('an archive with too many entries is refused before any of it is written', () => {
  const names = Array.from({ length: 50_001 }, (_, index) => `d${index}/`);
  const tarHeaders = (all: readonly string[]): Promise<Buffer> =>
    tarGzOf(all.map((name) => ({ name, type: 'directory' })));
  const deep = Array.from({ length: 2_000 }, (_, index) => `${index}/${'d/'.repeat(30)}f`);
  test.each<[string, () => Promise<Buffer>, (archive: Buffer, sink: EntrySink) => Promise<void>]>([
    ['tar: directories', () => tarHeaders(names), unpackTarGz],
    ['tar: one directory, again and again', () => tarHeaders(names.map(() => 'd/')), unpackTarGz],
    ['tar: directories that names imply', () => tarGzOf(deep.map((name) => ({ name }))), unpackTarGz],
    ['zip: directories that names imply', async () => rawZip(deep.map((name) => ({ name }))), unpackZip],
  ])('%s', async (_, archive, unpack) => {
    const written: string[] = [];
    const write = async (name: string): Promise<void> => void written.push(name);
    await expect(
      unpack(await archive(), { directory: write, file: write, link: write }),
    ).rejects.toMatchObject({ code: 'ArchiveTooLarge' });
    expect(written).toEqual([]);
  });
});

describe('a bad archive is refused and leaves nothing', () => {
  test.each(badCases)('$what', async ({ archive, code, message }) => {
    const thrown = await admit(await archive()).catch((error: unknown) => error);
    expect(thrown).toMatchObject({ name: 'BellowsError', code, message: expect.stringMatching(message) });
    expect(await readdir(join(layout.code, tenant)).catch(() => [])).toEqual([]);
    expect(stored).toEqual([]);
  });

  test('a tar.gz bomb is stopped while it unpacks', async () => {
    const header = (await tarHeader('bomb', 8 * 1024 * mib)).subarray(0, 512);
    const bomb = gzipSync(Buffer.concat([header, Buffer.alloc(260 * mib)]));
    expect(bomb.length).toBeLessThan(mib);
    await expect(admit(bomb)).rejects.toMatchObject({ code: 'ArchiveTooLarge' });
    expect(await readdir(join(layout.code, tenant))).toEqual([]);
  });

  test('what the inspection refuses is not kept', async () => {
    const refusing = admitArchive(archives, tenant, await zipOf({ a: 'a' }), async () => {
      throw new Error('no manifest');
    });
    await expect(refusing).rejects.toThrow('no manifest');
    expect(await readdir(join(layout.code, tenant))).toEqual([]);
    expect(stored).toEqual([]);
  });

  test('what a crash left of an unpacking is removed, and only that', async () => {
    const { mkdir } = await import('node:fs/promises');
    const kept = await admit(await zipOf({ a: 'a' }));
    await mkdir(join(layout.code, tenant, '.new-0123', 'deep'), { recursive: true });
    await removeUnfinished(layout);
    expect(await readdir(join(layout.code, tenant))).toEqual([kept.split('/').at(-1)]);
  });
});

/** A tar header that promises more content than follows. */
async function tarHeader(name: string, size: number): Promise<Buffer> {
  const { pack } = await import('tar-stream');
  const tar = pack();
  tar.entry({ name, size });
  const { value } = await tar[Symbol.asyncIterator]().next();
  return value as Buffer;
}
