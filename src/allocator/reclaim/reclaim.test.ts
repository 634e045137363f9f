import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import { planReclaim, rungs, type ReclaimPlan } from './ladder.ts';
import { defaultNeedPolicy, reclaimNeed, type HostObservation } from './need.ts';
import { victimOrder, type Candidate, type Victim } from './victims.ts';

const runs = { numRuns: 3_000 };
const calm: HostObservation = { capacity: 1_000, unallocated: 500, coming: 0, unmet: 0, pressurePercent: 0 };

describe('need of reclaim', () => {
  test.each<[string, Partial<HostObservation>, number, string | null]>([
    ['room enough: nothing', {}, 0, null],
    ['at the low watermark: nothing yet', { unallocated: 50 }, 0, null],
    ['below it: up to the high one', { unallocated: 40 }, 60, 'low watermark'],
    [
      'M-B1: demand that is coming counts before it is there',
      { unallocated: 300, coming: 280 },
      80,
      'coming demand',
    ],
    ['what could not be granted', { unallocated: 100, unmet: 200 }, 200, 'unmet grants'],
    ['pressure, whatever the figures say', { pressurePercent: 30 }, 20, 'pressure'],
    ['little pressure is none', { pressurePercent: 10 }, 0, null],
  ])('%s', (_, change, amount, because) => {
    expect(reclaimNeed({ ...calm, ...change })).toEqual({ amount, because });
  });

  const observation = fc.record({
    capacity: fc.integer({ min: 100, max: 1e12 }),
    unallocated: fc.nat(1e9),
    coming: fc.nat(1e9),
    unmet: fc.nat(1e9),
    pressurePercent: fc.nat(100),
  });

  test('a reason is given exactly when there is something to do', () => {
    fc.assert(
      fc.property(observation, (host) => {
        const { amount, because } = reclaimNeed(host);
        expect(amount > 0).toBe(because !== null);
      }),
      runs,
    );
  });

  test('once it is back there is no more to do, but for pressure', () => {
    fc.assert(
      fc.property(observation, (host) => {
        const { amount } = reclaimNeed(host);
        expect(
          reclaimNeed({ ...host, unallocated: host.unallocated + amount, pressurePercent: 0 }).amount,
        ).toBe(0);
      }),
      runs,
    );
  });

  test('more that is coming, unmet or pressing never asks for less', () => {
    fc.assert(
      fc.property(observation, fc.nat(1e9), fc.nat(1e9), fc.nat(50), (host, coming, unmet, pressure) => {
        const worse = {
          ...host,
          coming: host.coming + coming,
          unmet: host.unmet + unmet,
          pressurePercent: host.pressurePercent + pressure,
        };
        expect(reclaimNeed(worse).amount).toBeGreaterThanOrEqual(reclaimNeed(host).amount);
      }),
      runs,
    );
  });

  test('watermarks are apart, or it would begin anew with every byte', () => {
    expect(defaultNeedPolicy.highWatermark).toBeGreaterThan(defaultNeedPolicy.lowWatermark);
  });
});

const nowMs = 1_000_000;
const one = (id: string, change: Partial<Candidate> = {}): Candidate => ({
  id: id as InstanceId,
  tenant: 'acme' as TenantId,
  grant: 100 * mib,
  used: 60 * mib,
  floor: 32 * mib,
  garbage: 0,
  cleanCache: 0,
  idleSinceMs: 0,
  windowUse: 10 * mib,
  mayHibernate: false,
  mayEnd: false,
  ...change,
});
const ids = (victims: readonly Victim[]): string[] => victims.map(({ candidate }) => candidate.id);
const lenders = new Set(['lender' as TenantId]);

