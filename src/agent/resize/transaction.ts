// The resize of tenants and instances in one unit, as a transaction that never kills (MISSION E1).
//
//   plan ─▶ notify ─▶ grow ─▶ free ─▶ verify ─▶ shrink ─▶ applied ──strained within 2 s──▶ old limit, deferred
//                                       │
//                                       └▶ deferred ──tried again: fits──▶ applied, told through onApplied
//
// Owns the order of effects and the answer. plan.ts decides, watch.ts looks after lowered limits, lending.ts after those that
// are below what was promised, shortfalls.ts after those that are below what was asked for, deferrals.ts retries, spaces.ts changes what no resource group enforces.
import type { Clock } from '../../base/clock.ts';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import { humanBytes } from '../../base/quantity.ts';
import type { ResourceChange } from '../../model/change.ts';
import type { Resources } from '../../model/resources.ts';
import type { ResizeRequest, ResizeResult } from '../../protocol/agent.ts';
import type { Logger } from '../../sys/log.ts';
import type { Cgroup } from '../cgroup/port.ts';
import { resizeAnswer, type Parts } from './answer.ts';
import type { InstanceControl } from './control.ts';
import { Deferrals, type Deferral } from './deferrals.ts';
import { EarlyWord } from './early-word.ts';
import { endHolds } from './holds.ts';
import { Lending, neededMeanwhile, type WhyGivenBack } from './lending.ts';
import { wishOf } from './loan.ts';
import { MemoryHolds } from './memory-holds.ts';
import { Notices } from './notices.ts';
import { type Part } from './outcome.ts';
import {
  concernedBy,
  instanceKey,
  tenantKey,
  type Groups,
  type InstanceOwner,
  type Owner,
} from './owners.ts';
import { planSteps, type Step } from './plan.ts';
import { Reports } from './reports.ts';
import { Shortfalls } from './shortfalls.ts';
import { Spaces, type Space } from './spaces.ts';
import { Steps } from './steps.ts';
import { Turns } from './turns.ts';
import { ShrinkWatch } from './watch.ts';

export interface ResizerOptions extends Groups {
  readonly cgroup: Cgroup;
  readonly control: InstanceControl;
  readonly clock: Clock;
  readonly log: Logger;
  /** What became of changes after their answer: deferred ones that are applied, lowered limits that were taken back. */
  readonly onApplied: (result: ResizeResult) => void;
}

/** What has happened so far to one owner in one request. */
interface Progress extends Parts {
  readonly owner: Owner;
  memory: Part | null;
  cpu: Part | null;
}

export class Resizer {
  readonly #options: ResizerOptions;
  readonly #watch: ShrinkWatch;
  readonly #deferrals: Deferrals;
  readonly #steps: Steps;
  readonly #notices: Notices;
  readonly #lending: Lending;
  readonly #shortfalls: Shortfalls;
  readonly #spaces: Spaces;
  /** What each instance was last asked to be. */
  readonly #desired = new Map<InstanceId, Resources>();
  /** The latest owner's record for each key, for what happens after the answer. */
  readonly #owners = new Map<string, Owner>();
  /** Writes to one owner's group follow each other. */
  readonly #turns = new Turns();
  readonly #reports: Reports;

