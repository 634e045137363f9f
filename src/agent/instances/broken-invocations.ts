// Invocations that were broken off, until their end is in the log. Their instance's own lines come first: what is told
// of one that still runs, which is about to be killed, waits until its pipe is read to the end; what is told of one that
// has ended finds what is remembered of it. Owns the waiting and the remembering. The words are logs/broken-lines.ts.
import type { Clock } from '../../base/clock.ts';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import type { BrokenInvocation, InstanceSpec } from '../../protocol/agent.ts';
import { brokenLines, type BrokenFacts } from '../logs/broken-lines.ts';
import type { LogStore } from '../logs/log-store.ts';

/** The gateway tells within milliseconds of an end: this is more than end in any second. */
const rememberedEnds = 1000;

interface Told {
  readonly invocation: BrokenInvocation;
  readonly atMs: number;
}
interface Ended {
  readonly workload: WorkloadKey;
  readonly facts: BrokenFacts;
}

export class BrokenInvocations {
  readonly #logs: Pick<LogStore, 'sinkOf' | 'takeLastStart'>;
  readonly #clock: Clock;
  readonly #told = new Map<InstanceId, Told[]>();
  /** The latest last. */
  readonly #ended = new Map<InstanceId, Ended>();

  constructor(logs: Pick<LogStore, 'sinkOf' | 'takeLastStart'>, clock: Clock) {
    this.#logs = logs;
    this.#clock = clock;
  }

  /** @param exists whether the instance may still write */
  tell(id: InstanceId, invocation: BrokenInvocation, exists: boolean): void {
    const told = { invocation, atMs: this.#clock.nowMs() };
    const ended = this.#ended.get(id);
    if (ended !== undefined) this.#write(id, ended, told);
    else if (exists) this.#told.set(id, [...(this.#told.get(id) ?? []), told]);
  }

  /** The instance has ended, and all that it wrote is in its log. */
  ended(spec: InstanceSpec, memoryBytes: number, memoryPeakBytes: number): void {
    const lastStart = this.#logs.takeLastStart(spec.id);
    if (spec.function === null) return;
    const { version } = spec.function;
    const ended = { workload: spec.workload, facts: { version, memoryBytes, memoryPeakBytes, lastStart } };
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

  #write(id: InstanceId, { workload, facts }: Ended, { invocation, atMs }: Told): void {
    const sink = this.#logs.sinkOf(workload, id);
    for (const line of brokenLines(invocation, facts, atMs)) sink(line);
  }
}
