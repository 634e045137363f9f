// When memory is short on a machine: tells its owner, once for each episode. Owns how the kernel's pressure figures are
// watched, and what an episode is. What is done about it is the owner's matter: of a virtual machine what was claimed is
// released, on the host the controller takes back what lies idle.
//
//   quiet ──signal──▶ short (told) ──signal within quietMs──▶ short ──none for quietMs──▶ quiet
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import type { Shortage } from '../protocol/agent.ts';
import { hostMemory, memoryPressureFile } from '../sys/host-memory.ts';
import { watchUrgent } from '../sys/poll.ts';

/**
 * Microseconds in which some task stalled, within how many: of half a second (the shortest that the kernel takes) a tenth.
 * The kernel looks ten times in each, while there are stalls, and not at all otherwise.
 */
const trigger = 'some 50000 500000';
/** The same part of two seconds: the shortest that the kernel takes of who has no right to its resources (CAP_SYS_RESOURCE). */
const triggerWithoutRight = 'some 200000 2000000';
/** No signal for so long: the next is another episode's. The kernel gives one in half a second at most. */
const quietMs = 3000;
/** An episode that goes on for so long is told again: whoever was told may have been replaced. */
const tellAgainMs = 10_000;

/** Whether a signal is to be told, by when signals came. Pure but for its memory. */
export class Episodes {
  #lastSignalMs = Number.NEGATIVE_INFINITY;
  #toldMs = Number.NEGATIVE_INFINITY;

  isNews(atMs: number): boolean {
    const goesOn = atMs - this.#lastSignalMs < quietMs;
    this.#lastSignalMs = atMs;
    if (goesOn && atMs - this.#toldMs < tellAgainMs) return false;
    this.#toldMs = atMs;
    return true;
  }
}

/** `some avg10=0.00 avg60=0.00 avg300=0.00 total=415010`: the total, in microseconds since boot. */
export function someTotalMicros(text: string): number {
  return Number(/^some .*total=(\d+)$/m.exec(text)?.[1] ?? 0);
}

export interface PressureOptions {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly onPressure: (shortage: Shortage) => void;
}

export class Pressure {
  readonly #options: PressureOptions;
  readonly #episodes = new Episodes();
  #stop: (() => void) | undefined;
  #totalMicros = 0;

  constructor(options: PressureOptions) {
    this.#options = options;
  }

  /** @throws the system error where the kernel has no pressure figures */
  open(): void {
    const fd = openSync(memoryPressureFile, 'r+');
    try {
      writeTrigger(fd);
      this.#totalMicros = someTotalMicros(readFileSync(memoryPressureFile, 'latin1'));
      const unwatch = watchUrgent(fd, () => this.#signal('tasks stall for memory'));
      this.#stop = () => {
        unwatch();
        closeSync(fd);
      };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Something says that memory is short; told once for each episode. */
  #signal(why: string): void {
    if (this.#episodes.isNews(this.#options.clock.monotonicMs())) this.tell(why);
  }

  /** Something else says that memory is short, and that this is news. */
  tell(why: string): void {
    const total = someTotalMicros(readFileSync(memoryPressureFile, 'latin1'));
    // Since the last look, which may be long ago: stalls of the last second are no more than that.
    const stalledMicros = Math.min(1_000_000, total - this.#totalMicros);
    this.#totalMicros = total;
    const { memoryAvailableBytes: availableBytes } = hostMemory();
    this.#options.onPressure({ availableBytes, stalledMicros, why });
  }

  close(): void {
    this.#stop?.();
  }
}

function writeTrigger(fd: number): void {
  // With the NUL that the kernel cuts off.
  try {
    writeSync(fd, `${trigger}\0`);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EINVAL')) throw error;
    writeSync(fd, `${triggerWithoutRight}\0`);
  }
}