describe('victims', () => {
  test('M-B2: idle longer than the threshold first, the longest first; then the least used', () => {
    const order = victimOrder(
      [
        one('busy', { idleSinceMs: null, windowUse: 90 * mib }),
        one('spare', { idleSinceMs: null, windowUse: 5 * mib }),
        one('pausing', { idleSinceMs: nowMs - 9_999, windowUse: 50 * mib }),
        one('idle', { idleSinceMs: nowMs - 10_000 }),
        one('asleep', { idleSinceMs: 5 }),
        one('working', { idleSinceMs: null, windowUse: 95 * mib }),
      ],
      new Set(),
      nowMs,
    );
    expect(ids(order)).toEqual(['asleep', 'idle', 'spare', 'pausing']);
    expect(order.map(({ idle }) => idle)).toEqual([true, true, false, false]);
  });

  test('M-E4: who lends is asked after those who do not, of those that are as idle', () => {
    const order = victimOrder(
      [
        one('lent', { tenant: 'lender' as TenantId, idleSinceMs: 0 }),
        one('own', { idleSinceMs: 100 }),
        one('spare-lent', { tenant: 'lender' as TenantId, idleSinceMs: null, windowUse: 0 }),
        one('spare', { idleSinceMs: null, windowUse: 1 }),
        one('x', { idleSinceMs: null, windowUse: 60 * mib }),
        one('y', { idleSinceMs: null, windowUse: 60 * mib }),
      ],
      lenders,
      nowMs,
    );
    expect(ids(order)).toEqual(['own', 'lent', 'spare', 'spare-lent']);
  });

  test('the order in which they are listed changes nothing, nobody is named twice', () => {
    fc.assert(
      fc.property(candidates(), (list) => {
        const order = ids(victimOrder(list, lenders, nowMs));
        expect(ids(victimOrder(list.toReversed(), lenders, nowMs))).toEqual(order);
        expect(new Set(order).size).toBe(order.length);
      }),
      runs,
    );
  });
});

function candidates(): fc.Arbitrary<Candidate[]> {
  const amount = fc.nat(200 * mib);
  return fc
    .array(
      fc.record({
        grant: amount,
        usedShare: fc.double({ min: 0, max: 1, noNaN: true }),
        garbageShare: fc.double({ min: 0, max: 0.5, noNaN: true }),
        cacheShare: fc.double({ min: 0, max: 0.5, noNaN: true }),
        floor: fc.nat(64 * mib),
        idleSinceMs: fc.option(fc.nat(nowMs)),
        windowUse: amount,
        mayHibernate: fc.boolean(),
        mayEnd: fc.boolean(),
        lends: fc.boolean(),
      }),
      { maxLength: 12 },
    )
    .map((list) =>
      list.map(({ grant, usedShare, garbageShare, cacheShare, lends, ...rest }, at) => {
        const used = Math.floor(grant * usedShare);
        return {
          ...rest,
          id: `i-${at}` as InstanceId,
          tenant: (lends ? 'lender' : 'acme') as TenantId,
          grant,
          used,
          garbage: Math.floor(used * garbageShare),
          cleanCache: Math.floor(used * cacheShare),
        };
      }),
    );
}

const planned = (list: readonly Candidate[], wanted: number, worthwhile = 0): ReclaimPlan =>
  planReclaim({ resource: 'memory', wanted, victims: victimOrder(list, lenders, nowMs), worthwhile });
const brief = ({ steps }: ReclaimPlan): unknown[] =>
  steps.map(({ id, rung, amount }) => [id, rung, amount / mib]);

