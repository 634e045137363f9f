import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FrameBatch } from './frame-batch.ts';
import { encodeFrame } from './frame.ts';

test('whatever room was asked for, the frames come out as they were written, and nothing else', () => {
  const frame = fc.record({
    type: fc.nat(255),
    id: fc.nat(0xffffffff),
    payload: fc.string({ unit: 'binary', maxLength: 20_000 }),
    taken: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(frame, { minLength: 1, maxLength: 12 }), (frames) => {
      const batch = new FrameBatch();
      const out: Buffer[] = [];
      for (const { type, id, payload, taken } of frames) {
        const at = batch.begin(payload.length * 3);
        batch.end(type, id, batch.buffer.write(payload, at));
        if (taken) out.push(batch.take());
      }
      if (!batch.empty) out.push(batch.take());
      expect(batch.empty).toBe(true);
      const expected = frames.map(({ type, id, payload }) => encodeFrame(type, id, payload));
      expect(Buffer.concat(out).equals(Buffer.concat(expected))).toBe(true);
    }),
  );
});
