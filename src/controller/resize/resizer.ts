// The one way in which limits and grants change while code runs: plan, store, apply in the unit, answer (MISSION E1).
// Owns the order of changes and what was asked of the agent last. The arithmetic is src/allocator, the kernel is the
// agent's; a shrink that must wait is kept and retried there.
import { findInfeasible } from '../../allocator/feasibility.ts';
import { planChange, type ChangePlan } from '../../allocator/plan-change.ts';
import type { PlanInput } from '../../allocator/plan-input.ts';
import type { Clock } from '../../base/clock.ts';
import { newTransactionId, type InstanceId, type TenantId } from '../../base/ids.ts';
import type { Transaction } from '../../model/change.ts';
import { resourceKinds, type Resources } from '../../model/resources.ts';
import type { Workload } from '../../model/workload.ts';
import type { InstanceSpec, TenantSpec } from '../../protocol/agent.ts';
import type { Logger } from '../../sys/log.ts';
import { tenantSpecOf, type AgentLink } from '../agent-link.ts';
import type { AuditInput, AuditLog } from '../audit.ts';
import type { Tuning } from '../config.ts';
import type { ChangeOptions } from '../control-plane.ts';
import type { Measures } from '../measures.ts';
import { KeyedQueue } from '../serial.ts';
import { desiredGrant, knownOf, type ActualState } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import { EnforcedLimits } from './enforced-limits.ts';
import { keepFixed } from './live-kinds.ts';
import { phantoms, planInput, type Present, type Wish } from './plan-input.ts';
import { appliedTransaction, plannedTransaction, withStarting, type AgentOutcome } from './transaction.ts';
import { partsOf, sentenceOf } from './wording.ts';

/** Beyond the time that a caller is willing to wait: notifying, collecting garbage and writing take a moment themselves. */
const resizeMarginMs = 30_000;

export interface ResizerParts {
  readonly link: AgentLink;
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly measures: Measures;
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Tuning;
}

export interface Change {
  readonly wish: Wish;
  readonly options: ChangeOptions;
  /** Why it can not be done though nothing that runs stands against it; empty when it can. */
  readonly refusal?: string;
  /** Makes what is wanted durable; called once the change is known to be feasible, before anything is applied. */
  readonly store: () => Promise<void>;
  /** What the audit log says of it, whatever becomes of it; `subject` is whose change it is, in words. */
  readonly event: Pick<AuditInput, 'type' | 'tenant' | 'workload'> & { readonly subject: string };
}

export class Resizer {
  readonly #parts: ResizerParts;
  /** Plans are made from the outcome of those before; applying in the unit may take long and does not hold up the next. */
  readonly #planning = new KeyedQueue<'plan'>();
  readonly #enforced = new EnforcedLimits();
  /** What the agent was asked last of each instance: its word on `desired` comes a moment later. */
  readonly #asked = new Map<InstanceId, Resources>();
  #rebalancing: NodeJS.Immediate | undefined;
  #closed = false;

  constructor(parts: ResizerParts) {
    this.#parts = parts;
    parts.actual.onChange((change) => {
      if (change.type === 'gone') this.#asked.delete(change.tracked.spec.id);
      const moved = change.type === 'gone' || change.before?.life.phase !== change.tracked.life.phase;
      if (moved) this.rebalanceSoon();
    });
  }

  async change(change: Change): Promise<Transaction> {
    const { clock, measures } = this.#parts;
    const startMs = clock.monotonicMs();
    const id = newTransactionId();
    // What is in use weighs only where somebody gets less than is asked for; reading it takes longer than a resize.
    if (change.options.plan || this.#isScarce(change.wish)) await measures.sample().catch(() => undefined);
    const { plan, outcome } = await this.#planning.run('plan', async () => {
      const planned = refused(this.#planFor(change.wish), change.refusal ?? '');
      const wished = withStarting(this.#withoutOthersWaiting(planned, change.wish), (instance) => {
        const tracked = this.#parts.actual.get(instance);
        return tracked !== undefined && knownOf(tracked) === null;
      });
      if (change.options.plan || wished.status === 'infeasible') return { plan: wished, outcome: undefined };
      await change.store();
      return { plan: wished, outcome: this.#apply(wished, change) };
    });
    if (outcome === undefined) {
      const transaction = plannedTransaction(
        id,
        plan,
        (instance) => this.#workingSet(instance),
        (instance) => this.#openConnections(instance),
      );
      if (!change.options.plan) this.#note(change, transaction, '.refused');
      return { ...transaction, planned: change.options.plan, durationMs: elapsed(startMs, clock) };
    }
    const transaction = appliedTransaction(id, plan, await outcome, elapsed(startMs, clock));
    this.#note(change, transaction);
    return transaction;
  }

