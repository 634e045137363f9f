import { describe, expect, test } from 'vitest';
import { mib, type Bytes } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import { steady } from './steady-demand.ts';

const vector = (mebibytes: number, cpu = 0): Resources =>
  ({ memory: (mebibytes * mib) as Bytes, cpu, storage: 0, bandwidth: 0 }) as Resources;
const request = vector(512, 1_000);
const next = (last: number | undefined, demand: number): number =>
  (steady(last === undefined ? undefined : vector(last), vector(demand), request, request).memory ?? 0) / mib;

describe('what grants follow of a demand', () => {
  test('more is followed at once, in steps', () => {
    expect([next(undefined, 61), next(64, 65), next(64, 300)]).toEqual([64, 72, 304]);
  });

  test('a little less is not, much less is', () => {
    expect([next(64, 50), next(64, 40), next(400, 310), next(400, 290)]).toEqual([64, 40, 400, 296]);
  });

  test('nobody demands more than it asks for, and who demands all of that demands what it is to ask for', () => {
    expect(next(undefined, 511)).toBe(512);
    expect(next(600, 100)).toBe(104);
    expect(steady(undefined, vector(512), request, vector(900)).memory).toBe(900 * mib);
    expect(steady(undefined, vector(512), request, vector(300)).memory).toBe(300 * mib);
  });

  test('of processor time a quarter of what is asked for is kept', () => {
    expect(steady(undefined, vector(64, 0), request, request).cpu).toBe(250);
    expect(steady(undefined, vector(64, 620), request, request).cpu).toBe(650);
  });
});
