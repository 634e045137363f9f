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
        if (taken) {
          out.push(Buffer.from(batch.take()));
          batch.release();
        }
      }
      if (!batch.empty) out.push(batch.take());
      expect(batch.empty).toBe(true);
      const expected = frames.map(({ type, id, payload }) => encodeFrame(type, id, payload));
      expect(Buffer.concat(out).equals(Buffer.concat(expected))).toBe(true);
    }),
  );
});

test('what was taken is not written to again before it is released', () => {
  const [one, other] = [new FrameBatch(), new FrameBatch()];
  const write = (batch: FrameBatch, text: string): Buffer => {
    const at = batch.begin(text.length);
    batch.end(1, 2, batch.buffer.write(text, at));
    return batch.take();
  };
  const first = write(one, 'first');
  const second = write(other, 'second');
  expect(write(one, 'third').toString()).toContain('third');
  expect([first, second].map(String)).toEqual([
    expect.stringContaining('first'),
    expect.stringContaining('second'),
  ]);
});
