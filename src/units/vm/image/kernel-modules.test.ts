import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bootModules, dependenciesOf, findModules, modulesIndex, onDemandModules } from './kernel-modules.ts';

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
  it('name what they depend on, whatever their file names are like', () => {
    expect(dependenciesOf(moduleWith('virtio,virtio-ring'))).toEqual(['virtio', 'virtio_ring']);
    expect(dependenciesOf(moduleWith(''))).toEqual([]);
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
