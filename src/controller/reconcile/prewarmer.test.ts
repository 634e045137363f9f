// A function's rhythm, learned from gateways' reports in virtual time: its instance goes between two calls and is there before
// the next one.
import { afterEach, expect, test } from 'vitest';
import { gib } from '../../base/quantity.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import type { Workload } from '../../model/workload.ts';
import {
  acme,
  defaultSize,
  eventually,
  fn,
  Harness,
  mebibytes,
  type TestGateway,
} from '../testing/harness.ts';

const minute = 60_000;
const periodMs = 30.5 * minute;
/** Enough for windows, and for longer than a keep-alive is doubted. */
const rounds = 8;
const severalTicks = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 300));

let harness: Harness;
let gateway: TestGateway;
let aheadMs = 0;
const clock = { nowMs: () => Date.now() + aheadMs, monotonicMs: () => performance.now() + aheadMs };

async function begin(...[tuning, size]: Parameters<typeof Harness.start>): Promise<void> {
  harness = await Harness.start(tuning, size, clock);
  gateway = await harness.gateway();
}

afterEach(async () => {
  gateway.client.close();
  await harness.close();
});

/** All that the gateway said before has been heard when this resolves. */
async function heard(): Promise<void> {
  await gateway.client.call('discard', { id: 'nobody' as InstanceId, reason: 'to hear of it' });
}

async function call(workload: Workload): Promise<void> {
  const id = (await harness.running())[0] ?? (await gateway.acquire(workload, 1, clock.nowMs() + 5_000));
  const atMs = clock.nowMs();
  const calls = { most: 1, calledAtMs: atMs, endedAtMs: atMs };
  const counts = {
    requests: 1,
    errors: 0,
    throttles: 0,
    waiting: 0,
    connections: 0,
    bytesIn: 0,
    bytesOut: 0,
  };
  gateway.client.peer?.emit('traffic', [{ workload: workload.key, busyInstances: 0, calls, ...counts }]);
  gateway.client.peer?.emit('idle', { id, sinceMs: atMs });
  await heard();
}

/** Called so often that its rhythm is known, the last time just now. */
async function rhythmic(name: string): Promise<Workload> {
  const workload = await harness.control.deploy(acme, fn(name, { request: { memory: mebibytes(128) } }), {
    mustCreate: true,
  });
  for (let round = 0; round < rounds; round += 1) {
    await call(workload);
    aheadMs += periodMs;
  }
  await call(workload);
  return workload;
}

test('M-B1: one that is called every half an hour goes meanwhile, is there before the next call, and goes again when none comes', async () => {
  await begin();
  await rhythmic('reports');
  aheadMs += 15 * minute;
  await eventually(async () => expect(await harness.running()).toEqual([]));
  const { starts } = harness;
  aheadMs += 13 * minute;
  await eventually(async () => expect(await harness.running()).toHaveLength(1));
  const [id] = await harness.running();
  gateway.client.peer?.emit('idle', { id: id!, sinceMs: clock.nowMs() });
  await heard();
  await severalTicks();
  expect(await harness.running()).toEqual([id]);
  aheadMs += 35 * minute;
  await eventually(async () => expect(await harness.running()).toEqual([]));
  await severalTicks();
  expect(harness.starts).toBe(starts + 1);
});

test('what was learned holds after the controller has restarted', async () => {
  await begin();
  await rhythmic('reports');
  aheadMs += 15 * minute;
  await eventually(async () => expect(await harness.running()).toEqual([]));
  await harness.restart();
  aheadMs += 13 * minute;
  await eventually(async () => expect(await harness.running()).toHaveLength(1));
});

test('who calls while one is started ahead gets that one', async () => {
  await begin();
  const workload = await rhythmic('reports');
  aheadMs += 15 * minute;
  await eventually(async () => expect(await harness.running()).toEqual([]));
  const { starts } = harness;
  const serves = Promise.withResolvers<void>();
  harness.agent.script.next('start', { do: 'wait', until: serves.promise });
  aheadMs += 13 * minute;
  await eventually(() => expect(harness.starts).toBe(starts + 1));
  const acquired = gateway.acquire(workload, 1, clock.nowMs() + 5_000);
  // What was asked on the same link after it is answered: it waits.
  await heard();
  serves.resolve();
  const id = await acquired;
  expect(await harness.running()).toEqual([id]);
  expect(harness.starts).toBe(starts + 1);
});

test('nobody gives up room for one that is started ahead; it starts when there is some', async () => {
  await begin({ oversubscription: 1, hostReserveBytes: 0 }, { ...defaultSize, memory: gib / 2 } as Resources);
  await rhythmic('reports');
  aheadMs += 15 * minute;
  await eventually(async () => expect(await harness.running()).toEqual([]));
  const large = await harness.control.deploy(acme, fn('large', { request: { memory: mebibytes(450) } }), {
    mustCreate: true,
  });
  const other = await gateway.acquire(large, 1, clock.nowMs() + 5_000);
  aheadMs += 13 * minute;
  // It idles, but not for its keep-alive: a call would end it, an expectation does not.
  gateway.client.peer?.emit('idle', { id: other, sinceMs: clock.nowMs() - minute });
  await heard();
  await severalTicks();
  expect(await harness.running()).toEqual([other]);
  await gateway.client.call('discard', { id: other, reason: 'done' });
  await eventually(async () => expect(await harness.running()).toHaveLength(1));
});

test('a keep-alive that somebody named holds for everybody, and nobody is started ahead', async () => {
  await begin({ keepAlive: { type: 'fixed', keptMs: 40 * minute } });
  await rhythmic('reports');
  const running = await harness.running();
  aheadMs += 39 * minute;
  await severalTicks();
  expect(await harness.running()).toEqual(running);
  const { starts } = harness;
  aheadMs += minute;
  await eventually(async () => expect(await harness.running()).toEqual([]));
  await severalTicks();
  expect(harness.starts).toBe(starts);
});
