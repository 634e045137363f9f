// The resize of tenants and instances in one unit, as a transaction that never kills (MISSION E1).
//
//   plan ─▶ notify ─▶ grow ─▶ free ─▶ verify ─▶ shrink ─▶ applied ──strained within 2 s──▶ old limit, deferred
//                                       │
//                                       └▶ deferred ──tried again: fits──▶ applied, told through onApplied
//
// Owns the order of effects and the answer. plan.ts decides, watch.ts looks after lowered limits, deferrals.ts retries,
// spaces.ts changes what no resource group enforces.
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
import { endHolds } from './holds.ts';
import { Notices } from './notices.ts';
import { changeOf, type Part } from './outcome.ts';
import { concernedBy, instanceKey, tenantKey, type Groups, type Owner } from './owners.ts';
import { planSteps, type Quantities, type Step } from './plan.ts';
import { Spaces, type Space } from './spaces.ts';
import { Steps } from './steps.ts';
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
  readonly #spaces: Spaces;
  /** What each instance was last asked to be. */
  readonly #desired = new Map<InstanceId, Resources>();
  /** The latest owner's record for each key, for what happens after the answer. */
  readonly #owners = new Map<string, Owner>();
  /** Writes to one owner's group follow each other. */
  readonly #turns = new Map<string, Promise<void>>();

  constructor(options: ResizerOptions) {
    this.#options = options;
    const { cgroup, clock, log } = options;
    this.#watch = new ShrinkWatch({ cgroup, clock, log, onStrained: (key) => this.#takenBack(key) });
    this.#steps = new Steps(options, this.#watch);
    this.#notices = new Notices({ ...options, desired: (id) => this.#desired.get(id) });
    this.#spaces = new Spaces({ ...options, onApplied: (id, change) => this.#reportSpace(id, change) });
    this.#deferrals = new Deferrals({ clock, log, retry: (entry, mayTrim) => this.#retry(entry, mayTrim) });
  }

  /** Answers when everything is applied, or after `waitMs`; what is deferred then is tried again until it fits. */
  async apply(request: ResizeRequest): Promise<ResizeResult> {
    const { cgroup, control, clock } = this.#options;
    const startedMs = clock.monotonicMs();
    for (const { id, grant } of request.instances)
      if (control.describe(id) !== undefined) this.#desired.set(id, grant);
    const concerned = concernedBy(request, cgroup, control, this.#options, (id) => this.#desired.get(id));
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
    for (const phase of phases)
      await Promise.all(phase.map((step) => this.#perform(step, progress, startedMs)));
    const changed = new Map<InstanceId, Space>();
    for (const { id, asked, instance } of elsewhere)
      if (asked !== null) changed.set(id, this.#spaces.begin(id, instance.grant, asked));
    const leftMs = request.waitMs - (clock.monotonicMs() - startedMs);
    await Promise.all([
      this.#awaitDeferred(progress, startedMs, request.waitMs),
      this.#spaces.wait([...changed.values()], leftMs),
    ]);
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
    this.#drop(instanceKey(id));
    this.#deferrals.wake();
  }

  forgetTenant(tenant: TenantId): void {
    this.#drop(tenantKey(tenant));
  }

  /** Before anything else: see {@link endHolds}. */
  adopt(ids: readonly InstanceId[], tenants: readonly TenantId[]): Promise<void> {
    return endHolds(ids, tenants, this.#options);
  }

  /** Ends retries and watches; limits stay as they are. */
  close(): void {
    this.#spaces.close();
    this.#deferrals.close();
    this.#watch.close();
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
    await this.#inTurn(step.key, async () => {
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
        const obstacle = await this.#steps.shrink(state.owner, memoryBytes, true);
        state.memory = obstacle === '' ? part('applied', '') : part('deferred', obstacle);
        if (obstacle !== '') this.#deferrals.put(step.key, memoryBytes, obstacle, { resting: false });
      }
    });
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
    return this.#inTurn(entry.key, async () => {
      if (this.#deferrals.get(entry.key) !== entry) return false;
      const before = this.#options.cgroup.limits(owner.group);
      const obstacle = await this.#steps.shrink(owner, entry.wantedBytes, mayTrim);
      if (obstacle !== '') {
        entry.reason = obstacle;
        return false;
      }
      this.#report(owner, before, {
        status: 'applied',
        reason: '',
        durationMs: this.#options.clock.monotonicMs() - startedMs,
      });
      return true;
    });
  }

  /** The same of what an instance may store. */
  #reportSpace(id: InstanceId, change: ResourceChange): void {
    const { control, cgroup, groupOfInstance, onApplied } = this.#options;
    const instance = control.describe(id);
    if (instance === undefined) return;
    const { tenant, workload } = instance;
    const { open } = control.connections(id);
    const connections = { open, kept: open, dropped: 0 };
    onApplied({
      tenants: [],
      instances: [{ instance: id, tenant, workload, changes: [change], connections }],
    });
    this.#notices.tellCurrent(id, cgroup.limits(groupOfInstance(id)));
  }

  /** A lowered limit proved too low and the old one stands again. */
  #takenBack(key: string): void {
    const owner = this.#owners.get(key);
    if (owner?.wanted.memoryBytes === undefined || owner.wanted.memoryBytes === null) return;
    const reason = `came within reach of ${humanBytes(owner.wanted.memoryBytes)} right after the limit was lowered, so the old one was restored`;
    this.#deferrals.put(key, owner.wanted.memoryBytes, reason, { resting: true });
    this.#report(
      owner,
      { ...owner.enforced, memoryBytes: owner.wanted.memoryBytes },
      { status: 'deferred', reason, durationMs: 0 },
    );
  }

  /** Tells of a memory change that happened after its answer. */
  #report(owner: Owner, before: Quantities, memory: Part): void {
    const after = this.#options.cgroup.limits(owner.group);
    const amounts = {
      before: before.memoryBytes,
      after: after.memoryBytes,
      wanted: owner.wanted.memoryBytes,
    };
    const changes = [changeOf('memory', amounts, memory)];
    if (owner.kind === 'tenant') {
      this.#options.onApplied({ tenants: [{ tenant: owner.tenant, changes }], instances: [] });
      return;
    }
    const { open } = this.#options.control.connections(owner.id);
    const { tenant, workload } = owner.instance;
    const connections = { open, kept: open, dropped: 0 };
    this.#options.onApplied({
      tenants: [],
      instances: [{ instance: owner.id, tenant, workload, changes, connections }],
    });
    this.#notices.tellCurrent(owner.id, after);
  }

  #inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const earlier = this.#turns.get(key);
    const run = earlier === undefined ? work() : earlier.then(work);
    const ended = run.then(
      () => undefined,
      () => undefined,
    );
    this.#turns.set(key, ended);
    void ended.then(() => {
      if (this.#turns.get(key) === ended) this.#turns.delete(key);
    });
    return run;
  }
}