  constructor(options: ResizerOptions) {
    this.#options = options;
    const { cgroup, clock, log } = options;
    const holds = new MemoryHolds(cgroup);
    this.#watch = new ShrinkWatch({ cgroup, holds, clock, log, onStrained: (key) => this.#takenBack(key) });
    this.#steps = new Steps(options, this.#watch);
    this.#lending = new Lending({
      cgroup,
      holds,
      log,
      takeOver: (id) => this.#watch.end(instanceKey(id)),
      onGivenBack: (id, why) => this.#givenBack(id, why),
    });
    this.#shortfalls = new Shortfalls({
      ...options,
      holds,
      isLent: (id) => this.#lending.promisedBytes(id) !== null,
    });
    this.#notices = new Notices({
      ...options,
      desired: (id) => this.#desired.get(id),
      promised: (id) => this.#lending.promisedBytes(id),
    });
    this.#reports = new Reports(options, this.#notices);
    this.#spaces = new Spaces({ ...options, onApplied: (id, change) => this.#reports.space(id, change) });
    this.#deferrals = new Deferrals({ clock, log, retry: (entry, mayTrim) => this.#retry(entry, mayTrim) });
  }

  /** Answers when everything is applied, or after `waitMs`; what is deferred then is tried again until it fits. */
  async apply(request: ResizeRequest): Promise<ResizeResult> {
    const { cgroup, control, clock } = this.#options;
    const startedMs = clock.monotonicMs();
    const { memoryLimit } = cgroup.capabilities;
    for (const part of request.instances)
      if (control.describe(part.id) !== undefined) {
        const { grant } = wishOf(part, memoryLimit);
        this.#desired.set(part.id, grant);
        this.#shortfalls.request(part.id, Math.max(grant.memory, part.requested?.memory ?? 0), grant.memory);
      }
    const concerned = concernedBy(request, {
      ...this.#options,
      desired: (id) => this.#desired.get(id),
      promised: (id) => this.#lending.promisedBytes(id),
    });
    const progress = new Map<string, Progress>();
    for (const owner of [...concerned.tenants, ...concerned.instances]) {
      progress.set(owner.key, { owner, memory: null, cpu: null });
      if (owner.kind === 'instance' && owner.asked === null) continue;
      this.#owners.set(owner.key, owner);
      // A later request supersedes what still waits.
      this.#deferrals.drop(owner.key);
    }
    for (const owner of concerned.instances) {
      // Its tenant's limit may press its CPU down now: remembered, to come back with that limit.
      if (!this.#desired.has(owner.id)) this.#desired.set(owner.id, owner.instance.grant);
    }
    const before = new Map(concerned.instances.map((owner) => [owner.id, control.connections(owner.id)]));
    const phases = planSteps(concerned.tenants, concerned.instances);
    const elsewhere = concerned.instances.filter(
      ({ id, asked, instance }) => asked !== null && this.#spaces.differs(id, instance.grant, asked),
    );
    await this.#notices.announce(phases.flat(), elsewhere, (key) => progress.get(key)?.owner);
    const early = new EarlyWord(phases.flat(), (key) => this.#tellEarly(progress.get(key)));
    for (const phase of phases) {
      const performed = phase.map(async (step) => {
        await this.#perform(step, progress, startedMs);
        early.done(step.key);
      });
      await Promise.all(performed);
    }
    const changed = new Map<InstanceId, Space>();
    for (const { id, asked, instance } of elsewhere)
      if (asked !== null) changed.set(id, this.#spaces.begin(id, instance.grant, asked));
    const leftMs = request.waitMs - (clock.monotonicMs() - startedMs);
    await Promise.all([
      this.#awaitDeferred(progress, startedMs, request.waitMs),
      this.#spaces.wait([...changed.values()], leftMs),
    ]);
    early.close();
    for (const owner of concerned.instances) this.#settleLoan(owner, progress.get(owner.key)?.memory ?? null);
    this.#deferrals.wake();
    const elsewhereOf = (id: InstanceId): ResourceChange[] => {
      const space = changed.get(id);
      return space === undefined ? [] : this.#spaces.changes(space);
    };
    const result = resizeAnswer(
      concerned,
      { parts: progress, before, spaces: elsewhereOf },
      { cgroup, control },
    );
    for (const owner of concerned.instances) {
      const enforced = result.enforced.get(owner.id);
      if (enforced !== undefined) this.#notices.tellCurrent(owner.id, enforced);
    }
    return { tenants: result.tenants, instances: result.instances };
  }

  /** What the instance was last asked to be; undefined when nobody has asked. */
  desired(id: InstanceId): Resources | undefined {
    return this.#desired.get(id);
  }

  /** The instance is gone, or about to go. What waits for memory in its tenant may fit now. */
  forget(id: InstanceId): void {
    this.#desired.delete(id);
    this.#spaces.forget(id);
    this.#lending.forget(id);
    this.#drop(instanceKey(id));
    this.#shortfalls.forget(id);
    this.#deferrals.wake();
  }

  forgetTenant(tenant: TenantId): void {
    this.#drop(tenantKey(tenant));
  }

  /** Before anything else: see {@link endHolds}. */
  adopt(ids: readonly InstanceId[], tenants: readonly TenantId[]): Promise<void> {
    return endHolds(ids, tenants, this.#options);
  }

  /** See {@link Shortfalls.started}. */
  started(id: InstanceId, requestedBytes: number): void {
    this.#shortfalls.started(id, requestedBytes);
  }

  /** Before an instance that stands still runs: see {@link Lending.beforeRun}. */
  beforeRun(id: InstanceId, why: 'thaw' | 'trim'): Promise<void> {
    return this.#lending.beforeRun(id, why);
  }

  /** It stands still again after a trim. */
  stoodStill(id: InstanceId): Promise<void> {
    return this.#lending.stoodStill(id);
  }

  /** Ends retries and watches; limits stay as they are, but for what is lent. */
  close(): void {
    this.#spaces.close();
    this.#deferrals.close();
    this.#watch.close();
    this.#lending.close();
    this.#shortfalls.close();
  }

  #drop(key: string): void {
    this.#owners.delete(key);
    this.#deferrals.drop(key);
    this.#watch.end(key);
  }

  async #perform(step: Step, progress: ReadonlyMap<string, Progress>, startedMs: number): Promise<void> {
    const state = progress.get(step.key);
    if (state === undefined) return;
    const { clock } = this.#options;
    const part = (status: Part['status'], reason: string): Part => ({
      status,
      reason,
      durationMs: clock.monotonicMs() - startedMs,
    });
    await this.#turns.inTurn(step.key, async () => {
      const { memoryBytes, cpuMillicores } = step.limits;
      const superseded =
        state.owner.kind === 'tenant' || state.owner.asked !== null
          ? this.#owners.get(step.key) !== state.owner
          : false;
      const reason = superseded
        ? 'a later request has taken its place'
        : await this.#steps.write(step, state.owner);
      const failed = superseded ? part('deferred', reason) : part('infeasible', reason);
      if (cpuMillicores !== undefined) state.cpu = reason === '' ? part('applied', '') : failed;
      if (memoryBytes === undefined) return;
      if (reason !== '') {
        state.memory = failed;
      } else if (step.direction === 'grow' || memoryBytes === null) {
        state.memory = part('applied', '');
      } else {
        const obstacle = await this.#shrink(state.owner, memoryBytes, true);
        state.memory = obstacle === '' ? part('applied', '') : part('deferred', obstacle);
        if (obstacle !== '' && obstacle !== neededMeanwhile)
          this.#deferrals.put(step.key, memoryBytes, obstacle, { resting: false });
      }
      if (state.owner.kind === 'instance') this.#shortfalls.settle(state.owner.id);
    });
  }

  /** What is lent is taken from what lies idle: nobody collects garbage for it. */
  async #shrink(owner: Owner, wantedBytes: number, mayTrim: boolean): Promise<string> {
    if (owner.kind === 'tenant')
      return this.#steps.shrink(owner, wantedBytes, { mayTrim, promisedBytes: null });
    const { id, group } = owner;
    if (owner.promisedBytes !== null) return this.#lending.lower(id, group, wantedBytes, owner.promisedBytes);
    const promisedBytes = this.#lending.promisedBytes(id);
    const obstacle = await this.#steps.shrink(owner, wantedBytes, { mayTrim, promisedBytes });
    if (obstacle === '') this.#lending.drop(id);
    return obstacle;
  }

  /** All its steps were done, and the request waits for others. What is deferred stands as before: the answer tells of it. */
  #tellEarly(state: Progress | undefined): void {
    if (state?.owner.kind !== 'instance' || state.memory?.status === 'deferred') return;
    const { owner, memory } = state;
    this.#settleLoan(owner, memory);
    this.#notices.tellCurrent(owner.id, this.#options.cgroup.limits(owner.group));
  }

  /** Brings the loan, and what is held of less than was asked for, to what the request came to. One that is to end and could not yet goes on as it was. */
  #settleLoan(owner: InstanceOwner, memory: Part | null): void {
    const { id, group, promisedBytes } = owner;
    if (owner.asked === null || this.#owners.get(owner.key) !== owner) return;
    const limitBytes = this.#options.cgroup.limits(group).memoryBytes;
    if (promisedBytes !== null && limitBytes !== null && limitBytes < promisedBytes)
      this.#lending.keep(id, group, limitBytes, promisedBytes);
    else if (promisedBytes !== null || memory === null || memory.status === 'applied') this.#lending.drop(id);
    this.#shortfalls.settle(id);
  }

  /** Its limit is as promised again. What waits to be lent of it does not any more: whoever decides decides anew. */
  #givenBack(id: InstanceId, why: WhyGivenBack): void {
    const { control, cgroup, groupOfInstance } = this.#options;
    // It ended just now.
    if (control.describe(id) === undefined) return;
    this.#shortfalls.settle(id);
    const owner = this.#owners.get(instanceKey(id));
    const grant = this.#notices.grantOf(id, cgroup.limits(groupOfInstance(id)));
    if (grant === undefined) return;
    if (owner?.kind === 'instance' && owner.promisedBytes !== null) {
      this.#deferrals.drop(instanceKey(id));
      this.#desired.set(id, { ...(this.#desired.get(id) ?? grant), memory: grant.memory });
    }
    control.givenBack(id, { grant, desired: this.#desired.get(id) ?? grant }, why);
  }

  async #awaitDeferred(
    progress: ReadonlyMap<string, Progress>,
    startedMs: number,
    waitMs: number,
  ): Promise<void> {
    const { clock } = this.#options;
    const open = [...progress.values()].flatMap((state) => {
      const entry = state.memory?.status === 'deferred' ? this.#deferrals.get(state.owner.key) : undefined;
      return entry === undefined ? [] : [{ state, entry }];
    });
    const waits = open.map(async ({ state, entry }) => {
      await this.#deferrals.wait([entry], waitMs - (clock.monotonicMs() - startedMs));
      const waiting = this.#deferrals.get(entry.key) === entry;
      const superseded = this.#owners.get(entry.key) !== state.owner;
      const durationMs = clock.monotonicMs() - startedMs;
      if (waiting) state.memory = { status: 'deferred', reason: entry.reason, durationMs };
      else if (superseded)
        state.memory = { status: 'deferred', reason: 'a later request has taken its place', durationMs };
      else state.memory = { status: 'applied', reason: '', durationMs };
    });
    await Promise.all(waits);
  }

  /** One more try of what was deferred. */
  async #retry(entry: Deferral, mayTrim: boolean): Promise<boolean> {
    const owner = this.#owners.get(entry.key);
    if (
      owner === undefined ||
      (owner.kind === 'instance' && this.#options.control.describe(owner.id) === undefined)
    ) {
      this.#drop(entry.key);
      return false;
    }
    const startedMs = this.#options.clock.monotonicMs();
    return this.#turns.inTurn(entry.key, async () => {
      if (this.#deferrals.get(entry.key) !== entry) return false;
      const before = this.#options.cgroup.limits(owner.group);
      const obstacle = await this.#shrink(owner, entry.wantedBytes, mayTrim);
      if (owner.kind === 'instance') this.#shortfalls.settle(owner.id);
      if (obstacle === neededMeanwhile) return true;
      if (obstacle !== '') {
        entry.reason = obstacle;
        return false;
      }
      this.#reports.memory(owner, before, {
        status: 'applied',
        reason: '',
        durationMs: this.#options.clock.monotonicMs() - startedMs,
      });
      return true;
    });
  }

  /** A lowered limit proved too low and the old one stands again. */
  #takenBack(key: string): void {
    const owner = this.#owners.get(key);
    if (owner?.kind === 'instance') this.#shortfalls.settle(owner.id);
    if (owner?.wanted.memoryBytes === undefined || owner.wanted.memoryBytes === null) return;
    const reason = `came within reach of ${humanBytes(owner.wanted.memoryBytes)} right after the limit was lowered, so the old one was restored`;
    this.#deferrals.put(key, owner.wanted.memoryBytes, reason, { resting: true });
    this.#reports.memory(
      owner,
      { ...owner.enforced, memoryBytes: owner.wanted.memoryBytes },
      { status: 'deferred', reason, durationMs: 0 },
    );
  }
}
