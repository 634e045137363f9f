// A sandbox that stands ready without its program, with real processes: what it is when it is taken, and that it never stays.
import { readFileSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { groupDirectory, memoryLimitOf } from '../support/kernel.ts';
import { suiteNeeding } from '../support/needs.ts';
import {
  evalHandler,
  eventually,
  functionSpec,
  isRoot,
  kill,
  mebibytes,
  run,
  start,
  startAgent,
  startUnit,
  stop,
  stopUnit,
  tracesOf,
  writeCode,
  type TestUnit,
} from './agent-process.ts';

/** Bubblewrap outside and inside, and no Node. */
const processesOfSpare = 2;

const namesOf = (unit: TestUnit): string[] =>
  tracesOf(unit).processes.map((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim());

async function unitWithSpare(): Promise<{ unit: TestUnit; code: string }> {
  const unit = await startUnit({ config: { spareSandbox: true } });
  onTestFinished(() => stopUnit(unit));
  await stands(unit);
  return { unit, code: writeCode(unit, 'probe', evalHandler) };
}

/** Longer than until it is tried again, where making it came to nothing on a busy machine. */
const standsWithinMs = 60_000;

const stands = (unit: TestUnit): Promise<void> =>
  eventually(
    () => tracesOf(unit).processes.length === processesOfSpare,
    standsWithinMs,
    () => `${processesOfSpare} processes of a spare sandbox: ${namesOf(unit).join()}\n${unit.log}`,
  );

suiteNeeding('a spare sandbox', isRoot ? undefined : 'root is needed for groups and sandboxes', () => {
  test('has no program, becomes an instance of exactly the size asked for, and another stands then', async () => {
    const { unit, code } = await unitWithSpare();
    expect(namesOf(unit)).toEqual(['bwrap', 'bwrap']);
    const spare = tracesOf(unit).processes;
    const spec = functionSpec(code, { grant: { memory: mebibytes(96), storage: mebibytes(64) } });
    const started = await start(unit, spec);
    expect(started.pooled).toBe(false);
    // In the sandbox that stood ready, and all of it in the instance's group.
    const group = groupDirectory(started.instance.pid, 'memory');
    expect(memoryLimitOf(group)).toBe(mebibytes(96));
    const inGroup = readFileSync(`${group}/cgroup.procs`, 'utf8').trim().split('\n');
    expect(inGroup).toEqual(expect.arrayContaining([...spare, String(started.instance.pid)]));
    expect(await run(started.endpoint, 'process.getuid()')).toEqual({ value: spec.uid });
    const size = await run(
      started.endpoint,
      `(() => { const { bsize, bavail } = fs.statfsSync('/tmp'); return bsize * bavail; })()`,
    );
    expect(size.value).toBeLessThanOrEqual(mebibytes(64));
    await eventually(() => namesOf(unit).filter((name) => name === 'bwrap').length === 2 * processesOfSpare);
    await stop(unit, spec.id);
    await stands(unit);
  });

  test('that is killed is missed by nobody', async () => {
    const { unit, code } = await unitWithSpare();
    for (const pid of tracesOf(unit).processes) process.kill(Number(pid), 'SIGKILL');
    await eventually(() => tracesOf(unit).processes.length === 0);
    const spec = functionSpec(code);
    const started = await start(unit, spec);
    expect(await run(started.endpoint, '1 + 1')).toEqual({ value: 2 });
    await stop(unit, spec.id);
  });

  test('of an agent that is killed is ended by the next, which makes its own', async () => {
    const { unit } = await unitWithSpare();
    const left = tracesOf(unit).processes;
    await kill(unit.agent);
    await startAgent(unit, { config: { spareSandbox: true } });
    await stands(unit);
    expect(tracesOf(unit).processes.filter((pid) => left.includes(pid))).toEqual([]);
  });

  // The next one is made 100 ms after the last was taken.
  test.each([
    ['a start is under way', false, 20],
    ['the next one is not made yet', true, 0],
    ['the next one is being made', true, 60],
  ])('leaves nothing when the agent stops while %s', async (_when, answered, pauseMs) => {
    const { unit, code } = await unitWithSpare();
    const started = start(unit, functionSpec(code)).catch(() => undefined);
    if (answered) await started;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    await unit.caller.call('shutdown', { graceMs: 0 });
    await started;
    expect(tracesOf(unit)).toMatchObject({ processes: [], groups: [], mounts: [] });
  });

  test('leaves nothing when the agent stops', async () => {
    const { unit } = await unitWithSpare();
    await unit.caller.call('shutdown', { graceMs: 0 });
    expect(tracesOf(unit)).toMatchObject({ processes: [], groups: [], mounts: [] });
  });
});
