import { beforeEach, describe, expect, test } from 'vitest';
import type { InstanceId, TenantId, UnitId, WorkloadKey } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import type { InstanceState } from '../../model/instance.ts';
import type { Sample } from '../measures.ts';
import type { Traffic } from '../routes/traffic.ts';
import { ActualState, type Tracked } from '../state/actual.ts';
import { noUsage, resourcesOf } from '../views.ts';
import { Demands, type DemandsParts } from './demands.ts';
import { newMemory } from './stored-memory.ts';

const second = 1_000;
const shop = 'acme/shop' as WorkloadKey;
const one = 'one' as InstanceId;
const request = resourcesOf(512 * mib, 1_000, gib, 1e6);

let nowMs: number;
let actual: ActualState;
let demands: Demands;
let latest: Sample['instances'];

beforeEach(() => {
  nowMs = 1_000 * 60 * second;
  actual = new ActualState();
  latest = [];
  const memory = newMemory(nowMs);
  // Only what it asks of them.
  const parts = {
    desired: { record: () => ({ current: { request }, candidate: null }) },
    actual,
    measures: {
      usageOf: (id: InstanceId) => latest.find((instance) => instance.id === id)?.usage,
      storageOf: (id: InstanceId) => latest.find((instance) => instance.id === id)?.storageBytes,
    },
    memories: { find: () => memory, change: () => memory },
    clock: { nowMs: () => nowMs, monotonicMs: () => nowMs },
  };
  demands = new Demands(parts as unknown as DemandsParts);
});

function tracked(kind: 'app' | 'function', state: InstanceState, idle = false, id = one): Tracked {
  const info = { id, state, kind, workload: shop, tenant: 'acme' as TenantId, unit: 'host' as UnitId };
  const present = {
    spec: { id, kind, workload: shop, generation: 'g', grant: request },
    life: { phase: 'serving', known: { info, endpoint: {} } },
    idle,
    lastUsedMs: nowMs,
    servingSinceMs: nowMs,
  } as unknown as Tracked;
  actual.set(present);
  return present;
}

interface Figures {
  readonly memory: number;
  readonly cpuMicros?: number;
  readonly throttledMicros?: number;
  readonly storage?: number;
}

function sampled(byId: Readonly<Record<string, Figures>>): void {
  latest = Object.entries(byId).map(([id, { memory, cpuMicros = 0, throttledMicros = 0, storage = 0 }]) => ({
    id: id as InstanceId,
    usage: {
      ...noUsage,
      workingSetBytes: memory,
      cpuUsageMicros: cpuMicros,
      cpuThrottledMicros: throttledMicros,
    },
    storageBytes: storage,
  }));
  demands.onSample({ atMs: nowMs, instances: latest } as unknown as Sample);
}

function carried(bytesIn: number, bytesOut: number): void {
  const line = { workload: shop, bytesIn, bytesOut } as unknown as Traffic[number];
  demands.onTraffic([line]);
}

describe('demand of an instance', () => {
  test('of a workload that nothing is known of: its request while it works, its use and headroom when it idles, its use when frozen', () => {
    sampled({ one: { memory: 60 * mib, storage: 5 * mib } });
    expect(demands.demandOf(tracked('function', 'idle', false))).toEqual(request);
    const idle = demands.demandOf(tracked('function', 'idle', true));
    expect(idle).toMatchObject({ memory: 85 * mib, cpu: 0, bandwidth: 0 });
    expect(idle.storage).toBeGreaterThanOrEqual(5 * mib);
    expect(idle.storage).toBeLessThan(6 * mib);
    expect(demands.demandOf(tracked('function', 'frozen', true))).toEqual(
      resourcesOf(60 * mib, 0, 5 * mib, 0),
    );
  });

  test('never more than its request', () => {
    sampled({ one: { memory: 600 * mib, storage: 2 * gib } });
    for (const state of ['idle', 'frozen'] as const)
      expect(demands.demandOf(tracked('function', state, true))).toMatchObject({
        memory: request.memory,
        storage: request.storage,
      });
  });

  test('the request of one that is not measured yet', () => {
    const known = tracked('app', 'idle');
    expect(demands.demandOf(known)).toEqual(request);
    const waiting = { ...known, life: { phase: 'waiting', known: null } } as const;
    expect(demands.demandOf(waiting)).toEqual(request);
  });

  test('an app idles when it was quiet for long, and no longer when it runs or carries something', () => {
    const app = tracked('app', 'idle');
    let cpuMicros = 0;
    const passes = (seconds: number, microsEach: number): void => {
      for (let at = 0; at < seconds; at += 1) {
        nowMs += second;
        sampled({ one: { memory: 60 * mib, cpuMicros: (cpuMicros += microsEach) } });
      }
    };
    passes(5, 1_000);
    expect(demands.demandOf(app)).toEqual(request);
    passes(10, 1_000);
    expect(demands.demandOf(app).memory).toBe(85 * mib);
    passes(1, 300_000);
    expect(demands.demandOf(app)).toEqual(request);
    passes(11, 1_000);
    carried(100, 5_000);
    passes(1, 1_000);
    expect(demands.demandOf(app)).toEqual(request);
  });

  test('one that works demands what its workload was seen to need, and one that is started anew, too', () => {
    const working = tracked('function', 'idle', false);
    let cpuMicros = 0;
    let throttledMicros = 0;
    for (let at = 0; at < 30 * 60; at += 1) {
      nowMs += second;
      carried(1_000, 50_000);
      sampled({
        one: {
          memory: 100 * mib,
          cpuMicros: (cpuMicros += 200_000),
          throttledMicros: (throttledMicros += 100_000),
        },
      });
    }
    const demand = demands.demandOf(working);
    expect(demand.memory).toBeGreaterThan(100 * mib);
    expect(demand.memory).toBeLessThan(160 * mib);
    // 200 millicores and what it was throttled, with a margin.
    expect(demand.cpu).toBeGreaterThanOrEqual(300);
    expect(demand.cpu).toBeLessThan(400);
    expect(demand.bandwidth).toBeGreaterThanOrEqual(50_000);
    expect(demand.bandwidth).toBeLessThan(65_000);
    const next = { ...tracked('function', 'idle', false, 'two' as InstanceId) };
    expect(demands.demandOf({ ...next, life: { phase: 'waiting', known: null } }).memory).toBe(demand.memory);
  });

  test('bytes count for the instances of a workload that work, each with its part', () => {
    const working = tracked('function', 'idle', false);
    const second_ = tracked('function', 'idle', false, 'two' as InstanceId);
    const idle = tracked('function', 'idle', true, 'three' as InstanceId);
    const memory = 60 * mib;
    const figures = { one: { memory }, two: { memory }, three: { memory } };
    sampled(figures);
    nowMs += second;
    carried(40_000, 200_000);
    sampled(figures);
    // The one that idles is not said to carry anything; the others are active, and nothing is known of their workload.
    expect(demands.demandOf(idle).bandwidth).toBe(0);
    const nowIdle = (one_: Tracked): number => demands.demandOf({ ...one_, idle: true }).bandwidth;
    expect([nowIdle(working), nowIdle(second_)]).toEqual([110_000, 110_000]);
  });
});
