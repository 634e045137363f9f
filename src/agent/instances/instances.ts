// All instances of this unit: starts each id once, stops, notices ends, and tells. Owns the table of instances and the
// order in which one ends. How one starts is starter.ts, what one is instance.ts.
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId, TenantId, WorkloadKey } from '../../base/ids.ts';
import type { AgentProtocol, BrokenInvocation, InstanceSpec } from '../../protocol/agent.ts';
import { frameType } from '../../protocol/instance.ts';
import type { EventOf, ResultOf } from '../../protocol/rpc.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../sys/log.ts';
import type { Cgroup } from '../cgroup/port.ts';
import { askToEnd, type ProcessExit } from '../sandbox/port.ts';
import type { LogStore } from '../logs/log-store.ts';
import { BrokenInvocations } from './broken-invocations.ts';
import type { Cells } from './cells.ts';
import type { Handles } from './handle.ts';
import type { Instance } from './instance.ts';
import { exitWords, StartFailure } from './start-failure.ts';
import type { Starter } from './starter.ts';

export type StartResult = ResultOf<AgentProtocol['methods']['start']>;
export type Exit = Extract<EventOf<AgentProtocol>, { event: 'exited' }>['data'];

export interface InstancesOptions {
  readonly cells: Cells;
  readonly starter: Starter;
  readonly handles: Handles;
  readonly cgroup: Cgroup;
  readonly clock: Clock;
  readonly log: Logger;
  readonly logs: LogStore;
  readonly onExit: (exit: Exit) => void;
}

/** Enough for an exception with its stack, and for a terminal. */
const lastLines = 20;
const lastLineLength = 400;

export class Instances {
  readonly #options: InstancesOptions;
  readonly #byId = new Map<InstanceId, Instance>();
  readonly #starting = new Map<InstanceId, Promise<StartResult>>();
  readonly #ending = new Map<InstanceId, Promise<void>>();
  /** Why an instance was asked to end: it may do so by itself then. */
  readonly #stopReasons = new Map<InstanceId, string>();
  readonly #broken: BrokenInvocations;
  #closed = false;

  constructor(options: InstancesOptions) {
    this.#options = options;
    this.#broken = new BrokenInvocations(options.logs, options.clock);
  }

