import { describe, expect, test } from 'vitest';
import { encodeFrame, FrameDecoder } from '../base/frame.ts';
import { SyncScanner, syncFrameType, syncMark } from './serial-sync.ts';

const frame = encodeFrame(3, 7, 'payload');

describe('finding a frame’s beginning on a serial port', () => {
  test('what was before the mark is thrown away, and what follows is kept, however the stream is cut', () => {
    const stream = Buffer.concat([frame.subarray(4), syncMark(12), frame]);
    for (let cut = 0; cut <= stream.length; cut += 1) {
      const scanner = new SyncScanner();
      const first = scanner.push(stream.subarray(0, cut));
      const found = first ?? scanner.push(stream.subarray(cut));
      expect(found?.n).toBe(12);
      const after = first === undefined ? Buffer.alloc(0) : stream.subarray(cut);
      expect(Buffer.concat([found?.rest ?? Buffer.alloc(0), after])).toEqual(frame);
    }
  });

  test('one byte at a time', () => {
    const scanner = new SyncScanner(3);
    const found = [...syncMark(3)].map((byte) => scanner.push(Buffer.from([byte]))).filter(Boolean);
    expect(found).toEqual([{ n: 3, rest: Buffer.alloc(0) }]);
  });

  test('an answer to an earlier question does not count', () => {
    const scanner = new SyncScanner(2);
    expect(scanner.push(syncMark(1))).toBeUndefined();
    expect(scanner.push(Buffer.concat([syncMark(1), syncMark(2), frame]))).toEqual({ n: 2, rest: frame });
  });

  test('a long stream without a mark keeps no more than a line', () => {
    const scanner = new SyncScanner(1);
    for (let index = 0; index < 100; index += 1)
      expect(scanner.push(Buffer.alloc(65_536, 'bellows-hello 1'))).toBeUndefined();
    expect(scanner.push(syncMark(1))?.n).toBe(1);
  });

  test('an end that still reads frames sees from a mark that the stream begins anew', () => {
    const types: number[] = [];
    const decoder = new FrameDecoder(({ type }) => types.push(type));
    decoder.push(frame);
    expect(() => decoder.push(syncMark(1))).toThrow(RangeError);
    expect(types.slice(0, 2)).toEqual([3, syncFrameType]);
  });
});
