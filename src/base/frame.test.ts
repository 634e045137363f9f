import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  encodeFrame,
  FrameDecoder,
  frameHeaderBytes,
  maxFramePayloadBytes,
  writeFrameHeader,
  type Frame,
} from './frame.ts';

interface Plain {
  readonly type: number;
  readonly id: number;
  readonly payload: string;
}

function decoder(): { push: (chunk: Buffer) => void; frames: Plain[] } {
  const frames: Plain[] = [];
  // The payload is a view that lasts as long as the call.
  const take = ({ type, id, payload }: Frame): unknown =>
    frames.push({ type, id, payload: payload.toString('base64') });
  const cutter = new FrameDecoder(take);
  return { push: (chunk) => cutter.push(chunk), frames };
}

const frame = fc.record({
  type: fc.nat(255),
  id: fc.nat(0xffffffff),
  payload: fc.uint8Array({ maxLength: 300 }),
});

test('however the bytes are cut, the same frames come out', () => {
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 400 })),
      (sent, sizes) => {
        const bytes = Buffer.concat(sent.map(({ type, id, payload }) => encodeFrame(type, id, payload)));
        const { push, frames } = decoder();
        let at = 0;
        for (const size of sizes) {
          push(bytes.subarray(at, at + size));
          at += size;
        }
        if (at < bytes.length) push(bytes.subarray(at));
        expect(frames).toEqual(
          sent.map(({ type, id, payload }) => ({
            type,
            id,
            payload: Buffer.from(payload).toString('base64'),
          })),
        );
      },
    ),
    { numRuns: 2_000 },
  );
});

test('one byte at a time', () => {
  const { push, frames } = decoder();
  for (const byte of Buffer.concat([encodeFrame(1, 2, 'añ'), encodeFrame(3, 4, '')]))
    push(Buffer.from([byte]));
  expect(frames).toEqual([
    { type: 1, id: 2, payload: Buffer.from('añ').toString('base64') },
    { type: 3, id: 4, payload: '' },
  ]);
});

test('half a frame is no frame', () => {
  const bytes = encodeFrame(1, 2, 'text');
  const { push, frames } = decoder();
  push(bytes.subarray(0, bytes.length - 1));
  expect(frames).toEqual([]);
});

test.each([maxFramePayloadBytes + 1, 0xffffffff])(
  'a frame that announces %i bytes is refused before any of them is taken',
  (length) => {
    const header = Buffer.alloc(frameHeaderBytes);
    writeFrameHeader(header, 0, 1, 1, length);
    const { push, frames } = decoder();
    push(encodeFrame(7, 7, 'before'));
    expect(() => push(header)).toThrow(RangeError);
    expect(frames).toHaveLength(1);
  },
);

test('the largest frame is accepted', () => {
  const header = Buffer.alloc(frameHeaderBytes);
  writeFrameHeader(header, 0, 1, 1, maxFramePayloadBytes);
  const lengths: number[] = [];
  const cutter = new FrameDecoder(({ payload }) => lengths.push(payload.length));
  cutter.push(header);
  const chunk = Buffer.alloc(1024 * 1024);
  for (let sent = 0; sent < maxFramePayloadBytes; sent += chunk.length) cutter.push(chunk);
  expect(lengths).toEqual([maxFramePayloadBytes]);
});
