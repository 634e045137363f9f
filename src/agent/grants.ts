// What an instance may use, as it is told (MISSION E5): the file, the Runtime API and the frame say the same.
// Owns the count of notices and the file. Does not own what is enforced (resize/).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatResources, type Resources } from '../model/resources.ts';
import { grantFileName, type GrantNotice } from '../protocol/instance.ts';
import { ReplacedFile, writeFileAtomicSync } from '../sys/atomic-file.ts';

/**
 * The file follows what was told by this much. Most changes stand within it, so that it is written once for "changing" and
 * "current" together.
 */
const settleMs = 10;

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
  readonly #path: string;
  readonly #file: ReplacedFile;
  #notice: GrantNotice;
  readonly #readers = new Set<() => void>();

  constructor(runDirectory: string, grant: Resources, generation: number) {
    this.#path = join(runDirectory, grantFileName);
    // A full disk: the frame and the Runtime API have said the same.
    this.#file = new ReplacedFile(this.#path, { mode: 0o644, settleMs, onError: () => undefined });
    this.#notice = grantNotice(grant, generation, 'current');
  }

  get notice(): GrantNotice {
    return this.#notice;
  }

  /** Whether that is what was told last, to stand. */
  says(grant: Resources): boolean {
    const { generation, phase } = this.#notice;
    const notice = grantNotice(grant, generation, 'current');
    return phase === 'current' && JSON.stringify(notice) === JSON.stringify(this.#notice);
  }

  /** Writes the present notice at once: at the start, and after a crash between a change and its file. */
  write(): void {
    writeFileAtomicSync(this.#path, this.#text());
  }

  /** Counts up, wakes readers, and begins to replace the file. */
  change(grant: Resources, phase: GrantPhase): GrantNotice {
    this.#notice = grantNotice(grant, this.#notice.generation + 1, phase);
    this.#file.replace(this.#text());
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

  /** Nobody reads any more, and the file is not written any more. */
  async close(): Promise<void> {
    for (const wake of this.#readers) wake();
    await this.#file.close();
  }

  #text(): string {
    return `${JSON.stringify(this.#notice)}\n`;
  }
}
