// How v2's files are read and written, against a directory that stands for the mount: parsing and order only. Nothing
// here shows what a kernel does with them; tests/integration/cgroup-v2.test.ts does, where there is one.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { mib } from '../../base/quantity.ts';
import type { GroupPath } from './port.ts';
import { CgroupV2, parseCpuMax, sumOfDevices } from './v2.ts';

const instance: GroupPath = ['tenants', 'acme', 'i-one'];
let base: string;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'bellows-v2-'));
  onTestFinished(() => rmSync(base, { recursive: true, force: true }));
  writeFileSync(join(base, 'cgroup.controllers'), 'cpuset cpu io memory hugetlb pids\n');
  for (const path of ['.', 'bellows-x', 'bellows-x/tenants', 'bellows-x/tenants/acme']) {
    file(`${path}/cgroup.subtree_control`, path === '.' ? 'cpuset memory\n' : '\n');
  }
});

/** Puts a file into the directory that stands for the mount. */
function file(path: string, text: string): void {
  mkdirSync(dirname(join(base, path)), { recursive: true });
  writeFileSync(join(base, path), text);
}
const content = (path: string): string => readFileSync(join(base, path), 'utf8');
const inside = (name: string): string => `bellows-x/tenants/acme/i-one/${name}`;
const make = (): CgroupV2 => new CgroupV2({ baseDirectory: base, rootName: 'bellows-x' });

/** The files of a group whose processes stand still already, so that no kernel is needed to freeze them. */
function group(files: Readonly<Record<string, string>>): void {
  const all = { 'cgroup.events': 'populated 1\nfrozen 1\n', 'memory.stat': 'anon 1\n', ...files };
  for (const [name, text] of Object.entries(all)) file(inside(name), text);
}

test('controllers are handed down to the group, those only that are not yet', () => {
  make().create(instance);
  expect(content('cgroup.subtree_control')).toBe('+cpu +pids +io');
  expect(content('bellows-x/tenants/acme/cgroup.subtree_control')).toBe('+memory +cpu +pids +io');
  expect(existsSync(join(base, 'bellows-x/tenants/acme/i-one/cgroup.subtree_control'))).toBe(false);
});

test('limits are read as the kernel writes them', () => {
  group({ 'memory.max': '134217728\n', 'cpu.max': '50000 100000\n', 'pids.max': 'max\n' });
  expect(make().limits(instance)).toEqual({ memoryBytes: 128 * mib, cpuMillicores: 500, pids: null });
});

test.each([
  ['max 100000', null],
  ['150000 100000', 1500],
  ['25000 50000', 500],
  [undefined, null],
])('cpu.max %j is %j millicores', (text, millicores) => {
  expect(parseCpuMax(text)).toBe(millicores);
});

test('figures are read as the kernel writes them', () => {
  group({
    'memory.current': '100000000\n',
    'memory.peak': '120000000\n',
    'memory.stat':
      'anon 70000000\nfile 30000000\ninactive_anon 1\ninactive_file 20000000\nactive_file 10000000\n',
    'cpu.stat': 'usage_usec 123\nuser_usec 100\nsystem_usec 23\nnr_throttled 2\nthrottled_usec 45\n',
    'pids.current': '7\n',
    'io.stat':
      '8:0 rbytes=1000 wbytes=2000 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=10 wbytes=20 rios=1 wios=1\n',
    'memory.events': 'low 0\nhigh 3\nmax 4\noom 1\noom_kill 1\noom_group_kill 0\n',
    'memory.max': '134217728\n',
  });
  expect(make().usage(instance)).toEqual({
    memoryBytes: 100_000_000,
    workingSetBytes: 80_000_000,
    memoryPeakBytes: 120_000_000,
    cpuUsageMicros: 123,
    cpuThrottledMicros: 45,
    pids: 7,
    ioReadBytes: 1010,
    ioWriteBytes: 2020,
    oomKills: 1,
  });
  expect(make().memoryStrain(instance)).toEqual({
    memoryBytes: 100_000_000,
    limitBytes: 128 * mib,
    limitHits: 7,
    waiting: false,
    held: false,
  });
});

test('an empty io.stat is no I/O', () => {
  expect(sumOfDevices('', 'rbytes')).toBe(0);
});

