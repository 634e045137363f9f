import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeInvoke,
  decodeResult,
  encodeResult,
  invokePrefixBytes,
  outcome,
  writeInvokePrefix,
  type InvokeHeader,
} from './instance.ts';

const runs = { numRuns: 2_000 };
const header: fc.Arbitrary<InvokeHeader> = fc.record({
  timeoutMs: fc.double({ noNaN: true }),
  memoryMb: fc.nat(0xffffffff),
  flags: fc.nat(255),
  requestId: fc.uuid(),
  extra: fc.string({ unit: 'grapheme', maxLength: 200 }),
});

function encodeInvoke(head: InvokeHeader, event: Uint8Array, at = 0): Buffer {
  const payload = Buffer.alloc(at + invokePrefixBytes(head.extra) + event.length);
  payload.set(event, writeInvokePrefix(payload, at, head));
  return payload.subarray(at);
}

describe('an invocation', () => {
  test('arrives as it was sent, wherever in a buffer it was written', () => {
    fc.assert(
      fc.property(header, fc.uint8Array({ maxLength: 300 }), fc.nat(40), (head, event, at) => {
        const { event: received, ...rest } = decodeInvoke(encodeInvoke(head, event, at));
        expect(rest).toEqual(head);
        expect([...received]).toEqual([...event]);
      }),
      runs,
    );
  });

  test('extra data that is too long to be counted is refused, not cut', () => {
    const head = {
      timeoutMs: 1,
      memoryMb: 128,
      flags: 0,
      requestId: '0'.repeat(36),
      extra: 'x'.repeat(65_536),
    };
    expect(() => encodeInvoke(head, new Uint8Array())).toThrow(RangeError);
  });

  test('cut short before its event begins, it is refused wherever it is cut', () => {
    const head = {
      timeoutMs: 1,
      memoryMb: 128,
      flags: 0,
      requestId: '0'.repeat(36),
      extra: '{"traceId":"x"}',
    };
    const whole = encodeInvoke(head, new Uint8Array());
    for (let length = 0; length < whole.length; length += 1) {
      expect(() => decodeInvoke(whole.subarray(0, length))).toThrow(RangeError);
    }
    expect(decodeInvoke(whole).event).toHaveLength(0);
  });
});

describe('a result', () => {
  const head = fc.record({
    outcome: fc.constantFrom(...Object.values(outcome)),
    durationMicros: fc.nat(0xffffffff),
    peakKib: fc.nat(0xffffffff),
  });

  test('arrives as it was sent, as text or bytes', () => {
    fc.assert(
      fc.property(
        head,
        fc.uint8Array({ maxLength: 100 }),
        fc.string({ unit: 'grapheme' }),
        (sent, tail, body) => {
          for (const form of [body, Buffer.from(body)]) {
            const { logTail, body: received, ...rest } = decodeResult(encodeResult(sent, tail, form));
            expect(rest).toEqual(sent);
            expect([...logTail]).toEqual([...tail]);
            expect(received.toString()).toBe(Buffer.from(body).toString());
          }
        },
      ),
      runs,
    );
  });

  test('cut short before its body begins, it is refused wherever it is cut', () => {
    const whole = encodeResult(
      { outcome: outcome.ok, durationMicros: 1, peakKib: 2 },
      Buffer.from('the log'),
      '',
    );
    for (let length = 0; length < whole.length; length += 1) {
      expect(() => decodeResult(whole.subarray(0, length))).toThrow(RangeError);
    }
    expect(decodeResult(whole).body).toHaveLength(0);
  });

  test('whatever an instance sends, decoding gives a result or a RangeError and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          const result = decodeResult(Buffer.from(bytes));
          expect(Object.values(outcome)).toContain(result.outcome);
          expect(result.logTail.length + result.body.length).toBe(bytes.length - 11);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(RangeError);
        }
      }),
      runs,
    );
  });

  test('a time or a peak beyond what the frame can say is the most it can say', () => {
    const most = { outcome: outcome.ok, durationMicros: 0xffffffff, peakKib: 0xffffffff };
    const more = { outcome: outcome.ok, durationMicros: 2 ** 32 + 5.5, peakKib: 2 ** 40 };
    expect(decodeResult(encodeResult(more, new Uint8Array(), ''))).toMatchObject(most);
  });

  test.each([3, 99, 255])('the unknown outcome %i counts as the worst', (code) => {
    const payload = encodeResult(
      { outcome: outcome.ok, durationMicros: 0, peakKib: 0 },
      new Uint8Array(),
      '',
    );
    payload.writeUInt8(code, 0);
    expect(decodeResult(payload).outcome).toBe(outcome.fatal);
  });
});