  all(): Instance[] {
    return [...this.#byId.values()];
  }

  ofTenant(tenant: TenantId): Instance[] {
    return this.all().filter((instance) => instance.spec.tenant === tenant);
  }

  find(id: InstanceId): Instance | undefined {
    return this.#byId.get(id);
  }

  /** @throws BellowsError NotFound */
  get(id: InstanceId): Instance {
    const instance = this.#byId.get(id);
    if (instance === undefined)
      throw new BellowsError('NotFound', `There is no instance ${id} in this unit.`);
    return instance;
  }

  /** An id that exists is answered with what it is: whoever asks twice, after a lost answer, does not start twice. */
  start(spec: InstanceSpec): Promise<StartResult> {
    const starting = this.#starting.get(spec.id);
    if (starting !== undefined) return starting;
    const running = this.#byId.get(spec.id);
    if (running !== undefined) return Promise.resolve(started(running, 0));
    if (this.#closed) return Promise.reject(new BellowsError('Unavailable', 'The agent is stopping.'));
    const result = this.#start(spec).finally(() => this.#starting.delete(spec.id));
    this.#starting.set(spec.id, result);
    return result;
  }

  /** Resolves when the instance and all that was made for it are gone; at once when there is none. */
  async stop(id: InstanceId, graceMs: number, reason: string): Promise<void> {
    const instance = this.#byId.get(id);
    if (instance === undefined) return;
    const ending = this.#ending.get(id);
    if (ending !== undefined) return ending;
    instance.beginStop();
    this.#stopReasons.set(id, reason);
    if (graceMs > 0) await this.#ask(instance, graceMs);
    await this.#end(instance, reason);
  }

  /** Takes over an instance that an earlier agent started. */
  adopt(instance: Instance): void {
    this.#byId.set(instance.id, instance);
    this.#watch(instance);
  }

  /** Logs how an invocation of it broke off, once it has written its last. Resolves then, with the tail of its log. */
  logBroken(id: InstanceId, invocation: BrokenInvocation): Promise<string> {
    return this.#broken.tell(id, invocation, this.#byId.has(id));
  }

  /** The workload's log is to go: nothing is written there any more for instances that have ended. */
  forgetBroken(workload: WorkloadKey): void {
    this.#broken.forget(workload);
  }

  /** Nothing starts any more; what runs is stopped. */
  async close(graceMs: number): Promise<void> {
    this.#closed = true;
    const stopAll = (): Promise<unknown> =>
      Promise.all(this.all().map(({ id }) => this.stop(id, graceMs, 'the agent is stopping')));
    await stopAll();
    await Promise.allSettled(this.#starting.values());
    // Those that had nothing yet that could be stopped.
    await stopAll();
    await Promise.all(this.#ending.values());
  }

  async #start(spec: InstanceSpec): Promise<StartResult> {
    const { starter, clock, log } = this.#options;
    const startedMs = clock.monotonicMs();
    try {
      const instance = await starter.start(spec, (registered) => this.#byId.set(spec.id, registered));
      this.#watch(instance);
      return started(instance, clock.monotonicMs() - startedMs);
    } catch (thrown) {
      const instance = this.#byId.get(spec.id);
      if (instance !== undefined) await this.#end(instance, null);
      if (thrown instanceof StartFailure) {
        log.info(
          { instance: spec.id, workload: spec.workload, error: thrown.error },
          'an instance could not start',
        );
        const trace = thrown.error.trace.length > 0 ? thrown.error.trace : await this.#lastWords(spec);
        return { outcome: 'failed', error: { ...thrown.error, trace: [...trace] } };
      }
      throw thrown;
    }
  }

  /** What an app wrote that did not come to listen: nobody can ask for its log when it was never deployed before. */
  async #lastWords(spec: InstanceSpec): Promise<string[]> {
    if (spec.kind !== 'app') return [];
    const { entries } = await this.#options.logs.read(spec.workload, null, lastLines, 0);
    return entries
      .filter(({ instance }) => instance === spec.id)
      .map(({ line }) => line.slice(0, lastLineLength));
  }

  #watch(instance: Instance): void {
    void instance.cell.exited.then((exit) => this.#end(instance, endReason(exit)));
  }

  /** Asks it to end by itself, and waits. */
  async #ask(instance: Instance, graceMs: number): Promise<void> {
    const { cell } = instance;
    await instance.thaw();
    if (cell.link?.tell(frameType.shutdown, JSON.stringify({ graceMs })) !== true) askToEnd(cell.processes);
    const waiting = new AbortController();
    const grace = new Promise((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      waiting.signal.addEventListener('abort', () => clearTimeout(timer));
    });
    await Promise.race([cell.exited, grace]);
    waiting.abort();
  }

  /** Ends it once, whoever asks. `reason` null: the start's own answer tells. */
  #end(instance: Instance, reason: string | null): Promise<void> {
    const known = this.#ending.get(instance.id);
    if (known !== undefined) return known;
    const ending = this.#finish(instance, reason)
      .catch((error: unknown) =>
        this.#options.log.error(
          { err: error, instance: instance.id },
          'an instance could not be ended completely',
        ),
      )
      .finally(() => this.#ending.delete(instance.id));
    this.#ending.set(instance.id, ending);
    return ending;
  }

  async #finish(instance: Instance, reason: string | null): Promise<void> {
    const { cells, handles, cgroup, onExit } = this.#options;
    instance.beginStop();
    const { cell, spec } = instance;
    let exit: ProcessExit | undefined;
    void cell.exited.then((known) => (exit = known));
    // Before its group goes.
    const { oomKills, memoryPeakBytes } = cgroup.usage(cell.group);
    const oomKilled = oomKills > 0;
    try {
      await cells.end(cell);
    } finally {
      await instance.becomeGone();
      await handles.remove(spec.id);
      this.#byId.delete(spec.id);
      this.#broken.ended(spec, instance.grant.memory, memoryPeakBytes);
    }
    const stopReason = this.#stopReasons.get(spec.id);
    this.#stopReasons.delete(spec.id);
    if (reason === null) return;
    onExit({
      id: spec.id,
      workload: spec.workload,
      code: exit?.code ?? null,
      signal: exit?.signal ?? null,
      oomKilled,
      reason: oomKilled ? 'it needed more memory than it was granted' : (stopReason ?? reason),
    });
  }
}

function started(instance: Instance, durationMs: number): StartResult {
  return {
    outcome: 'started',
    instance: instance.info(),
    pooled: instance.pooled,
    durationMs,
    endpoint: instance.endpoint,
  };
}

function endReason(exit: ProcessExit): string {
  return exit.code === null && exit.signal === null ? 'it ended' : exitWords(exit);
}
