// The logs of all workloads: who writes where, and readers that wait for more. Files are log-file.ts.
import { rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import { LogFile, type LogEntry } from './log-file.ts';
import type { LineSink } from './log-pipe.ts';
import { CurrentLinesOfInstances, type CurrentLines } from './current-lines.ts';

/** A reader may ask for long waits; its link may be gone by then. */
const longestWaitMs = 60_000;

export interface LogPage {
  readonly entries: LogEntry[];
  readonly cursor: string;
}

export class LogStore {
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #onFailure: (error: unknown) => void;
  readonly #files = new Map<WorkloadKey, LogFile>();
  readonly #waiting = new Map<WorkloadKey, Set<() => void>>();
  readonly #current = new CurrentLinesOfInstances();
  #failing = false;

  /** @param onFailure told once when lines can not be written (a full disk), and again after they could. */
  constructor(directory: string, clock: Clock, onFailure: (error: unknown) => void) {
    this.#directory = directory;
    this.#clock = clock;
    this.#onFailure = onFailure;
  }

  sinkOf(workload: WorkloadKey, instance: InstanceId): LineSink {
    return (lines) => {
      const timeMs = this.#clock.nowMs();
      for (const line of lines) this.#current.note(instance, line);
      try {
        this.#fileOf(workload).append(lines.map((line) => ({ timeMs, instance, line })));
        this.#failing = false;
      } catch (error) {
        if (!this.#failing) this.#onFailure(error);
        this.#failing = true;
      }
      for (const wake of this.#waiting.get(workload) ?? []) wake();
    };
  }

  /** Of an instance that writes no more: what it printed since its last START line, which is then forgotten. */
  takeCurrent(instance: InstanceId): CurrentLines | undefined {
    return this.#current.take(instance);
  }

  /** Entries after `cursor`, or the last ones; waits up to `waitMs` when there are none yet. */
  async read(workload: WorkloadKey, cursor: string | null, limit: number, waitMs: number): Promise<LogPage> {
    const position = cursor === null ? null : Number.parseInt(cursor, 10);
    const look = async (): Promise<LogPage> => {
      const file = this.#fileOf(workload);
      const page =
        position === null || !Number.isSafeInteger(position)
          ? await file.readLast(limit)
          : await file.read(position, limit);
      return { entries: page.entries, cursor: String(page.position) };
    };
    const page = await look();
    if (page.entries.length > 0 || waitMs <= 0) return page;
    await this.#nextLine(workload, Math.min(waitMs, longestWaitMs));
    return look();
  }

  async remove(workload: WorkloadKey): Promise<void> {
    const file = this.#fileOf(workload);
    this.#files.delete(workload);
    await file.remove();
    // The tenant's directory goes with its last log.
    await rmdir(dirname(this.#pathOf(workload))).catch(() => undefined);
  }

  #nextLine(workload: WorkloadKey, waitMs: number): Promise<void> {
    const waiting = this.#waiting.get(workload) ?? new Set();
    this.#waiting.set(workload, waiting);
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        waiting.delete(wake);
        if (waiting.size === 0) this.#waiting.delete(workload);
        resolve();
      };
      const timer = setTimeout(wake, waitMs);
      waiting.add(wake);
    });
  }

  #fileOf(workload: WorkloadKey): LogFile {
    const known = this.#files.get(workload);
    if (known !== undefined) return known;
    const file = new LogFile(this.#pathOf(workload));
    this.#files.set(workload, file);
    return file;
  }

  /** Both parts of the key were checked to be file names. */
  #pathOf(workload: WorkloadKey): string {
    return `${join(this.#directory, workload)}.log`;
  }
}