describe('the ladder of reclaim', () => {
  const rich = { garbage: 20 * mib, cleanCache: 10 * mib, mayEnd: true };

  test('each rung over all victims, the gentlest first, until there is enough', () => {
    const two = [one('a', rich), one('b', { ...rich, idleSinceMs: 5 })];
    expect(brief(planned(two, 30 * mib))).toEqual([
      ['a', 'trim', 20],
      ['b', 'trim', 20],
    ]);
    expect(brief(planned(two, 55 * mib))).toEqual([
      ['a', 'trim', 20],
      ['b', 'trim', 20],
      ['a', 'cache', 10],
      ['b', 'cache', 5],
    ]);
  });

  test('who has to go need not be trimmed before', () => {
    const plan = planned([one('a', rich), one('b', { idleSinceMs: 5 })], 113 * mib);
    expect(brief(plan)).toEqual([
      ['b', 'claim', 15],
      ['a', 'terminate', 100],
    ]);
    expect(plan).toMatchObject({ amount: 115 * mib, missing: 0 });
  });

  test('state is kept where the unit can do that', () => {
    const plan = planned([one('a', { ...rich, mayHibernate: true })], 90 * mib);
    expect(brief(plan)).toEqual([['a', 'hibernate', 100]]);
  });

  test('what is too little to ask for is let be, unless it is all that is wanted', () => {
    const little = one('a', { garbage: mib / 2, grant: 60 * mib });
    expect(brief(planned([little], 10 * mib, mib))).toEqual([]);
    expect(brief(planned([little], mib / 4, mib))).toEqual([['a', 'trim', 0.5]]);
  });

  test('M-B6: instances in use give what they do not need, and are never ended', () => {
    const used = one('a', { ...rich, idleSinceMs: null, mayHibernate: true });
    const plan = planned([used], 500 * mib);
    expect(plan.steps.map(({ rung }) => rung)).toEqual(['trim', 'cache', 'claim']);
    expect(plan.missing).toBeGreaterThan(0);
  });

  const wanted = fc.nat(1_000 * mib);

  test('what goes on keeps its floor; what is ended was idle, and may be ended', () => {
    fc.assert(
      fc.property(candidates(), wanted, (list, need) => {
        for (const { id, rung, amount, leaves } of planned(list, need).steps) {
          const candidate = list.find((each) => each.id === id)!;
          expect(amount).toBeGreaterThan(0);
          if (rung === 'hibernate' || rung === 'terminate') {
            expect(leaves).toBe(0);
            expect(candidate.idleSinceMs).not.toBeNull();
            expect(rung === 'hibernate' ? candidate.mayHibernate : candidate.mayEnd).toBe(true);
          } else expect(leaves).toBeGreaterThanOrEqual(Math.min(candidate.floor, candidate.grant));
        }
      }),
      runs,
    );
  });

  test('adds up, and nobody gives more than it has', () => {
    fc.assert(
      fc.property(candidates(), wanted, (list, need) => {
        const { steps, amount, missing } = planned(list, need);
        expect(steps.reduce((sum, step) => sum + step.amount, 0)).toBe(amount);
        expect(amount + missing).toBeGreaterThanOrEqual(need);
        for (const { id, grant } of list) {
          const own = steps.filter((step) => step.id === id);
          expect(own.reduce((sum, step) => sum + step.amount, 0) + (own.at(-1)?.leaves ?? grant)).toBe(grant);
        }
      }),
      runs,
    );
  });

  test('stops when there is enough: without its last step it would not be', () => {
    fc.assert(
      fc.property(candidates(), wanted, (list, need) => {
        const { steps, amount } = planned(list, need);
        const last = steps.at(-1);
        if (last !== undefined) expect(amount - last.amount).toBeLessThan(need);
        if (need === 0) expect(steps).toEqual([]);
      }),
      runs,
    );
  });

  test('nobody is ended while somebody still has something gentler to give', () => {
    fc.assert(
      fc.property(candidates(), wanted, (list, need) => {
        const { steps } = planned(list, need);
        const lastRung = Math.max(-1, ...steps.map(({ rung }) => rungs.indexOf(rung)));
        if (lastRung < rungs.indexOf('hibernate')) return;
        const gentle = planned(
          list.map((each) => ({ ...each, mayHibernate: false, mayEnd: false })),
          need,
        );
        expect(gentle.missing).toBeGreaterThan(0);
      }),
      runs,
    );
  });

  test('more that is wanted never brings less', () => {
    fc.assert(
      fc.property(candidates(), wanted, wanted, (list, need, more) => {
        expect(planned(list, need + more).amount).toBeGreaterThanOrEqual(planned(list, need).amount);
      }),
      runs,
    );
  });
});
