// What an instance that breaks the rules can do to who calls it for a stream. What callers see of others: ../streaming.test.ts.
import { EventEmitter } from 'node:events';
import { beforeEach, expect, test } from 'vitest';
import { encodeResult, decodeResult, outcome } from '../../protocol/instance.ts';
import type { Answer } from '../exchange.ts';
import { Meter } from '../meter.ts';
import { testTenant, workloadOf } from '../testing/harness.ts';
import type { CallExchange } from './call-sink.ts';
import { StreamSink } from './stream-sink.ts';

const mib = 1024 * 1024;

class Caller extends EventEmitter<{ close: []; drain: [] }> implements Answer {
  destroyed = false;
  headersSent = false;
  writableEnded = false;
  payloadBytes = 0;
  last = '';

  writeHead(): void {
    this.headersSent = true;
  }

  /** The headers' length stands at 4; 12 bytes come before them and 4 at the end. */
  write(event: Buffer): boolean {
    this.payloadBytes += event.length - 16 - event.readUInt32BE(4);
    return true;
  }

  end(event: Buffer): void {
    this.writableEnded = true;
    this.last = event.toString('latin1');
  }

  flushHeaders(): void {}
  destroy(): void {}
}

let caller: Caller;
let abandoned: number;
let sink: StreamSink;
let meter: Meter;
const route = workloadOf('fn');

beforeEach(() => {
  caller = new Caller();
  abandoned = 0;
  meter = new Meter();
  const exchange = {
    response: caller,
    requestId: 'r-1',
    pool: { route } as CallExchange['pool'],
    line: undefined,
    tenant: testTenant,
    region: 'us-east-1',
    meter,
  };
  sink = new StreamSink(exchange, () => (abandoned += 1));
});

test('more than 200 MB are not sent on: those are, the end says why, and the instance is told once', () => {
  sink.onStreamStart(Buffer.from('{}'));
  const chunk = Buffer.alloc(mib);
  for (let n = 0; n < 202; n += 1) expect(sink.onStreamChunk(chunk, () => {})).toBe(true);
  expect(caller.payloadBytes).toBe(200 * mib);
  expect(caller.last).toContain('"ErrorCode":"Function.ResponseSizeTooLarge"');
  expect(abandoned).toBe(1);
  sink.onClose();
  expect(abandoned).toBe(1);
  expect(meter.of(route.key).errors).toBe(1);
});

test.each([
  'no JSON',
  '[]',
  '{"errorType":7}',
  '{"errorType":"Runtime.\\r\\nX"}',
  '{"errorType":"TypeError"}',
])('an error that is %s is the function’s own', (body) => {
  const summary = { outcome: outcome.handled, durationMicros: 0, peakKib: 0 };
  sink.onResult(decodeResult(encodeResult(summary, Buffer.alloc(0), body)));
  expect(caller.last).toContain('"ErrorCode":"Unhandled"');
});

test('a client that leaves before anything was said is told of once', () => {
  sink.onClose();
  sink.onClose();
  expect(abandoned).toBe(1);
  expect(sink.onStreamChunk(Buffer.alloc(1), () => {})).toBe(true);
  expect(caller.payloadBytes).toBe(0);
});
