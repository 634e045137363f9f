import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mib, type Bytes } from '../../base/quantity.ts';
import { defaultRequest } from '../../model/workload.ts';
import { headroomOf } from '../../allocator/demand/demand.ts';
import { judgeLoan, strainEdgeBytes, wishOf } from './loan.ts';

const memory = (count: number): Bytes => (count * mib) as Bytes;
const grant = { ...defaultRequest, memory: memory(100) };

test.each([
  ['nothing promised', undefined, true, { memory: 100, promised: null, unlendable: false }],
  ['as much as granted', 100, true, { memory: 100, promised: null, unlendable: false }],
  ['less than granted', 64, true, { memory: 100, promised: null, unlendable: false }],
  ['more than granted', 256, true, { memory: 100, promised: 256, unlendable: false }],
  ['more, but nothing limits it', 256, false, { memory: 256, promised: null, unlendable: true }],
  ['nothing, and nothing limits it', undefined, false, { memory: 100, promised: null, unlendable: false }],
] as const)('what is lent when promised is %s', (_, promised, canLimit, expected) => {
  const part = promised === undefined ? { grant } : { grant, promised: { memory: memory(promised) } };
  const wish = wishOf(part, canLimit);
  expect(wish).toEqual({
    grant: { ...grant, memory: memory(expected.memory) },
    promisedBytes: expected.promised === null ? null : memory(expected.promised),
    unlendable: expected.unlendable,
  });
});

const usage = fc
  .record({
    workingSetBytes: fc.integer({ min: 0, max: 2048 * mib }),
    cacheBytes: fc.integer({ min: 0, max: 512 * mib }),
  })
  .map(({ workingSetBytes, cacheBytes }) => ({ workingSetBytes, memoryBytes: workingSetBytes + cacheBytes }));
const limit = fc.integer({ min: 8 * mib, max: 4096 * mib });

test('M-B4: who stands still may be held to exactly what it holds, and never to less', () => {
  fc.assert(
    fc.property(usage, limit, (used, wantedBytes) => {
      const verdict = judgeLoan(used, wantedBytes, true);
      expect(verdict.safe).toBe(used.workingSetBytes <= wantedBytes);
      if (verdict.safe) expect(verdict.cacheInTheWay).toBe(used.memoryBytes > wantedBytes);
    }),
  );
});

test('M-B4: what may be lent of a running instance is not given back for what it used already', () => {
  fc.assert(
    fc.property(usage, limit, (used, wantedBytes) => {
      if (!judgeLoan(used, wantedBytes, false).safe) return;
      const edge = strainEdgeBytes(wantedBytes);
      expect(used.workingSetBytes).toBeLessThan(edge);
      // And before it must wait there is time to see it.
      expect(wantedBytes - edge).toBeGreaterThanOrEqual(16 * mib);
    }),
  );
});

test('M-B4: what demand leaves to a running instance can be lent', () => {
  fc.assert(
    fc.property(usage, (used) => {
      const wantedBytes = used.workingSetBytes + headroomOf('memory', used.workingSetBytes);
      expect(judgeLoan(used, wantedBytes, false).safe).toBe(true);
    }),
  );
});
