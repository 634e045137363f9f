// Keeps V8 within the grant. The heap's ceiling at start is what the instance may ever grow to, so V8 alone would let
// garbage pile up past a small grant until the kernel kills. Owns when garbage is collected, not how (collector.ts).
//
// Four means, each for what the others do not see:
//   1. V8's ceiling, lowered to the grant (heap-ceiling.ts). Holds within one long synchronous computation, where no code
//      of ours runs, and however loaded the machine is: near it V8 collects on the thread that allocates. Without it a
//      small heap may grow 32 MiB past the point where V8 begins to mark, until its marking threads have finished.
//      Where these got no CPU, 50 MB of live objects came to 149 MiB, and to 106 with the ceiling. Less helped less:
//      `--memory-saver-mode` saves 8 MiB, `--no-incremental-marking` lets promoted garbage grow without any bound,
//      and whatever needs another thread (a Worker that interrupts) waits for the CPU as the marking threads do.
//   2. `--heap-growing-percent`, which V8 reads anew at each collection: how much the heap may grow until the next.
//      It alone holds once live objects have taken the heap through the ceiling.
//   3. Buffers lie outside the heap, and V8 lets 64 MiB of dead ones pile up: their allocations are counted.
//   4. Checks while there is work and the event loop turns: what was allocated by native code (files, sockets, zlib).
//      A loop that waits allocates nothing, and is not woken: an app with idle clients costs no CPU.
import { Buffer } from 'node:buffer';
import process from 'node:process';
import { collectAll, collectYoung } from './collector.ts';
import { openHeapCeiling, type LowerHeapCeiling } from './heap-ceiling.ts';
import { anonymousBytes } from './memory.ts';
import { monotonicMs, nextTurn, startTimer } from './primordials.ts';

const { getHeapStatistics: heapStatistics, setFlagsFromString } = process.getBuiltinModule('node:v8');
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

/** Beside the old generation: the young one (3 x 4 MiB), pages that a collection moves objects to, what the kernel
 * charges for files and page tables. 50 MB of live objects and any garbage came to 112 MiB of 128 with it. */
const reserveBytes = 28 * mib;
/** What a process holds outside V8's heap when it has no Buffers: Node itself, stacks, compiled code. */
const minOutsideBytes = 12 * mib;
/** Live Buffers may take the whole grant; V8 must still be able to work. */
const minCeilingShare = 1 / 4;

/** How far V8's old generation may grow. @param outsideBytes what the process needs outside V8's heap */
export function heapCeilingBytes(grantBytes: number, outsideBytes: number): number {
  const besideBytes = reserveBytes + Math.max(minOutsideBytes, outsideBytes);
  return Math.floor(Math.max(grantBytes * minCeilingShare, grantBytes - besideBytes));
}

/** How far the heap may grow until V8 begins to collect, in percent of what lives; 0 leaves it to V8 (up to 300). */
export function heapGrowingPercent(grantBytes: number): number {
  if (grantBytes <= 160 * mib) return 10;
  if (grantBytes <= 256 * mib) return 20;
  if (grantBytes <= 1024 * mib) return 50;
  if (grantBytes <= 4096 * mib) return 100;
  return 0;
}

export class Governor {
  #grantBytes = 0;
  #lowerHeapCeiling: LowerHeapCeiling | undefined;
  /** As the last full collection left it: before one, dead Buffers would count. */
  #outsideBytes = 0;
  #busy = false;
  /** A check is due, or the loop's next turn will see to one. */
  #watching = false;
  #bufferBytes = 0;
  #bufferBudgetBytes = minBufferBudgetBytes;
  /** No full collection before this moment. */
  #restUntilMs = 0;

  /** Call before user code is loaded. */
  install(grantBytes: number): void {
    this.#lowerHeapCeiling = openHeapCeiling();
    // Dead Buffers are freed by the collection that finds them, not by a thread that may get no CPU: 107 MiB at most
    // instead of 113 with the same live objects, and a tenth more Buffers a second.
    setFlagsFromString('--no-concurrent-array-buffer-sweeping');
    this.setGrant(grantBytes);
    this.#countBuffers();
  }

  setGrant(grantBytes: number): void {
    this.#grantBytes = grantBytes;
    setFlagsFromString(`--heap-growing-percent=${heapGrowingPercent(grantBytes)}`);
    this.#restUntilMs = 0;
    if (this.#busy) this.check();
    else this.#lowerCeiling();
  }

  /** Checks go on while there is work, and once more after it; an idle instance is not woken. */
  setBusy(busy: boolean): void {
    this.#busy = busy;
    if (busy && !this.#watching) {
      this.#watching = true;
      this.#checkSoon();
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
        this.#outsideBytes = Math.max(0, usedBytes - heapStatistics().total_heap_size);
      }
    }
    this.#bufferBudgetBytes = Math.min(
      maxBufferBudgetBytes,
      Math.max(minBufferBudgetBytes, (grantBytes - usedBytes) / 4),
    );
    this.#bufferBytes = 0;
    this.#lowerCeiling();
  }

  /** Also when nothing changed: V8 may have lifted it since. */
  #lowerCeiling(): void {
    this.#lowerHeapCeiling?.(heapCeilingBytes(this.#grantBytes, this.#outsideBytes));
  }

  #checkSoon(): void {
    startTimer(() => {
      this.check();
      if (this.#busy) this.#checkAfterNextTurn();
      else this.#watching = false;
    }, checkEveryMs).unref();
  }

  /** An immediate without a reference does not turn the loop: it runs when something else has. */
  #checkAfterNextTurn(): void {
    nextTurn(() => this.#checkSoon()).unref();
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
