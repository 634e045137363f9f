// What an instance may use, as it is told (MISSION E5): the file, the Runtime API and the frame say the same.
// Owns the count of notices and the file. Does not own what is enforced (resize/).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatResources, type Resources } from '../model/resources.ts';
import { grantFileName, type GrantNotice } from '../protocol/instance.ts';
import { writeFileAtomicSync } from '../sys/atomic-file.ts';

export type GrantPhase = GrantNotice['phase'];

export function grantNotice(grant: Resources, generation: number, phase: GrantPhase): GrantNotice {
  return {
    generation,
    phase,
    ...formatResources(grant),
    memoryBytes: grant.memory,
    cpuMillicores: grant.cpu,
    storageBytes: grant.storage,
    bandwidthBytesPerSecond: grant.bandwidth,
  };
}

/** The count that the application has last read; 0 when there is no file, or it says something else. */
export function lastGeneration(runDirectory: string): number {
  try {
    const notice: unknown = JSON.parse(readFileSync(join(runDirectory, grantFileName), 'utf8'));
    const generation = (notice as { generation?: unknown } | null)?.generation;
    return Number.isSafeInteger(generation) ? (generation as number) : 0;
  } catch {
    return 0;
  }
}

export class GrantBook {
  readonly #file: string;
  #notice: GrantNotice;
  readonly #readers = new Set<() => void>();

  constructor(runDirectory: string, grant: Resources, generation: number) {
    this.#file = join(runDirectory, grantFileName);
    this.#notice = grantNotice(grant, generation, 'current');
  }

  get notice(): GrantNotice {
    return this.#notice;
  }

  /** Writes the present notice: at the start, and after a crash between a change and its file. */
  write(): void {
    writeFileAtomicSync(this.#file, `${JSON.stringify(this.#notice)}\n`);
  }

  /** Counts up, writes the file, and wakes readers. */
  change(grant: Resources, phase: GrantPhase): GrantNotice {
    this.#notice = grantNotice(grant, this.#notice.generation + 1, phase);
    this.write();
    for (const wake of this.#readers) wake();
    return this.#notice;
  }

  /** Resolves when there is a notice after `generation`, or after `waitMs`. */
  after(generation: number, waitMs: number, signal: AbortSignal): Promise<GrantNotice> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#readers.delete(done);
        resolve(this.#notice);
      };
      const timer = setTimeout(done, waitMs);
      if (this.#notice.generation > generation || signal.aborted) done();
      else this.#readers.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  /** Nobody reads any more. */
  close(): void {
    for (const wake of this.#readers) wake();
  }
}
