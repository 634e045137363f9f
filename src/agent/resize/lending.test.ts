// Loans over a kernel that is a few fields, in any order of events; what a real one does is shown in tests/integration.
import fc from 'fast-check';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type { Cgroup } from '../cgroup/port.ts';
import { Lending, neededMeanwhile } from './lending.ts';
import { MemoryHolds } from './memory-holds.ts';

const id = 'i-one' as InstanceId;
const group = ['tenants', 'acme', id];
const promisedBytes = 256 * mib;

/** One group. Writes of a lower limit take their time, as on cgroup v1, and are refused below what is used. */
function makeKernel() {
  const state = {
    limitBytes: promisedBytes,
    usedBytes: 40 * mib,
    held: false,
    frozen: false,
    refuses: false,
  };
  let near: (() => void) | undefined;
  const cgroup = {
    limits: () => ({ memoryBytes: state.limitBytes }),
    usage: () => ({ memoryBytes: state.usedBytes, workingSetBytes: state.usedBytes }),
    isFrozen: () => state.frozen,
    holdOutOfMemory: (_: unknown, held: boolean) => (state.held = held),
    memoryStrain: () => ({
      memoryBytes: state.usedBytes,
      waiting: state.held && state.usedBytes >= state.limitBytes,
    }),
    watchMemory: (_: unknown, __: number, onNear: () => void) => {
      near = onNear;
      return { tells: Promise.resolve(true), stop: () => (near = undefined) };
    },
    setLimits: async (_: unknown, { memoryBytes }: { memoryBytes: number }) => {
      if (memoryBytes < state.limitBytes) {
        await new Promise((resolve) => setImmediate(resolve));
        if (state.refuses || state.usedBytes > memoryBytes) return 'busy';
      }
      state.limitBytes = memoryBytes;
      return 'applied';
    },
    dropCache: async () => 0,
  };
  /** It uses so much; the kernel lets nobody past a limit, and tells who watches. */
  const use = (bytes: number): void => {
    if (state.frozen) return;
    state.usedBytes = Math.min(bytes, state.limitBytes);
    near?.();
  };
  return { state, use, cgroup: cgroup as unknown as Cgroup };
}

function makeLending(kernel: ReturnType<typeof makeKernel>) {
  const givenBack: string[] = [];
  const lending = new Lending({
    cgroup: kernel.cgroup,
    log: pino({ level: 'silent' }),
    holds: new MemoryHolds(kernel.cgroup),
    takeOver: () => undefined,
    onGivenBack: (_, why) => givenBack.push(why),
  });
  return { lending, givenBack };
}

const settled = (): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, 5));

type Event =
  | { is: 'lend'; bytes: number }
  | { is: 'use'; bytes: number }
  | { is: 'freeze' | 'thaw' | 'trim' | 'drop' | 'refuse' | 'pause' };

const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({ is: fc.constant('lend' as const), bytes: fc.integer({ min: 20 * mib, max: 255 * mib }) }),
  fc.record({ is: fc.constant('use' as const), bytes: fc.integer({ min: 10 * mib, max: 256 * mib }) }),
  fc.record({ is: fc.constantFrom('freeze', 'thaw', 'freeze', 'thaw', 'trim', 'drop', 'refuse', 'pause') }),
);

test('M-B4: whatever happens in whatever order, who is below its promise is held, and who runs again is not below it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 25 }), async (events) => {
      const kernel = makeKernel();
      const { state } = kernel;
      const { lending } = makeLending(kernel);
      const check = (): void => {
        if (state.limitBytes < promisedBytes) expect(state.held).toBe(true);
      };
      for (const each of events) {
        check();
        switch (each.is) {
          case 'lend':
            // Not waited for: what comes next meets a write that is under way.
            void lending.lower(id, group, each.bytes, promisedBytes);
            break;
          case 'use':
            kernel.use(each.bytes);
            break;
          case 'freeze':
            state.frozen = true;
            await lending.stoodStill(id);
            break;
          case 'thaw':
            if (!state.frozen) break;
            await lending.beforeRun(id, 'thaw');
            expect(state.limitBytes).toBe(promisedBytes);
            state.frozen = false;
            break;
          case 'trim':
            if (!state.frozen) break;
            await lending.beforeRun(id, 'trim');
            expect(state.limitBytes).toBe(promisedBytes);
            state.usedBytes = Math.min(state.usedBytes, 30 * mib);
            await lending.stoodStill(id);
            break;
          case 'drop':
            await settled();
            state.limitBytes = promisedBytes;
            lending.drop(id);
            break;
          case 'refuse':
            state.refuses = !state.refuses;
            break;
          case 'pause':
            await settled();
            break;
        }
      }
      await settled();
      check();
      // One that came to its limit while it ran has been given back, and who has what it was promised is not held.
      if (!state.frozen)
        expect(state.usedBytes < state.limitBytes || state.limitBytes === promisedBytes).toBe(true);
      if (lending.promisedBytes(id) === null) expect(state.held).toBe(false);
      lending.close();
      await settled();
      expect(state).toMatchObject({ limitBytes: promisedBytes, held: false });
    }),
    { numRuns: 100 },
  );
});

test('who is needed while its limit is being lowered has it back, and nothing is lent', async () => {
  const kernel = makeKernel();
  kernel.state.frozen = true;
  const { lending, givenBack } = makeLending(kernel);
  const lowering = lending.lower(id, group, 64 * mib, promisedBytes);
  await lending.beforeRun(id, 'thaw');
  expect(kernel.state.limitBytes).toBe(promisedBytes);
  expect(await lowering).toBe(neededMeanwhile);
  expect(givenBack).toEqual(['thaw']);
  expect(lending.promisedBytes(id)).toBeNull();
  await settled();
  expect(kernel.state).toMatchObject({ limitBytes: promisedBytes, held: false });
});

test('a trim of one that stands still has all that was promised, unheld, and is lent again afterwards without a word', async () => {
  const kernel = makeKernel();
  kernel.state.frozen = true;
  const { lending, givenBack } = makeLending(kernel);
  expect(await lending.lower(id, group, 64 * mib, promisedBytes)).toBe('');
  await lending.beforeRun(id, 'trim');
  expect(kernel.state).toMatchObject({ limitBytes: promisedBytes, held: false });
  expect(await lending.lower(id, group, 50 * mib, promisedBytes)).toContain('runs for a collection');
  await lending.stoodStill(id);
  expect(kernel.state).toMatchObject({ limitBytes: 64 * mib, held: true });
  expect(givenBack).toEqual([]);
});

test('a trim that left more than was lent ends the loan', async () => {
  const kernel = makeKernel();
  kernel.state.frozen = true;
  const { lending, givenBack } = makeLending(kernel);
  await lending.lower(id, group, 64 * mib, promisedBytes);
  await lending.beforeRun(id, 'trim');
  kernel.state.usedBytes = 90 * mib;
  await lending.stoodStill(id);
  expect(kernel.state).toMatchObject({ limitBytes: promisedBytes, held: false });
  expect(givenBack).toEqual(['strain']);
});

test('what the kernel refuses is not lent, and what was lent before stays so', async () => {
  const kernel = makeKernel();
  const { lending } = makeLending(kernel);
  await lending.lower(id, group, 100 * mib, promisedBytes);
  kernel.state.refuses = true;
  expect(await lending.lower(id, group, 64 * mib, promisedBytes)).toContain('could not bring its use below');
  expect(kernel.state).toMatchObject({ limitBytes: 100 * mib, held: true });
  kernel.use(99 * mib);
  await settled();
  expect(kernel.state).toMatchObject({ limitBytes: promisedBytes, held: false });
});
