// Invocations that were broken off, until their end is in the log. Their instance's own lines come first: what is told
// of one that still runs, which is about to be killed, waits until its pipe is read to the end; what is told of one that
// has ended finds what is remembered of it. Owns the waiting and the remembering. The words are logs/broken-lines.ts.
import type { Clock } from '../../base/clock.ts';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import type { BrokenInvocation, InstanceSpec } from '../../protocol/agent.ts';
import { brokenLines, startPrefix, type BrokenFacts } from '../logs/broken-lines.ts';
import { tailOf, type CurrentLines } from '../logs/current-lines.ts';
import type { LogStore } from '../logs/log-store.ts';

/** The gateway tells within milliseconds of an end: this is more than end in any second. */
const rememberedEnds = 1000;

interface Told {
  readonly invocation: BrokenInvocation;
  readonly atMs: number;
  readonly onLogged: (tail: string) => void;
}
interface Ended {
  readonly workload: WorkloadKey;
  readonly facts: Omit<BrokenFacts, 'lastStart'>;
  readonly current: CurrentLines | undefined;
}

export class BrokenInvocations {
  readonly #logs: Pick<LogStore, 'sinkOf' | 'takeCurrent'>;
  readonly #clock: Clock;
  readonly #told = new Map<InstanceId, Told[]>();
  /** The latest last. */
  readonly #ended = new Map<InstanceId, Ended>();

  constructor(logs: Pick<LogStore, 'sinkOf' | 'takeCurrent'>, clock: Clock) {
    this.#logs = logs;
    this.#clock = clock;
  }

  /**
   * Resolves when it is in the log, with the tail of what the log has of it: the last 4 KiB, empty where nothing is known.
   * @param exists whether the instance may still write
   */
  tell(id: InstanceId, invocation: BrokenInvocation, exists: boolean): Promise<string> {
    return new Promise((resolve) => {
      const told = { invocation, atMs: this.#clock.nowMs(), onLogged: resolve };
      const ended = this.#ended.get(id);
      if (ended !== undefined) this.#write(id, ended, told);
      else if (exists) this.#told.set(id, [...(this.#told.get(id) ?? []), told]);
      else resolve('');
    });
  }

  /** The instance has ended, and all that it wrote is in its log. */
  ended(spec: InstanceSpec, memoryBytes: number, memoryPeakBytes: number): void {
    const current = this.#logs.takeCurrent(spec.id);
    if (spec.function === null) return;
    const { version } = spec.function;
    const ended = { workload: spec.workload, facts: { version, memoryBytes, memoryPeakBytes }, current };
    for (const told of this.#told.get(spec.id) ?? []) this.#write(spec.id, ended, told);
    this.#told.delete(spec.id);
    this.#ended.set(spec.id, ended);
    for (const [oldest] of this.#ended) {
      if (this.#ended.size <= rememberedEnds) break;
      this.#ended.delete(oldest);
    }
  }

  /** Its log is to go, and must not come back by a late word. */
  forget(workload: WorkloadKey): void {
    for (const [id, ended] of this.#ended) if (ended.workload === workload) this.#ended.delete(id);
  }

  #write(id: InstanceId, { workload, facts, current }: Ended, { invocation, atMs, onLogged }: Told): void {
    const lines = brokenLines(invocation, { ...facts, lastStart: current?.start }, atMs);
    this.#logs.sinkOf(workload, id)(lines);
    // A START line among these says that what was printed before is another's.
    const begun =
      lines[0]?.startsWith(startPrefix) === true ? [] : [current?.start ?? '', ...(current?.printed ?? [])];
    onLogged(tailOf([...begun, ...lines]));
  }
}
