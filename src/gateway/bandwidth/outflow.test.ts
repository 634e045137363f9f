import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Answer } from '../exchange.ts';
import { Line, type Rates } from './line.ts';
import { Outflow } from './outflow.ts';
import { TokenBucket } from './token-bucket.ts';

/** A client whose test says whether it keeps up. */
class Client extends EventEmitter<{ close: []; drain: [] }> implements Answer {
  destroyed = false;
  headersSent = true;
  writableEnded = false;
  keepsUp = true;
  sentBytes = 0;

  write(chunk: Buffer): boolean {
    this.sentBytes += chunk.length;
    return this.keepsUp;
  }

  leave(): void {
    this.destroyed = true;
    this.emit('close');
  }

  writeHead(): void {}
  flushHeaders(): void {}
  end(): void {}
  destroy(): void {}
}

const piece = Buffer.alloc(1000);
let client: Client;
let resumed: number;
const resume = (): void => void (resumed += 1);

beforeEach(() => {
  vi.useFakeTimers();
  client = new Client();
  resumed = 0;
});
afterEach(() => {
  vi.useRealTimers();
});

/** 1,000 bytes a second, after 64 KiB at once. */
function slowLine(): Line {
  const rates = (): Rates => ({
    in: new TokenBucket(1000, () => performance.now()),
    out: new TokenBucket(1000, () => performance.now()),
  });
  return new Line(rates(), rates());
}

test('a client that keeps up holds nobody back', () => {
  const outflow = new Outflow(client, undefined, 10_000);
  expect(outflow.send(piece, resume)).toBe(true);
  expect(client.sentBytes).toBe(1000);
});

test.each(['drain', 'close'] as const)(
  'a client that does not holds the source back until %s, however many pieces were under way',
  (event) => {
    const outflow = new Outflow(client, undefined, 10_000_000);
    client.keepsUp = false;
    for (let n = 0; n < 100; n += 1) expect(outflow.send(piece, resume)).toBe(false);
    expect(client.listenerCount(event)).toBe(1);
    if (event === 'close') client.leave();
    else client.emit('drain');
    expect(resumed).toBe(1);
    expect(client.listenerCount('drain') + client.listenerCount('close')).toBe(0);
    client.keepsUp = true;
    expect(outflow.send(piece, resume)).toBe(true);
  },
);

test('a line that owes holds the source back until it is free, and what passed is counted', () => {
  const line = slowLine();
  const outflow = new Outflow(client, line, 10_000_000);
  expect(outflow.send(Buffer.alloc(64 * 1024 + 2000), resume)).toBe(false);
  expect(line.isFree('out')).toBe(false);
  vi.advanceTimersByTime(1900);
  expect(resumed).toBe(0);
  vi.advanceTimersByTime(300);
  expect(resumed).toBe(1);
  expect(line.isFree('out')).toBe(true);
});

test('a line that becomes free while it is asked holds nobody back for ever', () => {
  let nowMs = 0;
  // 300 bytes' time goes by with each look: of the 500 that are owed some are left at the first, none at the second.
  const own = new TokenBucket(1000, () => (nowMs += 300));
  const endless = new TokenBucket(Number.POSITIVE_INFINITY, () => 0);
  const line = new Line({ in: endless, out: own }, { in: endless, out: endless });
  const outflow = new Outflow(client, line, 10_000_000);
  expect(outflow.send(Buffer.alloc(64 * 1024 + 500), resume)).toBe(true);
});

test('a client that has left holds nobody back, and nothing is sent to it', () => {
  const outflow = new Outflow(client, slowLine(), 10_000_000);
  client.leave();
  expect(outflow.send(Buffer.alloc(1_000_000), resume)).toBe(true);
  expect(client.sentBytes).toBe(0);
});

test('no more is admitted than may be answered', () => {
  const outflow = new Outflow(client, undefined, 1500);
  expect([outflow.admit(1000), outflow.admit(1000), outflow.admit(1000)]).toEqual([1000, 500, 0]);
});