  #note({ event: { subject, ...event } }: Change, transaction: Transaction, suffix = ''): void {
    const message = sentenceOf(subject, transaction);
    this.#parts.audit.note({ ...event, type: `${event.type}${suffix}`, message, data: { transaction } });
  }

  /**
   * Why `count` instances of a workload could never be given `wanted`, whether they run or not; empty when they could.
   * @param previous what was asked for before, which is not judged again; null for a new workload or a larger scale
   */
  infeasibleReason(workload: Workload, previous: Resources | null, wanted: Resources, count: number): string {
    const input = this.#input({});
    const others = input.instances.filter((instance) => instance.workload !== workload.key);
    const own = phantoms(workload, previous, wanted, Math.max(1, count));
    return findInfeasible({ ...input, instances: [...others, ...own] }).reason;
  }

  /** Divides anew after instances came or went, once per turn. */
  rebalanceSoon(): void {
    if (this.#closed) return;
    this.#rebalancing ??= setImmediate(() => {
      this.#rebalancing = undefined;
      this.#rebalance(false).catch((thrown: unknown) =>
        this.#parts.log.warn({ err: thrown }, 'grants could not be divided anew'),
      );
    });
  }

  /** After the agent came back: tells it again what is wanted of everything that it may have forgotten. */
  reassert(): Promise<void> {
    this.#asked.clear();
    return this.#rebalance(true);
  }

  /** The agent applied parts that had been deferred. */
  onApplied(outcome: AgentOutcome): void {
    this.#enforced.note(outcome.tenants);
    const { audit } = this.#parts;
    for (const tenant of outcome.tenants) {
      audit.note({
        type: 'change.applied',
        tenant: tenant.tenant,
        message: `A deferred limit of tenant ${tenant.tenant} was applied: ${partsOf(tenant.changes)}.`,
        data: { changes: tenant.changes },
      });
    }
    for (const instance of outcome.instances) {
      audit.note({
        type: 'change.applied',
        tenant: instance.tenant,
        workload: instance.workload,
        instance: instance.instance,
        message: `A deferred change of ${instance.workload} was applied: ${partsOf(instance.changes)}.`,
        data: { changes: instance.changes, connections: instance.connections },
      });
    }
  }

  forgetTenant(id: TenantId): void {
    this.#enforced.forget(id);
  }

  close(): void {
    this.#closed = true;
    clearImmediate(this.#rebalancing);
  }

  async #rebalance(everything: boolean): Promise<void> {
    const { link, actual, audit, desired } = this.#parts;
    // What is unknown can not be divided; the look at the agent ends with a re-division.
    if (link.hello === null || this.#closed) return;
    const { outcome } = await this.#planning.run('plan', async () => {
      const plan = this.#planFor({});
      const tenants = everything ? desired.tenants().map(tenantSpecOf) : this.#lateTenants();
      return {
        outcome:
          plan.status === 'infeasible'
            ? undefined
            : this.#send(
                tenants,
                this.#differing(plan, () => everything),
                0,
              ),
      };
    });
    const done = await outcome;
    const moved =
      done?.instances.filter(({ changes }) => changes.some(({ before, after }) => before !== after)) ?? [];
    if (moved.length === 0) return;
    audit.note({
      type: 'grants.divided',
      message: `Grants of ${moved.length} instances were divided anew among the ${actual.all().length} that run.`,
      data: { instances: moved },
    });
  }

  #apply(plan: ChangePlan, { wish, options }: Change): Promise<AgentOutcome> {
    const tenant = wish.limits === undefined ? undefined : this.#parts.desired.tenant(wish.limits.tenant);
    const tenants = this.#lateTenants().filter((late) => late.tenant !== tenant?.id);
    if (tenant !== undefined) tenants.push(tenantSpecOf(tenant));
    const instances = this.#differing(plan, (instance) => concerns(wish, instance));
    return this.#send(tenants, instances, options.waitMs);
  }

  async #send(
    tenants: TenantSpec[],
    instances: { id: InstanceId; grant: Resources }[],
    waitMs: number,
  ): Promise<AgentOutcome> {
    if (tenants.length === 0 && instances.length === 0) return { tenants: [], instances: [] };
    for (const { id, grant } of instances) this.#asked.set(id, grant);
    try {
      const outcome = await this.#parts.link.agent.call(
        'resize',
        { tenants, instances, waitMs },
        { timeoutMs: waitMs + resizeMarginMs },
      );
      this.#enforced.note(outcome.tenants);
      return outcome;
    } catch (thrown) {
      for (const { id } of instances) this.#asked.delete(id);
      throw thrown;
    }
  }

  /** Tenants whose stored limit is not in force yet: asked again with every change, for room may have come. */
  #lateTenants(): TenantSpec[] {
    return this.#parts.desired
      .tenants()
      .filter(({ id }) => this.#enforced.of(id) !== undefined)
      .map(tenantSpecOf);
  }

  /**
   * Instances that are to have otherwise than was asked for them last.
   * @param again whether to ask once more for one that was asked for just this and does not have it yet: who asks
   *   again is owed the agent's word, not the plan's, and an agent that came back has forgotten what waits
   */
  #differing(
    plan: ChangePlan,
    again: (instance: InstanceSpec) => boolean,
  ): { id: InstanceId; grant: Resources }[] {
    return [...plan.grants].flatMap(([id, grant]) => {
      const tracked = this.#parts.actual.get(id);
      const known = tracked === undefined ? null : knownOf(tracked);
      // One that has no process yet gets its share when it has.
      if (tracked === undefined || known === null) return [];
      const asked = this.#asked.get(id) ?? desiredGrant(tracked);
      const settled = same(asked, grant) && (same(known.info.grant, grant) || !again(tracked.spec));
      return settled ? [] : [{ id, grant }];
    });
  }

  /** What waits since an earlier change, and is none of this wish's business, is no part of its answer. */
  #withoutOthersWaiting(plan: ChangePlan, wish: Wish): ChangePlan {
    const instances = plan.instances.filter((change) => {
      const tracked = this.#parts.actual.get(change.instance);
      const grant = plan.grants.get(change.instance);
      if (tracked === undefined || grant === undefined || concerns(wish, change)) return true;
      return !same(this.#asked.get(change.instance) ?? desiredGrant(tracked), grant);
    });
    return { ...plan, instances };
  }

  #planFor(wish: Wish): ChangePlan {
    const plan = planChange(this.#input(wish));
    if (plan.status === 'infeasible') return plan;
    return keepFixed(plan, (id) => {
      const tracked = this.#parts.actual.get(id);
      return tracked === undefined ? undefined : knownOf(tracked)?.info.grant;
    });
  }

  #input(wish: Wish): PlanInput {
    const { link, desired, actual, tuning } = this.#parts;
    const present: Present = {
      capacity: link.hello?.capacity ?? unknownCapacity,
      memoryOversubscription: tuning.oversubscription,
      tenants: desired.tenants(),
      enforced: this.#enforced.all,
      instances: actual.all(),
      record: (key) => desired.record(key),
      workingSet: (id) => this.#workingSet(id),
    };
    return planInput(present, wish);
  }

  /** Whether somebody would get less memory than is asked for it. */
  #isScarce(wish: Wish): boolean {
    const input = this.#input(wish);
    const { grants } = planChange(input);
    return input.instances.some(({ id, wanted }) => (grants.get(id)?.memory ?? 0) < wanted.memory);
  }

  #workingSet(id: InstanceId): number | undefined {
    return this.#parts.measures.usageOf(id)?.workingSetBytes;
  }

  #openConnections(id: InstanceId): number {
    const tracked = this.#parts.actual.get(id);
    return tracked === undefined ? 0 : (knownOf(tracked)?.info.connections.open ?? 0);
  }
}

/** Zeros are taken as "not measured": while the unit was never reached, capacity stands against nothing. */
const unknownCapacity = { memory: 0, cpu: 0, storage: 0, bandwidth: 0 } as Resources;

function same(left: Resources, right: Resources): boolean {
  return resourceKinds.every((kind) => left[kind] === right[kind]);
}

function concerns(wish: Wish, of: Pick<InstanceSpec, 'workload' | 'tenant'>): boolean {
  return of.workload === wish.request?.workload || of.tenant === wish.limits?.tenant;
}

/** The plan, or nothing of it when there is a reason against it that the planner can not see. */
function refused(plan: ChangePlan, reason: string): ChangePlan {
  if (reason === '' || plan.status === 'infeasible') return plan;
  return { status: 'infeasible', reason, tenants: [], instances: [], steps: [], grants: new Map() };
}

function elapsed(startMs: number, clock: Clock): number {
  return clock.monotonicMs() - startMs;
}
