// Reads what a slot's processes print, out of their FIFO. Owns the descriptor and the rate. Where lines go is the sink's
// matter, and changes when a pooled process becomes an instance.
import { constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { LineSplitter } from './lines.ts';

/**
 * What one instance may print in a second; beyond that it waits, like any program in front of a slow terminal.
 * A line of 100 bytes costs the agent some 1.8 µs of a processor, so one instance takes 8 % of it at most; and a function
 * that prints a line or two at each call (300 bytes with START, END and REPORT) is held back above 12,000 calls a second.
 */
const bytesPerSecond = 4 * 1024 * 1024;
/** A stack trace or a dump may come at once. */
const burstBytes = bytesPerSecond;
/** After a process ended, how long to wait for the last reader's end when a stray child still holds the FIFO. */
const drainTimeoutMs = 1000;

/** Takes lines that came together, in their order: what is done for each call of it is done once for all of them. */
export type LineSink = (lines: readonly string[]) => void;

export class LogPipe {
  readonly #socket: Socket;
  readonly #splitter: LineSplitter;
  /** Of the chunk that is being cut. */
  #lines: string[] = [];
  readonly #ended: Promise<void>;
  #allowanceBytes = burstBytes;
  #allowanceAtMs = performance.now();
  #draining = false;
  #resumeTimer: NodeJS.Timeout | undefined;
  sink: LineSink;

  /** Opens the FIFO without waiting for a writer: open it before the writer starts, or what it says first may be lost. */
  constructor(path: string, sink: LineSink) {
    this.sink = sink;
    this.#splitter = new LineSplitter((line) => this.#lines.push(line));
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.pause();
    this.#ended = new Promise((resolve) => this.#socket.once('close', () => resolve()));
  }

  /** Begins to read. Call when the writer has the FIFO open: without any, the end would be there at once. */
  start(): void {
    this.#socket.on('data', (chunk: Buffer) => {
      this.#splitter.push(chunk);
      this.#pass();
      this.#limit(chunk.length);
    });
    this.#socket.on('error', () => this.#socket.destroy());
    this.#socket.on('end', () => this.#socket.destroy());
    this.#socket.resume();
  }

  /** Reads what is left after the writer has ended, then closes. */
  async drain(): Promise<void> {
    this.#draining = true;
    clearTimeout(this.#resumeTimer);
    this.#socket.resume();
    const timer = setTimeout(() => this.#socket.destroy(), drainTimeoutMs);
    await this.#ended;
    clearTimeout(timer);
    this.#splitter.end();
    this.#pass();
  }

  /** Stops reading and leaves the rest to the next agent. */
  close(): void {
    clearTimeout(this.#resumeTimer);
    this.#socket.destroy();
  }

  /** At once, for what is read is in nobody's memory but ours. */
  #pass(): void {
    if (this.#lines.length === 0) return;
    const lines = this.#lines;
    this.#lines = [];
    this.sink(lines);
  }

  #limit(bytes: number): void {
    const nowMs = performance.now();
    const refill = ((nowMs - this.#allowanceAtMs) / 1000) * bytesPerSecond;
    this.#allowanceBytes = Math.min(burstBytes, this.#allowanceBytes + refill) - bytes;
    this.#allowanceAtMs = nowMs;
    if (this.#allowanceBytes >= 0 || this.#draining) return;
    this.#socket.pause();
    this.#resumeTimer = setTimeout(
      () => this.#socket.resume(),
      (-this.#allowanceBytes / bytesPerSecond) * 1000,
    );
  }
}
