import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fairShare, type Claim } from './fair-share.ts';

const runs = { numRuns: 3_000 };

/** Small amounts meet all edges; large ones are bytes as they occur. */
const amount = fc.oneof(
  fc.nat(50),
  fc.nat(2 ** 31 - 1).map((value) => value * 1024),
);
const weight = fc.oneof(fc.integer({ min: 1, max: 4 }), fc.double({ min: 0.01, max: 1_000, noNaN: true }));
const claim: fc.Arbitrary<Claim> = fc.record({
  demand: amount,
  floor: fc.oneof(fc.constant(0), amount),
  limit: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), amount),
  weight,
});
const claims = fc.array(claim, { maxLength: 12 });

const sum = (amounts: readonly number[]): number => amounts.reduce((total, value) => total + value, 0);
const floorOf = ({ floor, limit }: Claim): number => Math.min(floor, limit);
const wantOf = ({ demand, floor, limit }: Claim): number => Math.min(Math.max(demand, floor), limit);
const replaced = (list: readonly Claim[], at: number, change: Partial<Claim>): Claim[] =>
  list.map((item, index) => (index === at ? { ...item, ...change } : item));

describe('fair share', () => {
  const plain = (demand: number, weight = 1): Claim => ({
    demand,
    floor: 0,
    limit: Number.POSITIVE_INFINITY,
    weight,
  });

  test.each<[string, number, Claim[], number[]]>([
    ['nobody', 10, [], []],
    ['room for all', 100, [plain(10), plain(20)], [10, 20]],
    ['equal shares', 90, [plain(100), plain(100), plain(100)], [30, 30, 30]],
    [
      'the small one is satisfied, the others share the rest',
      100,
      [plain(10), plain(80), plain(80)],
      [10, 45, 45],
    ],
    ['by weight', 90, [plain(100, 1), plain(100, 2)], [30, 60]],
    ['an odd unit goes to the first', 10, [plain(9), plain(9), plain(9)], [4, 3, 3]],
    ['a limit leaves its rest to others', 100, [{ ...plain(90), limit: 20 }, plain(90)], [20, 80]],
    ['a floor comes before a share', 100, [{ ...plain(90), floor: 70 }, plain(90)], [70, 30]],
    ['a floor above the demand', 100, [{ ...plain(10), floor: 40 }, plain(90)], [40, 60]],
    ['a limit below the floor', 100, [{ ...plain(10), floor: 40, limit: 5 }, plain(200)], [5, 95]],
    [
      'too little for the floors',
      30,
      [
        { ...plain(50), floor: 20 },
        { ...plain(90), floor: 40 },
      ],
      [15, 15],
    ],
    ['no capacity', 0, [plain(10), plain(20)], [0, 0]],
    ['endless capacity', Number.POSITIVE_INFINITY, [plain(10), plain(20)], [10, 20]],
    ['a broken capacity counts in whole units', 9.9, [plain(10)], [9]],
    ['weights far apart', 1_000_000, [plain(1e12, 1e-6), plain(1e12, 1e6)], [0, 1_000_000]],
  ])('%s', (_, capacity, input, expected) => {
    expect(fairShare(capacity, input)).toEqual(expected);
  });

  test('all of the capacity that is wanted is given, and no unit more', () => {
    fc.assert(
      fc.property(amount, claims, (capacity, input) => {
        expect(sum(fairShare(capacity, input))).toBe(Math.min(capacity, sum(input.map(wantOf))));
      }),
      runs,
    );
  });

  test('each amount is whole, at least its floor when floors fit, and never above its limit', () => {
    fc.assert(
      fc.property(amount, claims, (capacity, input) => {
        const floorsFit = sum(input.map(floorOf)) <= capacity;
        for (const [index, given] of fairShare(capacity, input).entries()) {
          const own = input[index] ?? plain(0);
          expect(Number.isInteger(given)).toBe(true);
          expect(given).toBeGreaterThanOrEqual(floorsFit ? floorOf(own) : 0);
          expect(given).toBeLessThanOrEqual(wantOf(own));
        }
      }),
      runs,
    );
  });

  test('max-min fair by weight: nobody above its floor holds a unit that a worse-off one still wants', () => {
    fc.assert(
      fc.property(amount, claims, (capacity, input) => {
        fc.pre(sum(input.map(floorOf)) <= capacity);
        const given = fairShare(capacity, input);
        input.forEach((poor, i) => {
          const poorAmount = given[i] ?? 0;
          if (poorAmount >= wantOf(poor)) return;
          input.forEach((rich, j) => {
            const richAmount = given[j] ?? 0;
            if (richAmount <= floorOf(rich)) return;
            expect(richAmount / rich.weight).toBeLessThanOrEqual((poorAmount + 1) / poor.weight);
          });
        });
      }),
      runs,
    );
  });

  test('the same as handing out single units, one after the other', () => {
    const small = fc.nat(30);
    const smallClaim = fc.record({ demand: small, floor: fc.nat(5), limit: small, weight });
    fc.assert(
      fc.property(fc.nat(120), fc.array(smallClaim, { maxLength: 8 }), (capacity, input) => {
        fc.pre(sum(input.map(floorOf)) <= capacity);
        const amounts = input.map(floorOf);
        for (let left = capacity - sum(amounts); left > 0; left -= 1) {
          const levels = input.map((own, i) =>
            (amounts[i] ?? 0) < wantOf(own) ? ((amounts[i] ?? 0) + 1) / own.weight : Number.POSITIVE_INFINITY,
          );
          const next = levels.indexOf(Math.min(...levels));
          if (next < 0 || levels[next] === Number.POSITIVE_INFINITY) break;
          amounts[next] = (amounts[next] ?? 0) + 1;
        }
        expect(fairShare(capacity, input)).toEqual(amounts);
      }),
      runs,
    );
  });

  test('more capacity takes from nobody', () => {
    fc.assert(
      fc.property(amount, fc.nat(100), claims, (capacity, more, input) => {
        fc.pre(sum(input.map(floorOf)) <= capacity);
        const before = fairShare(capacity, input);
        fairShare(capacity + more, input).forEach((after, i) =>
          expect(after).toBeGreaterThanOrEqual(before[i] ?? 0),
        );
      }),
      runs,
    );
  });

  const oneOfSome = fc
    .array(claim, { minLength: 1, maxLength: 10 })
    .chain((input) => fc.record({ input: fc.constant(input), at: fc.nat(input.length - 1) }));

  test('a higher limit of one’s own never gives one less, and never gives others more', () => {
    fc.assert(
      fc.property(amount, oneOfSome, amount, (capacity, { input, at }, more) => {
        const raised = replaced(input, at, { limit: (input[at]?.limit ?? 0) + more });
        fc.pre(sum(raised.map(floorOf)) <= capacity);
        const before = fairShare(capacity, input);
        fairShare(capacity, raised).forEach((after, i) => {
          if (i === at) expect(after).toBeGreaterThanOrEqual(before[i] ?? 0);
          else expect(after).toBeLessThanOrEqual(before[i] ?? 0);
        });
      }),
      runs,
    );
  });

  test('who overstates its demand gets no more of what it really needs', () => {
    fc.assert(
      fc.property(amount, oneOfSome, amount, (capacity, { input, at }, lie) => {
        const honest = input[at] ?? plain(0);
        const truthful = fairShare(capacity, input)[at] ?? 0;
        const lying = fairShare(capacity, replaced(input, at, { demand: honest.demand + lie }))[at] ?? 0;
        expect(Math.min(lying, wantOf(honest))).toBe(truthful);
      }),
      runs,
    );
  });
});
