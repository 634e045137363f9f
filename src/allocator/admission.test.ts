import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TenantId } from '../base/ids.ts';
import { admitGrowth, assuredTo, type Growth, type Holding, type Pool } from './admission.ts';

const pool: Pool = { capacity: 110, reserve: 10, oversubscription: 2 };
const id = (at: number): TenantId => `t${at}` as TenantId;
const holding = (at: number, expected: number, change: Partial<Holding> = {}): Holding => ({
  tenant: id(at),
  entitled: 50,
  expected,
  granted: 0,
  held: 0,
  ...change,
});
const grow = (at: number, amount: number): Growth => ({ tenant: id(at), granted: amount, held: amount });

describe('admission', () => {
  test('what others are not expected to need may be had', () => {
    expect(admitGrowth(grow(0, 80), [holding(0, 80), holding(1, 20)], pool)).toEqual({ verdict: 'admitted' });
  });

  test('what is assured to another waits for it to be free', () => {
    expect(admitGrowth(grow(0, 81), [holding(0, 90), holding(1, 20)], pool)).toEqual({
      verdict: 'wait',
      because: 'others',
      missing: 1,
    });
  });

  test('the reserve is nobody’s', () => {
    expect(admitGrowth(grow(0, 101), [holding(0, 200, { entitled: 100 })], pool)).toMatchObject({
      missing: 1,
    });
  });

  test('no more is promised than the factor says', () => {
    const promise = { tenant: id(0), granted: 190, held: 10 };
    expect(admitGrowth(promise, [holding(0, 10), holding(1, 10)], pool).verdict).toBe('admitted');
    expect(admitGrowth({ ...promise, granted: 191 }, [holding(0, 10), holding(1, 10)], pool)).toEqual({
      verdict: 'wait',
      because: 'promised',
      missing: 1,
    });
  });

  const shares = fc.array(fc.nat(100), { minLength: 2, maxLength: 6 }).map((weights) => {
    const all = Math.max(
      1,
      weights.reduce((sum, value) => sum + value, 0),
    );
    return weights.map((weight) => Math.floor((weight * 1_000) / all));
  });
  const history = fc.array(fc.record({ at: fc.nat(5), amount: fc.integer({ min: -400, max: 1_200 }) }), {
    maxLength: 60,
  });

  test('no tenant can make another fail: whatever all of them grow by, what is assured is admitted at once', () => {
    fc.assert(
      fc.property(
        shares,
        fc.array(fc.nat(1_500), { minLength: 6, maxLength: 6 }),
        fc.nat(300),
        fc.double({ min: 1, max: 3, noNaN: true }),
        history,
        (entitled, expected, reserve, oversubscription, steps) => {
          const own = { capacity: 1_000 + reserve, reserve, oversubscription };
          let holdings = entitled.map((share, at) => holding(at, expected[at] ?? 0, { entitled: share }));
          for (const { at: pick, amount } of steps) {
            const at = pick % holdings.length;
            const asking = holdings[at] ?? holding(at, 0);
            const growth = grow(at, Math.max(amount, -asking.held));
            const isAssured = asking.held + growth.held <= assuredTo(asking);
            const { verdict } = admitGrowth(growth, holdings, own);
            if (isAssured) expect(verdict).toBe('admitted');
            if (verdict !== 'admitted' && growth.held > 0) continue;
            holdings = holdings.map((each, index) =>
              index === at
                ? { ...each, held: each.held + growth.held, granted: each.granted + growth.granted }
                : each,
            );
            expect(holdings.reduce((sum, { held }) => sum + held, 0)).toBeLessThanOrEqual(1_000);
          }
        },
      ),
      { numRuns: 4_000 },
    );
  });

  test('room that is neither held nor assured can always be had: nothing is wasted', () => {
    fc.assert(
      fc.property(shares, fc.array(fc.nat(1_500), { minLength: 6, maxLength: 6 }), (entitled, expected) => {
        const own = { capacity: 1_000, reserve: 0, oversubscription: 1 };
        const holdings = entitled.map((share, at) => holding(at, expected[at] ?? 0, { entitled: share }));
        const assuredToOthers = holdings.slice(1).reduce((sum, each) => sum + assuredTo(each), 0);
        expect(admitGrowth(grow(0, 1_000 - assuredToOthers), holdings, own).verdict).toBe('admitted');
        expect(admitGrowth(grow(0, 1_001 - assuredToOthers), holdings, own).verdict).toBe('wait');
      }),
      { numRuns: 2_000 },
    );
  });
});
