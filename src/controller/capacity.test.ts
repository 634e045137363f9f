import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { InstanceId, TenantId } from '../base/ids.ts';
import { mib } from '../base/quantity.ts';
import { judgeStart, type Occupant, type Room, type Verdict } from './capacity.ts';

const [a, b] = ['a', 'b'] as TenantId[] as [TenantId, TenantId];
const room = (change: Partial<Room> = {}): Room => ({
  capacityBytes: 1_000 * mib,
  oversubscription: 1,
  hostAvailableBytes: null,
  hostReserveBytes: 0,
  tenantLimitBytes: null,
  ...change,
});
const occupant = (
  id: string,
  tenant: TenantId,
  mebibytes: number,
  idleSinceMs: number | null = null,
): Occupant => ({
  id: id as InstanceId,
  tenant,
  memoryBytes: mebibytes * mib,
  idleSinceMs,
  leaving: false,
});

/** @param kept what others keep of what they are granted, in parts of it: the rest can be lent */
const judged = (
  asked: number,
  tenant: TenantId,
  others: readonly Occupant[],
  there: Room,
  kept = 1,
): Verdict => judgeStart(asked, tenant, others, there, ({ memoryBytes }) => memoryBytes * kept);

describe('room for one more instance', () => {
  test('when there is enough it gets what it asks for, and nobody is ended', () => {
    expect(judged(500 * mib, a, [occupant('1', b, 500, 0)], room())).toEqual({
      verdict: 'fits',
      grantBytes: 500 * mib,
    });
  });

  test('what others do not demand is lent before anybody is ended', () => {
    const others = [occupant('1', b, 600, 10), occupant('2', b, 400, null)];
    const verdict = judged(500 * mib, a, others, room(), 0.5);
    expect(verdict).toEqual({ verdict: 'afterLending', grantBytes: 500 * mib });
    expect(judged(600 * mib, a, others, room(), 0.5)).toEqual({ verdict: 'afterEnding', ids: ['1'] });
  });

  test('a tenant’s own instances lend to each other below its limit', () => {
    const limited = room({ tenantLimitBytes: 400 * mib });
    expect(judged(200 * mib, a, [occupant('1', a, 400)], limited, 0.5)).toMatchObject({
      verdict: 'afterLending',
    });
    const others = [occupant('1', b, 400), occupant('2', a, 400)];
    expect(judged(100 * mib, a, others, limited)).toMatchObject({ verdict: 'wait', code: 'LimitReached' });
  });

  test('rather some of it at once, by lending, than nothing', () => {
    const limited = room({ tenantLimitBytes: 400 * mib });
    expect(judged(300 * mib, a, [occupant('1', a, 400)], limited, 0.5)).toEqual({
      verdict: 'afterLending',
      grantBytes: 200 * mib,
    });
  });

  test('the one that was idle longest goes first, and no more than needed', () => {
    const others = [occupant('1', b, 300, 20), occupant('2', b, 300, 10), occupant('3', b, 300, null)];
    expect(judged(300 * mib, a, others, room())).toEqual({ verdict: 'afterEnding', ids: ['2'] });
  });

  test('a tenant at its limit ends only its own idle instances', () => {
    const others = [occupant('1', b, 300, 1), occupant('2', a, 300, 50)];
    const verdict = judged(300 * mib, a, others, room({ tenantLimitBytes: 400 * mib }));
    expect(verdict).toEqual({ verdict: 'afterEnding', ids: ['2'] });
  });

  test('with its tenant at the limit and all in use it waits', () => {
    const verdict = judged(300 * mib, a, [occupant('2', a, 390)], room({ tenantLimitBytes: 400 * mib }));
    expect(verdict).toMatchObject({ verdict: 'wait', code: 'LimitReached' });
  });

  test("less than it asks for is enough when its tenant's limit leaves no more", () => {
    const verdict = judged(300 * mib, a, [occupant('2', a, 300)], room({ tenantLimitBytes: 400 * mib }));
    expect(verdict).toEqual({ verdict: 'fits', grantBytes: 100 * mib });
  });

  test('what can never fit is said at once', () => {
    expect(judged(300 * mib, a, [], room({ tenantLimitBytes: 32 * mib }))).toMatchObject({
      verdict: 'never',
      code: 'LimitReached',
    });
    expect(judged(300 * mib, a, [], room({ capacityBytes: 32 * mib }))).toMatchObject({
      verdict: 'never',
      code: 'NoRoom',
    });
  });

  test('memory that the host does not have is not granted, whatever the sums say', () => {
    const scarce = room({ hostAvailableBytes: 200 * mib, hostReserveBytes: 100 * mib, oversubscription: 10 });
    expect(judged(150 * mib, a, [], scarce)).toMatchObject({ verdict: 'fits' });
    expect(judged(300 * mib, a, [], scarce)).toMatchObject({ verdict: 'wait', code: 'NoRoom' });
    expect(judged(300 * mib, a, [occupant('1', b, 200, 5)], scarce)).toEqual({
      verdict: 'afterEnding',
      ids: ['1'],
    });
  });

  test('while one is being ended its room is waited for, and no other is ended', () => {
    const others = [{ ...occupant('1', b, 600), leaving: true }, occupant('2', b, 400, 5)];
    expect(judged(300 * mib, a, others, room())).toMatchObject({ verdict: 'wait', code: 'NoRoom' });
    expect(judged(900 * mib, a, others, room())).toEqual({ verdict: 'afterEnding', ids: ['2'] });
  });

  test('whoever is let in keeps within the limit and the capacity, and only idle ones are ended', () => {
    const anyOccupant = fc.record({
      tenant: fc.constantFrom(a, b),
      mebibytes: fc.integer({ min: 1, max: 400 }),
      idle: fc.option(fc.integer({ min: 0, max: 100 })),
    });
    fc.assert(
      fc.property(
        fc.array(anyOccupant, { maxLength: 8 }),
        fc.integer({ min: 1, max: 600 }),
        fc.option(fc.integer({ min: 1, max: 800 })),
        (list, asked, limit) => {
          const others = list.map(({ tenant, mebibytes, idle }, index) =>
            occupant(String(index), tenant, mebibytes, idle),
          );
          const tenantLimitBytes = limit === null ? null : limit * mib;
          const verdict = judged(asked * mib, a, others, room({ tenantLimitBytes }));
          if (verdict.verdict === 'afterEnding') {
            const ended = others.filter(({ id }) => verdict.ids.includes(id));
            expect(ended.every(({ idleSinceMs }) => idleSinceMs !== null)).toBe(true);
            const rest = others.filter(({ id }) => !verdict.ids.includes(id));
            expect(judged(asked * mib, a, rest, room({ tenantLimitBytes })).verdict).toBe('fits');
          }
          if (verdict.verdict === 'fits') {
            const sum = (of: readonly Occupant[]): number =>
              of.reduce((total, { memoryBytes }) => total + memoryBytes, verdict.grantBytes);
            expect(verdict.grantBytes).toBeGreaterThan(0);
            expect(verdict.grantBytes).toBeLessThanOrEqual(asked * mib);
            expect(sum(others)).toBeLessThanOrEqual(1_000 * mib);
            expect(sum(others.filter(({ tenant }) => tenant === a))).toBeLessThanOrEqual(
              tenantLimitBytes ?? Number.POSITIVE_INFINITY,
            );
          }
        },
      ),
    );
  });
});
