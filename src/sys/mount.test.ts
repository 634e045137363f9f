import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { mount, parseMountPoints, umount } from './mount.ts';

/** A mount namespace of its own: no test can leave a mount behind, and none needs root. */
const UNSHARE = ['--user', '--map-root-user', '--mount'];
const canUnshare = spawnSync('unshare', [...UNSHARE, 'true']).status === 0;

function inNamespace(script: string): unknown {
  const program = `
    import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
    import { MS_BIND, MS_NODEV, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT, MS_SHARED, MS_SLAVE, mount, mountPointsAt, umount }
      from ${JSON.stringify(new URL('./mount.ts', import.meta.url).href)};
    const codeOf = (action) => { try { action(); return 'done'; } catch (error) { return error.code; } };
    const lineOf = (path) => readFileSync('/proc/self/mountinfo', 'utf8').split('\\n').find((line) => line.split(' ')[4] === path);
    const base = mkdtempSync('/tmp/mount-test-');
    process.on('exit', () => rmSync(base, { recursive: true, force: true }));
    mount(null, '/', null, MS_REC | MS_PRIVATE, null);
    mount('test', base, 'tmpfs', MS_NOSUID | MS_NODEV, 'size=1m');
    const result = (() => { ${script} })();
    umount(base, { detach: true });
    console.log(JSON.stringify(result));`;
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program];
  const run = spawnSync('unshare', [...UNSHARE, process.execPath, ...args], { encoding: 'utf8' });
  expect(run.stderr).toBe('');
  return JSON.parse(run.stdout);
}

test.skipIf(!canUnshare)('a file system is mounted with its flags and data, and unmounted', () => {
  const [line, after] = inNamespace(`
    mkdirSync(base + '/m');
    mount('named', base + '/m', 'tmpfs', MS_NOSUID, 'size=64k,mode=700');
    const line = lineOf(base + '/m');
    umount(base + '/m');
    return [line, lineOf(base + '/m') ?? 'gone'];`) as string[];
  expect(line).toMatch(/nosuid.* - tmpfs named .*size=64k,mode=700/);
  expect(after).toBe('gone');
});

test.skipIf(!canUnshare)('a bind mount becomes read-only with a second call', () => {
  expect(
    inNamespace(`
    mkdirSync(base + '/from'); mkdirSync(base + '/to');
    writeFileSync(base + '/from/file', 'x');
    mount(base + '/from', base + '/to', null, MS_BIND, null);
    const before = codeOf(() => writeFileSync(base + '/to/file', 'y'));
    mount(null, base + '/to', null, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, null);
    return [before, codeOf(() => writeFileSync(base + '/to/file', 'z')), readFileSync(base + '/from/file', 'utf8')];`),
  ).toEqual(['done', 'EROFS', 'y']);
});

test.skipIf(!canUnshare)('propagation is set, and only detaching ends a mount in use', () => {
  expect(
    inNamespace(`
    mkdirSync(base + '/m');
    mount('m', base + '/m', 'tmpfs', 0, null);
    mount(null, base + '/m', null, MS_SHARED, null);
    const shared = /shared:\\d+/.test(lineOf(base + '/m'));
    mount(null, base + '/m', null, MS_SLAVE, null);
    const stillShared = /shared:\\d+/.test(lineOf(base + '/m'));
    const home = process.cwd();
    process.chdir(base + '/m');
    const busy = codeOf(() => umount(base + '/m'));
    umount(base + '/m', { detach: true });
    process.chdir(home);
    return [shared, stillShared, busy, lineOf(base + '/m') ?? 'gone'];`),
  ).toEqual([true, false, 'EBUSY', 'gone']);
});

test.skipIf(!canUnshare)('a symbolic link does not choose what is unmounted', () => {
  expect(
    inNamespace(`
    mkdirSync(base + '/m');
    mount('m', base + '/m', 'tmpfs', 0, null);
    symlinkSync(base + '/m', base + '/link');
    return [codeOf(() => umount(base + '/link')), lineOf(base + '/m') === undefined];`),
  ).toEqual(['EINVAL', false]);
});

test('a mount that fails names the call, the paths and the error', () => {
  expect(() => mount('nothing', '/does/not/exist', 'tmpfs', 0, null)).toThrow(
    expect.objectContaining({
      code: expect.stringMatching(/^(ENOENT|EPERM)$/),
      syscall: 'mount',
      message: expect.stringContaining("'nothing' -> '/does/not/exist'"),
    }),
  );
});

test('a NUL character cannot cut a path short', () => {
  expect(() => mount('a', '/tmp\0/safe', 'tmpfs', 0, null)).toThrow(TypeError);
  expect(() => umount('/tmp\0/safe')).toThrow(TypeError);
});

test('mount points are read with the characters that the kernel writes as numbers', () => {
  const text = '22 1 0:20 / / rw - ext4 /dev/vda rw\n40 22 0:30 / /a\\040b\\134c rw shared:1 - tmpfs m rw\n';
  expect(parseMountPoints(text)).toEqual(['/', '/a b\\c']);
});

test.skipIf(!canUnshare)('mounts below a directory are listed in the order they can be taken away', () => {
  expect(
    inNamespace(`
    mkdirSync(base + '/m');
    mount('m', base + '/m', 'tmpfs', 0, null);
    mkdirSync(base + '/m/n');
    mount('n', base + '/m/n', 'tmpfs', 0, null);
    mkdirSync(base + '/mm');
    mount('mm', base + '/mm', 'tmpfs', 0, null);
    const listed = mountPointsAt(base + '/m').map((path) => path.slice(base.length));
    for (const path of mountPointsAt(base + '/m')) umount(path);
    return [listed, mountPointsAt(base + '/m')];`),
  ).toEqual([['/m/n', '/m'], []]);
});
