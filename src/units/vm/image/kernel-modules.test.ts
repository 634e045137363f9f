import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  aliasIndex,
  bootModules,
  findModules,
  modinfo,
  modulesIndex,
  onDemandModules,
} from './kernel-modules.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-modules-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const moduleWith = (depends: string): Buffer =>
  Buffer.from(`\x7fELF\0license=GPL\0depends=${depends}\0name=x\0`);

/** A kernel with the modules given, by path, and everything else built in. */
function kernel(modules: Readonly<Record<string, Buffer>>): string {
  const names = new Set(
    Object.keys(modules).map((path) => (path.split('/').at(-1) ?? '').replace(/\.ko.*/, '')),
  );
  const builtIn = [...bootModules, ...onDemandModules].filter((name) => !names.has(name));
  mkdirSync(join(directory, 'kernel'), { recursive: true });
  writeFileSync(join(directory, 'modules.builtin'), builtIn.map((name) => `kernel/x/${name}.ko\n`).join(''));
  for (const [path, content] of Object.entries(modules)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), content);
  }
  return directory;
}

describe("a kernel's modules", () => {
  it('say of themselves what they depend on and go by, whatever their file names are like', async () => {
    const content = Buffer.from('\0alias=net-sch-tbf\0alias=sch-x\0depends=virtio-ring,virtio\0');
    expect(modinfo(content, 'alias')).toEqual(['net-sch-tbf', 'sch-x']);
    expect(modinfo(content, 'depends')).toEqual(['virtio-ring,virtio']);
    const { onDemand } = await findModules(
      kernel({
        'kernel/net/sch_tbf.ko': content,
        'kernel/net/virtio-ring.ko': moduleWith(''),
        'kernel/net/virtio.ko': moduleWith(''),
      }),
    );
    expect(onDemand.map(({ name }) => name)).toEqual(['virtio_ring', 'virtio', 'sch_tbf']);
    expect(aliasIndex(onDemand)).toBe('alias net-sch-tbf sch_tbf\nalias sch-x sch_tbf\n');
  });

  it('load after those that they depend on, each once', async () => {
    const found = await findModules(
      kernel({
        'kernel/fs/erofs.ko': moduleWith('libcrc32c'),
        'kernel/fs/ext4.ko': moduleWith('jbd2,libcrc32c'),
        'kernel/fs/jbd2.ko': moduleWith(''),
        'kernel/lib/libcrc32c.ko': moduleWith(''),
      }),
    );
    expect(found.boot.map(({ name }) => name)).toEqual(['libcrc32c', 'erofs', 'jbd2', 'ext4']);
    expect(found.onDemand).toEqual([]);
  });

  it('come out of compressed files as they are loaded', async () => {
    const found = await findModules(kernel({ 'kernel/fs/erofs.ko.zst': zstdCompressSync(moduleWith('')) }));
    expect(found.boot).toMatchObject([{ path: 'kernel/fs/erofs.ko', content: moduleWith('') }]);
  });

  it('that are missing are named, with who needs them', async () => {
    await expect(findModules(kernel({ 'kernel/fs/erofs.ko': moduleWith('gone') }))).rejects.toMatchObject({
      code: 'NotSupportedHere',
      message: expect.stringContaining('no module gone, which erofs needs'),
    });
  });

  it('are found by modprobe through an index that has all of what comes before', async () => {
    const modules = await findModules(
      kernel({
        'kernel/net/sch_tbf.ko': moduleWith('a'),
        'kernel/net/a.ko': moduleWith('b'),
        'kernel/net/b.ko': moduleWith(''),
      }),
    );
    expect(modulesIndex(modules.onDemand)).toContain(
      'kernel/net/sch_tbf.ko: kernel/net/a.ko kernel/net/b.ko\n',
    );
  });
});
