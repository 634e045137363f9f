import { randomBytes } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';
import { candidates, detectCgroup, parseOwnGroup } from './detect.ts';
import { parseMounts } from './mounts.ts';

const systemd = [
  '24 30 0:22 / /sys rw,nosuid - sysfs sysfs rw',
  '31 24 0:27 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755',
  '32 31 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate',
  '36 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:16 - cgroup cgroup rw,cpu,cpuacct',
  '37 31 0:33 / /sys/fs/cgroup/memory rw,nosuid shared:17 - cgroup cgroup rw,memory',
  '38 31 0:34 / /sys/fs/cgroup/with\\040space rw,nosuid - cgroup cgroup rw,pids',
  '',
].join('\n');

test('mounts are found where they are: joined controllers, spaces, both versions', () => {
  const mounts = parseMounts(systemd);
  expect(mounts.v2).toBe('/sys/fs/cgroup/unified');
  expect(Object.fromEntries(mounts.v1)).toEqual({
    cpu: '/sys/fs/cgroup/cpu,cpuacct',
    cpuacct: '/sys/fs/cgroup/cpu,cpuacct',
    memory: '/sys/fs/cgroup/memory',
    pids: '/sys/fs/cgroup/with space',
  });
});

test('without any cgroup mount there is none', () => {
  expect(parseMounts('24 30 0:22 / /sys rw - sysfs sysfs rw\n')).toEqual({ v1: new Map(), v2: null });
});

test('a delegated group is looked for from the outermost in', () => {
  const own = parseOwnGroup(
    '1:name=systemd:/x\n0::/user.slice/user-1000.slice/user@1000.service/app.slice\n',
  );
  expect(candidates('/sys/fs/cgroup', own)).toEqual([
    '/sys/fs/cgroup',
    '/sys/fs/cgroup/user.slice',
    '/sys/fs/cgroup/user.slice/user-1000.slice',
    '/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service',
    '/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice',
  ]);
  expect(candidates('/sys/fs/cgroup', parseOwnGroup(''))).toEqual(['/sys/fs/cgroup']);
});

test('this machine gets one that works, and what is not enforced is said in words', async () => {
  const { cgroup, notEnforced } = detectCgroup(`bellows-test-${randomBytes(4).toString('hex')}`);
  onTestFinished(() => cgroup.remove([]));
  cgroup.create(['tenants']);
  expect(cgroup.children([])).toEqual(['tenants']);
  const { memoryLimit } = cgroup.capabilities;
  expect(notEnforced.some((each) => each.what === 'memory limits')).toBe(!memoryLimit);
  for (const each of notEnforced)
    expect([each.what, each.why, each.solve].every((text) => text.length > 10)).toBe(true);
});
