import { expect, test } from 'vitest';
import { encodeFrame } from '../../base/frame.ts';
import { syncMark } from '../../protocol/serial-sync.ts';
import { SyncSplitter } from './sync-splitter.ts';

const frame = encodeFrame(1, 1, '{"method":"hello","params":{}}');

/** What came out of a stream that was cut into these chunks: marks as numbers, bytes between them as one buffer each. */
function split(chunks: readonly Buffer[]): (number | string)[] {
  const out: (number | string)[] = [];
  const splitter = new SyncSplitter({
    onBytes: (bytes) => {
      const last = out.at(-1);
      if (typeof last === 'string') out[out.length - 1] = last + bytes.toString('latin1');
      else out.push(bytes.toString('latin1'));
    },
    onMark: (n) => out.push(n),
  });
  for (const chunk of chunks) splitter.push(chunk);
  return out;
}

test('frames pass and marks are found between them, however the stream is cut', () => {
  const stream = Buffer.concat([frame.subarray(7), syncMark(41), frame, frame, syncMark(42), frame]);
  const text = frame.toString('latin1');
  const expected = [frame.subarray(7).toString('latin1'), 41, text + text, 42, text];
  for (let cut = 0; cut <= stream.length; cut += 1)
    expect(split([stream.subarray(0, cut), stream.subarray(cut)])).toEqual(expected);
  expect(split([...stream].map((byte) => Buffer.from([byte])))).toEqual(expected);
});

test('more zeros than a mark has are no part of it', () => {
  expect(split([Buffer.alloc(100), syncMark(7), frame])).toEqual([
    '\0'.repeat(100),
    7,
    frame.toString('latin1'),
  ]);
});

test('what only begins like a mark is passed on in the end, and does not hide a mark behind it', () => {
  const begun = syncMark(1).subarray(0, -2);
  const broken = Buffer.concat([begun, Buffer.from('x')]);
  const out = split([broken, syncMark(3)]);
  expect(out.at(-1)).toBe(3);
  expect(out.filter((one) => typeof one === 'number')).toEqual([3]);
});

test('a number without an end is no mark and is not kept for ever', () => {
  const endless = Buffer.concat([syncMark(0).subarray(0, -1), Buffer.alloc(100_000, '9')]);
  expect(split([endless, syncMark(5)]).at(-1)).toBe(5);
});
