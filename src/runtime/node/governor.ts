// Keeps V8 within the grant. The heap's ceiling is what the instance may ever grow to, so V8 alone would let garbage
// pile up past a small grant until the kernel kills. Owns when garbage is collected. Does not own how (collector.ts).
//
// Three means, each for what the others do not see:
//   1. `--heap-growing-percent`, which V8 reads anew at each collection: how much the heap may grow until the next.
//      Holds within one long synchronous computation, where no code of ours runs.
//   2. Buffers lie outside the heap, and V8 lets 64 MiB of dead ones pile up: their allocations are counted.
//   3. Checks on a timer while there is work: what was allocated by native code (files, sockets, zlib).
import { Buffer } from 'node:buffer';
import process from 'node:process';
import { collectAll, collectYoung } from './collector.ts';
import { anonymousBytes } from './memory.ts';
import { monotonicMs, startTimer } from './primordials.ts';

const mib = 1024 * 1024;
/** Above this share of the grant young garbage is collected, above the second everything. */
const youngShare = 0.7;
const fullShare = 0.82;
/** Between two full collections passes at least this many times what the last one took: at most a tenth of the time. */
const restFactor = 9;
/** Looking costs 2 µs. Often enough that native code (files at 1 GB/s) adds no more than some 10 MiB unseen. */
const checkEveryMs = 10;
const minBufferBudgetBytes = 2 * mib;
const maxBufferBudgetBytes = 32 * mib;

/** How far the heap may grow until V8 begins to collect, in percent of what lives; 0 leaves it to V8 (up to 300).
 * While its background threads mark, V8 lets a small heap overshoot by another 32 MiB: small grants leave room for it. */
export function heapGrowingPercent(grantBytes: number): number {
  if (grantBytes <= 160 * mib) return 10;
  if (grantBytes <= 256 * mib) return 20;
  if (grantBytes <= 1024 * mib) return 50;
  if (grantBytes <= 4096 * mib) return 100;
  return 0;
}

export class Governor {
  #grantBytes = 0;
  #busy = false;
  #ticking = false;
  #bufferBytes = 0;
  #bufferBudgetBytes = minBufferBudgetBytes;
  /** No full collection before this moment. */
  #restUntilMs = 0;

  /** Call before user code is loaded. */
  install(grantBytes: number): void {
    this.setGrant(grantBytes);
    this.#countBuffers();
  }

  setGrant(grantBytes: number): void {
    this.#grantBytes = grantBytes;
    const v8 = process.getBuiltinModule('node:v8');
    v8.setFlagsFromString(`--heap-growing-percent=${heapGrowingPercent(grantBytes)}`);
    this.#restUntilMs = 0;
    if (this.#busy) this.check();
  }

  /** Checks go on while there is work, and once more after it; an idle instance is not woken. */
  setBusy(busy: boolean): void {
    this.#busy = busy;
    if (busy && !this.#ticking) {
      this.#ticking = true;
      this.#schedule();
    }
  }

  check(): void {
    const grantBytes = this.#grantBytes;
    let usedBytes = anonymousBytes();
    if (usedBytes > youngShare * grantBytes) {
      collectYoung();
      usedBytes = anonymousBytes();
      const startedMs = monotonicMs();
      if (usedBytes > fullShare * grantBytes && startedMs >= this.#restUntilMs) {
        collectAll();
        const endedMs = monotonicMs();
        this.#restUntilMs = endedMs + restFactor * (endedMs - startedMs);
        usedBytes = anonymousBytes();
      }
    }
    this.#bufferBudgetBytes = Math.min(
      maxBufferBudgetBytes,
      Math.max(minBufferBudgetBytes, (grantBytes - usedBytes) / 4),
    );
    this.#bufferBytes = 0;
  }

  #schedule(): void {
    startTimer(() => {
      this.check();
      if (this.#busy) this.#schedule();
      else this.#ticking = false;
    }, checkEveryMs).unref();
  }

  #countBuffers(): void {
    const count = (size: unknown): void => {
      if (typeof size !== 'number') return;
      this.#bufferBytes += size;
      if (this.#bufferBytes > this.#bufferBudgetBytes) this.check();
    };
    const { alloc, allocUnsafe, allocUnsafeSlow } = Buffer;
    Buffer.alloc = function (
      size: number,
      ...rest: [fill?: string | Uint8Array | number, encoding?: BufferEncoding]
    ) {
      count(size);
      return alloc(size, ...rest);
    };
    Buffer.allocUnsafe = function (size: number) {
      count(size);
      return allocUnsafe(size);
    };
    Buffer.allocUnsafeSlow = function (size: number) {
      count(size);
      return allocUnsafeSlow(size);
    };
  }
}
