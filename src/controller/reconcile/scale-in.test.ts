// How long instances stay that serve nothing, while nothing is known of their function's calls, in virtual time. What is learned
// of them is in prewarmer.test.ts, the rule's own tests are src/allocator/arrivals/keeping.test.ts.
import { afterEach, expect, test } from 'vitest';
import { hostKeepAlive, virtualKeepAlive, type KeepAlive } from '../../allocator/arrivals/keeping.ts';
import type { InstanceId } from '../../base/ids.ts';
import { acme, eventually, fn, Harness, type TestGateway } from '../testing/harness.ts';

const minute = 60_000;
/** A second of the test's own time may pass between two looks at the clock; on a busy machine several. */
const spareMs = minute;
const severalTicks = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 300));

let harness: Harness;
let gateway: TestGateway;
let aheadMs = 0;
const clock = { nowMs: () => Date.now() + aheadMs, monotonicMs: () => performance.now() + aheadMs };

/** Two instances of one function that have just served; the one that a call would go to first. */
async function twoIdle(keepAlive: KeepAlive): Promise<readonly InstanceId[]> {
  harness = await Harness.start({ keepAlive }, undefined, clock);
  gateway = await harness.gateway();
  const workload = await harness.control.deploy(acme, fn('report'), { mustCreate: true });
  const acquire = (): Promise<InstanceId> => gateway.acquire(workload, 2, clock.nowMs() + 5_000);
  await Promise.all([acquire(), acquire()]);
  await eventually(async () => expect(await harness.running()).toHaveLength(2));
  const ids = await harness.running();
  for (const [at, id] of ids.entries())
    gateway.client.peer?.emit('idle', { id, sinceMs: clock.nowMs() - at });
  await gateway.client.call('discard', { id: 'nobody' as InstanceId, reason: 'to hear of it' });
  return ids;
}

afterEach(async () => {
  gateway.client.close();
  await harness.close();
});

test('on this machine one is kept for four hours, and those beyond it for ten minutes', async () => {
  const [first] = await twoIdle(hostKeepAlive);
  aheadMs += 10 * minute - spareMs;
  await severalTicks();
  expect(await harness.running()).toHaveLength(2);
  aheadMs += spareMs;
  await eventually(async () => expect(await harness.running()).toEqual([first]));
  aheadMs += 230 * minute - spareMs;
  await severalTicks();
  expect(await harness.running()).toEqual([first]);
  aheadMs += spareMs;
  await eventually(async () => expect(await harness.running()).toEqual([]));
});

test('in virtual machines all of them go after ten minutes', async () => {
  await twoIdle(virtualKeepAlive);
  aheadMs += 10 * minute;
  await eventually(async () => expect(await harness.running()).toEqual([]));
});

test('all of them stay as long as somebody named', async () => {
  await twoIdle({ type: 'fixed', keptMs: 60 * minute });
  aheadMs += 60 * minute - spareMs;
  await severalTicks();
  expect(await harness.running()).toHaveLength(2);
  aheadMs += spareMs;
  await eventually(async () => expect(await harness.running()).toEqual([]));
});
