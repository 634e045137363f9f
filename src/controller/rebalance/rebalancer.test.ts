// What the rebalancer does when memory is needed, over a division that records: the division itself is ../resize/divider.ts.
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { mebibytes, acme } from '../testing/harness.ts';
import { systemClock, type Clock } from '../../base/clock.ts';
import type { PartialResources } from '../../model/resources.ts';
import { createLogger } from '../../sys/log.ts';
import type { Divider } from '../resize/divider.ts';
import { ActualState, type Tracked } from '../state/actual.ts';
import { Rebalancer } from './rebalancer.ts';
import type { SteadyDemands } from './steady-demand.ts';

class RecordingDivider {
  isShort = false;
  planMs = 0;
  grantableBytes = mebibytes(1_000);
  readonly withheld: number[] = [];
  readonly whys: string[] = [];
  withhold(bytes: number): void {
    this.withheld.push(bytes);
  }
  async divide(why: string): Promise<number> {
    this.whys.push(why);
    return mebibytes(1);
  }
  agentActed(): void {}
}

let actual: ActualState;
let divider: RecordingDivider;
let rebalancer: Rebalancer;
let nowMs = 0;
const clock: Clock = { ...systemClock, nowMs: () => nowMs, monotonicMs: () => nowMs };
const demands = new Map<string, number>();

beforeEach(() => {
  actual = new ActualState();
  divider = new RecordingDivider();
  rebalancer = new Rebalancer({
    divider: divider as unknown as Divider,
    actual,
    steadyDemands: {
      of: ({ spec }: Tracked): PartialResources => ({ memory: mebibytes(demands.get(spec.id) ?? 0) }),
      forget: () => undefined,
      tookBack: () => undefined,
    } as unknown as SteadyDemands,
    clock,
    log: createLogger('controller', 'silent'),
  });
});
afterEach(() => rebalancer.close());

function serving(id: string, grant: number, demand: number, idle = true): Tracked {
  demands.set(id, demand);
  const info = {
    id,
    grant: { memory: mebibytes(grant) },
    desired: { memory: mebibytes(grant) },
    state: 'idle',
  };
  const tracked = {
    spec: { id: id as InstanceId, tenant: acme },
    life: { phase: 'serving', known: { info } },
    idle,
    lastUsedMs: 0,
    servingSinceMs: 0,
  } as unknown as Tracked;
  actual.set(tracked);
  return tracked;
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('what comes together is divided once, and says all of it', async () => {
  serving('i-1', 100, 50);
  serving('i-2', 100, 50);
  await turn();
  expect(divider.whys).toEqual(['i-1 is serving; i-2 is serving']);
});

test('while nothing is short, who wakes or falls idle moves nothing, and a tick neither', async () => {
  const tracked = serving('i-1', 100, 50);
  await turn();
  divider.whys.length = 0;
  actual.set({ ...tracked, idle: false });
  rebalancer.tick();
  await turn();
  expect(divider.whys).toEqual([]);
  divider.isShort = true;
  actual.set({ ...tracked, idle: true });
  actual.set({ ...tracked, idle: false });
  await turn();
  expect(divider.whys).toEqual(['i-1 woke']);
});

test('room is made of what nobody demands, on top of what nobody has, and no longer than it is needed', async () => {
  serving('i-1', 300, 100);
  serving('i-2', 300, 250);
  await rebalancer.makeRoom(mebibytes(150), 'the host is short of memory');
  expect(divider.withheld).toEqual([mebibytes(400 + 150)]);
  await rebalancer.makeRoom(mebibytes(900), 'the host is short of memory');
  expect(divider.withheld.at(-1)).toBe(mebibytes(400 + 250));
  nowMs += 9_000;
  rebalancer.tick();
  expect(divider.withheld.at(-1)).toBe(mebibytes(650));
  nowMs += 2_000;
  rebalancer.tick();
  expect(divider.withheld.at(-1)).toBe(0);
});

test('where everybody demands all that it has, no room is made', async () => {
  serving('i-1', 300, 300);
  expect(await rebalancer.makeRoom(mebibytes(150), 'the host is short of memory')).toBe(0);
  expect(divider.withheld).toEqual([]);
});

test('divisions because of events leave most of the time to others', async () => {
  divider.planMs = 5;
  serving('i-1', 100, 50);
  await turn();
  rebalancer.rebalance('again');
  await turn();
  expect(divider.whys).toEqual(['i-1 is serving']);
});
