import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { carry } from './carry.ts';
import { Line } from './line.ts';
import { TokenBucket } from './token-bucket.ts';

const rates = (bytesPerSecond: number) => ({
  in: new TokenBucket(bytesPerSecond, () => performance.now()),
  out: new TokenBucket(bytesPerSecond, () => performance.now()),
});
const lineOf = (bytesPerSecond: number): Line => new Line(rates(bytesPerSecond), rates(Infinity));
const chunks = Array.from({ length: 40 }, (_, index) => Buffer.alloc(16 * 1024, index));

test('everything arrives, in order, and ends, over a slow line as over none', async () => {
  for (const line of [lineOf(2_000_000), undefined]) {
    const sink = new PassThrough();
    carry(Readable.from(chunks), sink, line, 'out');
    expect((await buffer(sink)).equals(Buffer.concat(chunks))).toBe(true);
  }
});

test('a source that its last reader paused is carried, over a line as over none', async () => {
  for (const line of [lineOf(2_000_000), undefined]) {
    const source = Readable.from(chunks).pause();
    const sink = new PassThrough();
    carry(source, sink, line, 'out');
    expect((await buffer(sink)).equals(Buffer.concat(chunks))).toBe(true);
  }
});

test('a line of a fourth of the rate takes about four times as long', async () => {
  const took: number[] = [];
  for (const rate of [2_000_000, 500_000]) {
    const sink = new PassThrough();
    const line = lineOf(rate);
    line.take('out', 64 * 1024);
    const began = performance.now();
    carry(Readable.from(chunks), sink, line, 'out');
    await buffer(sink);
    took.push(performance.now() - began);
  }
  expect(took[1]! / took[0]!).toBeGreaterThan(2.5);
});

test('what is stopped stands still, and can be read on', async () => {
  const source = Readable.from(chunks);
  const sink = new PassThrough();
  const line = lineOf(100_000);
  line.take('out', 64 * 1024);
  const carrying = carry(source, sink, line, 'out');
  const first = await new Promise<Buffer>((resolve) => void sink.once('data', resolve));
  carrying.stop();
  const rest: Buffer[] = [];
  for await (const chunk of source) rest.push(chunk as Buffer);
  expect(first.equals(chunks[0]!)).toBe(true);
  expect(rest.at(-1)?.equals(chunks.at(-1)!)).toBe(true);
});

test('a sink that is destroyed is written to no more', async () => {
  const sink = new PassThrough();
  sink.on('error', (error) => expect.fail(error.message));
  carry(Readable.from(chunks), sink, lineOf(Infinity), 'in');
  await new Promise((resolve) => sink.once('data', resolve));
  sink.destroy();
  await new Promise((resolve) => setTimeout(resolve, 20));
});