test('a memory limit is never written below what is charged', async () => {
  group({
    'memory.current': String(200 * mib),
    'memory.max': 'max\n',
    'memory.reclaim': '',
    'cpu.max': 'max 100000\n',
  });
  expect(await make().setLimits(instance, { memoryBytes: 128 * mib, cpuMillicores: 500 })).toBe('busy');
  expect(content(inside('memory.max'))).toBe('max\n');
  expect(content(inside('cpu.max'))).toBe('max 100000\n');
});

test('cache above the limit is reclaimed first, and when it stays the limit is not written and the rest is undone', async () => {
  group({
    'memory.current': String(200 * mib),
    'memory.stat': `inactive_file ${100 * mib}\n`,
    'memory.max': 'max\n',
    'memory.reclaim': '',
    'cpu.max': '100000 100000\n',
  });
  expect(await make().setLimits(instance, { memoryBytes: 128 * mib, cpuMillicores: 500 })).toBe('busy');
  expect(content(inside('memory.reclaim'))).toBe(String(72 * mib));
  expect(content(inside('memory.max'))).toBe('max\n');
  expect(content(inside('cpu.max'))).toBe('100000 100000');
});

test('a memory limit above what is charged is written; while held it is what slows down, and nothing kills', async () => {
  group({
    'memory.current': String(100 * mib),
    'memory.max': 'max\n',
    'memory.high': 'max\n',
    'cpu.weight': '100\n',
  });
  const cgroup = make();
  const files = (): string[] => ['memory.max', 'memory.high'].map((name) => content(inside(name)).trim());
  expect(await cgroup.setLimits(instance, { memoryBytes: 128 * mib, cpuWeight: 20_000 })).toBe('applied');
  expect(files()).toEqual([String(128 * mib), 'max']);
  expect(content(inside('cpu.weight'))).toBe('10000');
  cgroup.holdOutOfMemory(instance, true);
  expect(files()).toEqual(['max', String(128 * mib)]);
  expect(cgroup.limits(instance).memoryBytes).toBe(128 * mib);
  expect(await cgroup.setLimits(instance, { memoryBytes: 112 * mib })).toBe('applied');
  expect(files()).toEqual(['max', String(112 * mib)]);
  cgroup.holdOutOfMemory(instance, false);
  expect(files()).toEqual([String(112 * mib), 'max']);
});

test('a hold that would end in a kill ends when there is room', async () => {
  group({ 'memory.current': String(100 * mib), 'memory.max': String(128 * mib), 'memory.high': 'max\n' });
  const cgroup = make();
  cgroup.holdOutOfMemory(instance, true);
  file(inside('memory.current'), String(130 * mib));
  cgroup.holdOutOfMemory(instance, false);
  expect(cgroup.memoryStrain(instance)).toMatchObject({ held: true, limitBytes: 128 * mib });
  expect(content(inside('memory.max'))).toBe('max');
  expect(await cgroup.setLimits(instance, { memoryBytes: 256 * mib })).toBe('applied');
  expect(cgroup.memoryStrain(instance)).toMatchObject({ held: false, limitBytes: 256 * mib });
  expect(content(inside('memory.max'))).toBe(String(256 * mib));
});

test('without the memory controller nothing pretends to be a limit', async () => {
  writeFileSync(join(base, 'cgroup.controllers'), 'hugetlb\n');
  group({});
  const cgroup = make();
  expect(cgroup.capabilities).toMatchObject({ memoryLimit: false, cpuLimit: false, pidsLimit: false });
  expect(await cgroup.setLimits(instance, { memoryBytes: 64 * mib, cpuMillicores: 10 })).toBe('applied');
  expect(cgroup.limits(instance)).toEqual({ memoryBytes: null, cpuMillicores: null, pids: null });
});

test('a hold that is asked for before there is a limit is the next limit’s from its first moment', async () => {
  group({ 'memory.current': String(100 * mib), 'memory.max': 'max\n', 'memory.high': 'max\n' });
  make().holdOutOfMemory(instance, true);
  expect(make().memoryStrain(instance)).toMatchObject({ held: true, limitBytes: null });
  expect(await make().setLimits(instance, { memoryBytes: 128 * mib })).toBe('applied');
  expect(content(inside('memory.high'))).toBe(String(128 * mib));
});
