import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exponentialBuckets, linearBuckets } from './buckets.ts';
import { DecayingHistogram, storedParts } from './decaying-histogram.ts';

const runs = { numRuns: 2_000 };
const halfLifeMs = 1_000;
const buckets = exponentialBuckets(10, 1.05, 1e9);
const value = fc.oneof(fc.nat(1_000), fc.nat(1e9));
const sample = fc.record({ value, atMs: fc.nat(10_000) });
const samples = fc.array(sample, { minLength: 1, maxLength: 40 });
const share = fc.double({ min: 0, max: 1, noNaN: true });

function filled(list: readonly { readonly value: number; readonly atMs: number }[]): DecayingHistogram {
  const histogram = new DecayingHistogram(buckets, halfLifeMs);
  for (const { value: amount, atMs } of list) histogram.add(amount, atMs);
  return histogram;
}

describe('buckets', () => {
  test.each([
    ['exponential', buckets],
    ['linear', linearBuckets(60_000, 240)],
  ])('%s: a value lies in its bucket, and the next begins where one ends', (_, scheme) => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: scheme.startOf(scheme.count), noNaN: true }), (amount) => {
        const index = scheme.indexOf(amount);
        expect(scheme.startOf(index)).toBeLessThanOrEqual(amount);
        if (index < scheme.count - 1) expect(scheme.endOf(index)).toBeGreaterThan(amount);
        expect(scheme.endOf(index)).toBe(scheme.startOf(index + 1));
      }),
      runs,
    );
  });

  test('an exponential bucket is as much wider as the value is larger', () => {
    fc.assert(
      fc.property(fc.integer({ min: 200, max: 1e9 }), (amount) => {
        const index = buckets.indexOf(amount);
        expect(buckets.endOf(index) - buckets.startOf(index)).toBeLessThanOrEqual(0.05 * amount + 10);
      }),
      runs,
    );
  });
});

describe('decaying histogram', () => {
  test('a sample weighs half after a half-life', () => {
    const histogram = filled([{ value: 100, atMs: 0 }]);
    expect(histogram.totalAt(halfLifeMs)).toBeCloseTo(0.5);
    histogram.add(9_000, 2 * halfLifeMs);
    expect(histogram.quantile(0.19)).toBeLessThan(200);
    expect(histogram.quantile(0.21)).toBeGreaterThan(9_000);
  });

  test('nothing is known of nothing', () => {
    const empty = new DecayingHistogram(buckets, halfLifeMs);
    expect([empty.quantile(0.5), empty.quantileStart(1), empty.totalAt(5), empty.isEmpty]).toEqual([
      null,
      null,
      0,
      true,
    ]);
  });

  test('a large value is forgotten in the end', () => {
    const histogram = filled([{ value: 1e8, atMs: 0 }]);
    for (let round = 1; round <= 40; round += 1) histogram.add(50, round * halfLifeMs);
    expect(histogram.quantile(1)).toBeLessThan(100);
  });

  test('the largest of what is fresh is never underestimated, and by no more than a bucket overestimated', () => {
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 40 }), (values) => {
        const most = Math.max(...values);
        const estimate = filled(values.map((amount) => ({ value: amount, atMs: 0 }))).quantile(1) ?? 0;
        expect(estimate).toBeGreaterThanOrEqual(most);
        expect(estimate).toBeLessThanOrEqual(most * 1.05 + 20);
      }),
      runs,
    );
  });

  test('a larger share never has a smaller quantile, and the order of the samples changes none', () => {
    fc.assert(
      fc.property(samples, share, share, (list, a, b) => {
        const histogram = filled(list);
        const [low, high] = a < b ? [a, b] : [b, a];
        expect(histogram.quantile(low)).toBeLessThanOrEqual(histogram.quantile(high) ?? 0);
        const turned = filled(list.toReversed());
        expect(turned.totalAt(10_000)).toBeCloseTo(histogram.totalAt(10_000));
        expect(turned.quantile(1)).toBe(histogram.quantile(1));
      }),
      runs,
    );
  });

  test('stored and read again it says the same, but for what weighs less than the parts that are stored', () => {
    fc.assert(
      fc.property(samples, share, (list, wanted) => {
        const histogram = filled(list);
        const stored = JSON.parse(JSON.stringify(histogram.toStored(20_000))) as ReturnType<
          DecayingHistogram['toStored']
        >;
        const again = DecayingHistogram.fromStored(stored, buckets, halfLifeMs);
        expect(again.totalAt(20_000)).toBeCloseTo(histogram.totalAt(20_000), 6);
        const off = list.length / storedParts;
        expect(again.quantile(wanted)).toBeGreaterThanOrEqual(
          histogram.quantile(Math.max(0, wanted - off)) ?? 0,
        );
        expect(again.quantile(wanted)).toBeLessThanOrEqual(
          histogram.quantile(Math.min(1, wanted + off)) ?? 0,
        );
        expect(stored.shares.length).toBeLessThanOrEqual(2 * list.length);
      }),
      runs,
    );
  });

  test('years of samples change neither its size nor its accuracy', () => {
    const histogram = new DecayingHistogram(buckets, halfLifeMs);
    for (let at = 0; at < 1_000; at += 1) histogram.add(500, at * halfLifeMs);
    expect(histogram.totalAt(999 * halfLifeMs)).toBeCloseTo(2);
    expect(histogram.toStored(999 * halfLifeMs).shares).toHaveLength(2);
  });

  test('evenly spread bins vary little, a single one as much as there can be', () => {
    const even = new DecayingHistogram(linearBuckets(1, 100), halfLifeMs);
    for (let at = 0; at < 100; at += 1) even.add(at, 0);
    expect(even.coefficientOfVariation()).toBeCloseTo(0);
    const single = new DecayingHistogram(linearBuckets(1, 100), halfLifeMs);
    single.add(7, 0);
    expect(single.coefficientOfVariation()).toBeCloseTo(Math.sqrt(99));
  });
});
