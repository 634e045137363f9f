// What is measured as an instance's working set, against the kernel's own accounting of a group that holds page cache.
import { spawnSync } from 'node:child_process';
import { closeSync, fsyncSync, openSync, readFileSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { InstanceId } from '../../src/base/ids.ts';
import { mib } from '../../src/base/quantity.ts';
import type { InstanceUsage } from '../../src/model/instance.ts';
import { groupDirectory } from '../support/kernel.ts';
import { suiteNeeding } from '../support/needs.ts';
import {
  evalHandler,
  functionSpec,
  isRoot,
  mebibytes,
  run,
  start,
  startUnit,
  stop,
  stopUnit,
  writeCode,
  type TestUnit,
} from './agent-process.ts';

const fileMib = 96;
/** A Node process that reads a file makes garbage of its own meanwhile. */
const noiseBytes = 24 * mib;

/** tmpfs has no cache that could be dropped: TMPFS_MAGIC of statfs(2). */
const onTmpfs = statfsSync(tmpdir()).type === 0x0102_1994;
const missing = !isRoot
  ? 'root is needed for groups and sandboxes'
  : onTmpfs
    ? `a disk is needed below ${tmpdir()}`
    : undefined;

/** Of which nothing is in memory: whoever reads it first is charged for its pages. */
function writeUncached(path: string): void {
  const file = openSync(path, 'w');
  for (let count = 0; count < fileMib; count += 1) writeSync(file, Buffer.alloc(mib, count + 1));
  fsyncSync(file);
  closeSync(file);
  // posix_fadvise(POSIX_FADV_DONTNEED), of the whole file.
  const { status } = spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
  expect(status).toBe(0);
}

/** By the kernel, of the group with all below it. */
function inactiveFileBytes(pid: number): number {
  const stat = readFileSync(join(groupDirectory(pid, 'memory'), 'memory.stat'), 'utf8');
  const [, bytes] = /^total_inactive_file (\d+)$/m.exec(stat) ?? /^inactive_file (\d+)$/m.exec(stat) ?? [];
  return Number(bytes);
}

suiteNeeding('working set', missing, () => {
  let unit: TestUnit;
  beforeAll(async () => {
    unit = await startUnit();
  });
  afterAll(() => stopUnit(unit));

  async function usageOf(id: InstanceId): Promise<InstanceUsage> {
    const { instances } = await unit.caller.call('measure', {});
    const usage = instances.find((instance) => instance.id === id)?.usage;
    if (usage === undefined) throw new Error(`${id} was not measured`);
    return usage;
  }

  test('clean cache of a file that was read once is charged to an instance, and not in its working set', async () => {
    const code = writeCode(unit, 'reader', evalHandler);
    writeUncached(join(code, 'data'));
    const { instance, endpoint } = await start(
      unit,
      functionSpec(code, { grant: { memory: mebibytes(256) } }),
    );
    const before = await usageOf(instance.id);
    const inactiveBefore = inactiveFileBytes(instance.pid);
    const read = await run(
      endpoint,
      `(() => {
        const file = fs.openSync('/var/task/data');
        const buffer = Buffer.alloc(1024 * 1024);
        let sum = 0;
        for (let bytes; (bytes = fs.readSync(file, buffer)) > 0; ) sum += bytes;
        fs.closeSync(file);
        return sum;
      })()`,
    );
    expect(read).toEqual({ value: fileMib * mib });

    const after = await usageOf(instance.id);
    const cached = inactiveFileBytes(instance.pid) - inactiveBefore;
    // The kernel has the file as inactive cache, and charges it to the instance …
    expect(cached).toBeGreaterThan(0.9 * fileMib * mib);
    expect(after.memoryBytes - before.memoryBytes).toBeGreaterThan(0.9 * fileMib * mib);
    // … and the working set is what is charged without it.
    expect(after.workingSetBytes - before.workingSetBytes).toBeLessThan(noiseBytes);
    const leftOut = after.memoryBytes - after.workingSetBytes;
    expect(Math.abs(leftOut - inactiveFileBytes(instance.pid))).toBeLessThan(2 * mib);
    await stop(unit, instance.id);
  });

  test('memory that an instance holds is in its working set', async () => {
    const code = writeCode(unit, 'holder', evalHandler);
    const { instance, endpoint } = await start(
      unit,
      functionSpec(code, { grant: { memory: mebibytes(256) } }),
    );
    const before = await usageOf(instance.id);
    await run(endpoint, `(globalThis.held = Buffer.alloc(${fileMib} * 1024 * 1024, 1)).length`);
    const after = await usageOf(instance.id);
    expect(after.workingSetBytes - before.workingSetBytes).toBeGreaterThan(0.9 * fileMib * mib);
    await stop(unit, instance.id);
  });
});
