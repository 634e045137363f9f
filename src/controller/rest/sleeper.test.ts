// Which machines are put on disk by themselves, and after how long, with a unit that is played: what it does to a real one is in tests/.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { InstanceId, UnitId } from '../../base/ids.ts';
import { BellowsError } from '../../base/errors.ts';
import { mib } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { UnitMeasure } from '../../protocol/unit.ts';
import { acme, app, eventually, fn, Harness, type TestGateway } from '../testing/harness.ts';

const afterMs = 600_000;
const ticks = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 300));

let harness: Harness;
let gateway: TestGateway;
let aheadMs = 0;
const clock = { nowMs: () => Date.now() + aheadMs, monotonicMs: () => performance.now() + aheadMs };
/** What the kernel has counted of the machine's tap. */
let carriedPackets: number | null;
let state: UnitMeasure['state'];
let asked: { unit: UnitId; carriedPackets?: number | undefined }[];
/** Of what is tried next. */
let failure: BellowsError | undefined;

const size = { memory: 1024 * mib, cpu: 1000, storage: 0, bandwidth: 0 } as Resources;

async function begin(hibernateAfterMs: number | null): Promise<void> {
  harness = await Harness.start({ hibernateAfterMs }, undefined, clock);
  gateway = await harness.gateway();
  const { handlers } = harness.agent;
  const measure = handlers.measure;
  vi.spyOn(handlers, 'measure').mockImplementation(async (params) => {
    const measured = await measure(params);
    const unit = (await handlers.list({})).instances[0]?.info.unit;
    if (unit === undefined) return { ...measured, atMs: clock.nowMs() };
    const bytes = { hostPrivateBytes: 1, hostGroupBytes: null, hostStorageBytes: 0 };
    const shown = {
      id: unit,
      driver: 'vm',
      pid: 7,
      tenant: acme,
      provisioned: size,
      claimed: size,
      ...bytes,
    };
    return {
      ...measured,
      atMs: clock.nowMs(),
      units: [{ ...shown, state, mayHibernate: true, carriedPackets }],
    };
  });
  vi.spyOn(handlers, 'hibernate').mockImplementation(async (params) => {
    asked.push(params);
    if (failure !== undefined) throw failure;
    if (params.carriedPackets !== carriedPackets)
      throw new BellowsError('Conflict', 'It was used meanwhile.');
    state = 'hibernated';
    return { beforeBytes: mib, afterBytes: 0, storedBytes: mib, durationMs: 1 };
  });
}

/** So much later, as the controller sees it within its next ticks. */
async function later(ms: number): Promise<void> {
  await ticks();
  aheadMs += ms;
  await ticks();
}

const report = async (openRequests: number): Promise<void> => {
  const line = { requests: 0, errors: 0, throttles: 0, busyInstances: 1, waiting: 0, connections: 0 };
  const workload = (await harness.control.instances())[0]!.workload;
  gateway.client.peer?.emit('traffic', [{ workload, ...line, bytesIn: 0, bytesOut: 0, openRequests }]);
  await gateway.client.call('discard', { id: 'nobody' as InstanceId, reason: 'to hear of it' });
};

beforeEach(() => {
  aheadMs = 0;
  carriedPackets = 40;
  state = 'bound';
  asked = [];
  failure = undefined;
});
afterEach(async () => {
  gateway.client.close();
  await harness.close();
});

test('M-C4: an app’s machine goes to disk when nothing has happened in it for as long as was said, and no sooner', async () => {
  await begin(afterMs);
  await harness.control.deploy(acme, app('chat'), { mustCreate: true });
  await later(afterMs / 2);
  expect(asked).toEqual([]);
  aheadMs += afterMs;
  await eventually(() => expect(asked).toHaveLength(1));
  // Only as it is known here: what comes between this moment and its standing still keeps it awake.
  expect(asked[0]).toMatchObject({ carriedPackets: 40 });
  await ticks();
  expect(asked).toHaveLength(1);
});

test('without that setting none does', async () => {
  await begin(null);
  await harness.control.deploy(acme, app('chat'), { mustCreate: true });
  await later(10 * afterMs);
  expect(asked).toEqual([]);
});

test('a packet is something that happens, and so is a request whose answer has not ended', async () => {
  await begin(afterMs);
  await harness.control.deploy(acme, app('chat'), { mustCreate: true });
  await later(0.6 * afterMs);
  carriedPackets = 41;
  await later(0.6 * afterMs);
  expect(asked).toEqual([]);
  await report(1);
  await later(0.6 * afterMs);
  expect(asked).toEqual([]);
  aheadMs += 0.6 * afterMs;
  await eventually(() => expect(asked).toHaveLength(1));
});

test('one that woke stays awake for as long again', async () => {
  await begin(afterMs);
  await harness.control.deploy(acme, app('chat'), { mustCreate: true });
  await later(0);
  aheadMs += afterMs;
  await eventually(() => expect(asked).toHaveLength(1));
  await later(afterMs);
  state = 'bound';
  await later(afterMs / 2);
  expect(asked).toHaveLength(1);
  aheadMs += afterMs;
  await eventually(() => expect(asked).toHaveLength(2));
});

test('a function’s goes when no call has come for so long, and not while one runs', async () => {
  await begin(afterMs);
  const workload = await harness.control.deploy(acme, fn('report'), { mustCreate: true });
  const id = await gateway.acquire(workload, 1, clock.nowMs() + 5_000);
  await eventually(async () => expect(await harness.running()).toEqual([id]));
  gateway.client.peer?.emit('idle', { id, sinceMs: null });
  await gateway.client.call('discard', { id: 'nobody' as InstanceId, reason: 'to hear of it' });
  await later(0.8 * afterMs);
  await later(0.8 * afterMs);
  expect(asked).toEqual([]);
  gateway.client.peer?.emit('idle', { id, sinceMs: clock.nowMs() - afterMs });
  await eventually(() => expect(asked).toHaveLength(1));
});

test('one that can not be put on disk is tried again a minute later, and one that was used meanwhile when it is quiet', async () => {
  await begin(1_000);
  failure = new BellowsError('NoRoom', 'The disk is full.');
  await harness.control.deploy(acme, app('chat'), { mustCreate: true });
  await later(0);
  aheadMs += 1_000;
  await eventually(() => expect(asked).toHaveLength(1));
  await later(30_000);
  expect(asked).toHaveLength(1);
  failure = undefined;
  // Of which the controller has not heard when it asks.
  vi.mocked(harness.agent.handlers.hibernate).mockImplementationOnce(async (params) => {
    asked.push(params);
    carriedPackets = 42;
    throw new BellowsError('Conflict', 'It was used meanwhile.');
  });
  aheadMs += 31_000;
  await eventually(() => expect(asked.at(-1)?.carriedPackets).toBe(42));
  expect(state).toBe('hibernated');
});

test('what has no address of its own stays: its connections would end with its process', async () => {
  await begin(afterMs);
  carriedPackets = null;
  await harness.control.deploy(acme, app('chat'), { mustCreate: true });
  await later(2 * afterMs);
  expect(asked).toEqual([]);
});
