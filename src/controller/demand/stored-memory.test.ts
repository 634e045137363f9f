import fc from 'fast-check';
import { expect, test } from 'vitest';
import { gib } from '../../base/quantity.ts';
import { resourceKinds } from '../../model/resources.ts';
import { fromStored, newMemory, toStored } from './stored-memory.ts';

const minute = 60_000;
const gapMs = fc.oneof(fc.nat(1_000), fc.nat(30 * minute), fc.nat(12 * 60 * minute));
const step = fc.record({
  gapMs,
  /** How many work together from then on. */
  busy: fc.nat(200),
  amount: fc.oneof(fc.nat(1_000), fc.nat(8 * gib)),
});

test('whatever a workload did, what is stored of it can be read again and says the same', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.nat(48 * 60 * minute), (steps, restMs) => {
      let nowMs = 1_700_000_000_000;
      const memory = newMemory(nowMs);
      let present = 0;
      for (const { gapMs: passedMs, busy, amount } of steps) {
        nowMs += passedMs;
        for (; present < busy; present += 1) memory.arrivals.called(present, nowMs);
        for (; present > busy; present -= 1) memory.arrivals.ended(nowMs);
        for (const resource of resourceKinds) memory.prediction.observe(resource, amount, nowMs);
      }
      const again = fromStored(JSON.parse(JSON.stringify(toStored(memory, nowMs))));
      expect(again?.knownSinceMs).toBe(memory.knownSinceMs);
      expect(again?.arrivals.lastEndedMs).toBe(memory.arrivals.lastEndedMs);
      nowMs += restMs;
      for (const depth of [1, 2, 5, 150]) {
        const [was, is] = [memory, again].map((one) => one?.arrivals.windows(depth, nowMs));
        expect(is?.from).toBe(was?.from);
        expect(is?.prewarmAfterMs).toBeCloseTo(was?.prewarmAfterMs ?? NaN);
        expect(is?.keepAliveMs).toBeCloseTo(was?.keepAliveMs ?? NaN);
      }
      // All peaks count of what must not run out; where a part may, the part that rounding moves may be the last of it.
      for (const resource of ['memory', 'storage'] as const) {
        const [was, is] = [memory, again].map(
          (one) => one?.prediction.predict(resource, 16 * gib, nowMs) ?? NaN,
        );
        expect(is! / was!).toBeCloseTo(1, 2);
      }
    }),
    { numRuns: 300 },
  );
});

test.each([
  ['nothing', null],
  ['of another Bellows', { ...toStored(newMemory(0), 0), version: 2 }],
  ['with a part missing', { ...toStored(newMemory(0), 0), arrivals: undefined }],
  ['with what is no number', { ...toStored(newMemory(0), 0), knownSinceMs: 'long ago' }],
])('what is %s is not read', (_, value) => {
  expect(fromStored(value)).toBeUndefined();
});
