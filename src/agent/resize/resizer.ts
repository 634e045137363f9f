// The sizes of tenants and instances in one unit: what was last asked of each, and what goes on after a request's answer.
// Owns what requests share. One request is transaction.ts; watch.ts looks after lowered limits, lending.ts after those that
// are below what was promised, shortfalls.ts after those that are below what was asked for, deferrals.ts retries, spaces.ts
// changes what no resource group enforces.
import type { Clock } from '../../base/clock.ts';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import { humanBytes } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { ResizeRequest, ResizeResult } from '../../protocol/agent.ts';
import type { Logger } from '../../sys/log.ts';
import type { Cgroup } from '../cgroup/port.ts';
import type { InstanceControl } from './control.ts';
import { Deferrals, type Deferral } from './deferrals.ts';
import { endHolds } from './holds.ts';
import { Lending, neededMeanwhile, type WhyGivenBack } from './lending.ts';
import { Lowering } from './lowering.ts';
import { MemoryHolds } from './memory-holds.ts';
import { Notices } from './notices.ts';
import { instanceKey, tenantKey, type Groups, type Owner } from './owners.ts';
import { Reports } from './reports.ts';
import { Shortfalls } from './shortfalls.ts';
import { Spaces } from './spaces.ts';
import { Steps } from './steps.ts';
import { Transaction, type TransactionParts } from './transaction.ts';
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

export class Resizer {
  readonly #options: ResizerOptions;
  readonly #watch: ShrinkWatch;
  readonly #deferrals: Deferrals;
  readonly #lowering: Lowering;
  readonly #parts: TransactionParts;
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
    const steps = new Steps(options, this.#watch);
    this.#lending = new Lending({
      cgroup,
      holds,
      log,
      takeOver: (id) => this.#watch.end(instanceKey(id)),
      onGivenBack: (id, why) => this.#givenBack(id, why),
    });
    this.#lowering = new Lowering(steps, this.#lending);
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
    this.#parts = {
      ...options,
      desired: this.#desired,
      owners: this.#owners,
      turns: this.#turns,
      steps,
      lowering: this.#lowering,
      lending: this.#lending,
      shortfalls: this.#shortfalls,
      deferrals: this.#deferrals,
      notices: this.#notices,
      spaces: this.#spaces,
    };
  }

  /** Answers when everything is applied, or after `waitMs`; what is deferred then is tried again until it fits. */
  apply(request: ResizeRequest): Promise<ResizeResult> {
    return new Transaction(request, this.#parts).run();
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
      const obstacle = await this.#lowering.to(entry.wantedBytes, owner, mayTrim);
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
