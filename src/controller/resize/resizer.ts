// The one way in which limits and grants change while code runs: plan, store, apply in the unit, answer (MISSION E1).
// Owns the order of changes and their answers. A shrink that must wait is kept and retried by the agent.
//
//   plan ─┬─▶ store ──on the disk──┐
//         │                        ├──▶ answer
//         └─▶ unit: apply ─────────┘
//
// Storing and applying go side by side, since each waits for something else; who asked hears of it after both. When the
// store does not take it, or we die in between, what is stored is applied again: at once, or by the next controller.
import type { ChangePlan } from '../../allocator/plan-change.ts';
import type { Clock } from '../../base/clock.ts';
import { newTransactionId, type InstanceId, type TenantId } from '../../base/ids.ts';
import type { InstanceChange, Transaction } from '../../model/change.ts';
import type { Resources } from '../../model/resources.ts';
import type { Workload } from '../../model/workload.ts';
import type { Logger } from '../../sys/log.ts';
import type { AgentLink } from '../agent-link.ts';
import type { AuditInput, AuditLog } from '../audit.ts';
import type { Tuning } from '../config.ts';
import type { ChangeOptions } from '../control-plane.ts';
import type { Measures } from '../measures.ts';
import { KeyedQueue } from '../serial.ts';
import { knownOf, type ActualState } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import { withCounts, type CountWishes } from './counted-limits.ts';
import { Divider } from './divider.ts';
import { EnforcedLimits } from './enforced-limits.ts';
import type { Wish } from './plan-input.ts';
import { Planner, type PlannerParts } from './planner.ts';
import { concerns, reportedOutcome, reportedPlan, reportOn, type Report } from './report.ts';
import { StopWatch } from './stop-watch.ts';
import { startedOutcome, withStarting } from './starting.ts';
import { appliedTransaction, plannedTransaction, type AgentOutcome } from './transaction.ts';
import { UnitRequests } from './unit-requests.ts';
import { partsOf, sentenceOf } from './wording.ts';

export interface ResizerParts {
  readonly link: AgentLink;
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly measures: Measures;
  readonly steadyDemands: PlannerParts['steadyDemands'];
  readonly balances: PlannerParts['balances'];
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Tuning;
  /** Resolves when the gateways know what was published until now. */
  readonly syncGateways: () => Promise<void>;
}

export interface Change {
  readonly wish: Wish;
  /** Limits that are wished for beside it, and that no unit knows. */
  readonly counts?: CountWishes | undefined;
  readonly options: ChangeOptions;
  /** Why it can not be done though nothing that runs stands against it; empty when it can. */
  readonly refusal?: string;
  /** Makes what is wanted durable; called once the change is known to be feasible. */
  readonly store: () => Promise<void>;
  /** What the audit log says of it, whatever becomes of it; `subject` is whose change it is, in words. */
  readonly event: Pick<AuditInput, 'type' | 'tenant' | 'workload'> & { readonly subject: string };
}

/** A change that was planned, and is on its way when it is to be done. */
interface Begun {
  readonly plan: ChangePlan;
  readonly report: Report;
  /** Instances of the plan that had no group yet when it was made: the unit was not asked for them. */
  readonly starting: readonly InstanceId[];
  /** Undefined when nothing is done: it was only to be planned, or is infeasible. */
  readonly outcome: Promise<AgentOutcome> | undefined;
}

export class Resizer {
  readonly divider: Divider;
  readonly #parts: ResizerParts;
  readonly #planner: Planner;
  readonly #requests: UnitRequests;
  readonly #enforced = new EnforcedLimits();
  /** Plans are made from the outcome of those before; applying in the unit may take long and does not hold up the next. */
  readonly #planning = new KeyedQueue<'plan'>();
  #closed = false;

  constructor(parts: ResizerParts) {
    this.#parts = parts;
    this.#planner = new Planner(parts, this.#enforced.all);
    this.#requests = new UnitRequests(parts, this.#enforced);
    this.divider = new Divider({
      ...parts,
      planner: this.#planner,
      requests: this.#requests,
      planning: this.#planning,
    });
    parts.actual.onChange((change) => {
      if (change.type === 'gone') this.#requests.forget(change.tracked.spec.id);
    });
  }

  async change(change: Change): Promise<Transaction> {
    const { clock, measures } = this.#parts;
    const { wish, options, counts } = change;
    const watch = new StopWatch(clock);
    const id = newTransactionId();
    // What is in use weighs only where somebody gets less than is asked for; reading it takes longer than a resize.
    const short = this.#planner.shortage(wish);
    if (short !== 'nothing' && !options.plan) this.divider.noteShortage();
    if (options.plan || short === 'space') await measures.sample().catch(() => undefined);
    const begun = await this.#begin(change, watch);
    const { plan, report, starting } = begun;
    if (begun.outcome === undefined) {
      const transaction = withCounts(
        plannedTransaction(
          id,
          withStarting(plan, (instance) => starting.includes(instance)),
          (instance) => this.#planner.workingSet(instance),
          (instance) => this.#openConnections(instance),
          watch.timing,
          options.plan,
        ),
        counts,
      );
      if (!options.plan) this.#note(change, transaction, '.refused');
      return transaction;
    }
    const outcome = await begun.outcome;
    await this.#whenCarried(change, outcome);
    const started = await this.#whenStarted(starting, options.waitMs - watch.elapsedMs);
    const late = new Set(starting.filter((instance) => !started.some((done) => done.instance === instance)));
    const done = reportedOutcome(
      { ...outcome, instances: [...outcome.instances, ...startedOutcome(plan, started)] },
      report,
    );
    const answered = withStarting(plan, (instance) => late.has(instance));
    const transaction = withCounts(appliedTransaction(id, answered, done, watch.timing), counts);
    this.#note(change, transaction);
    return transaction;
  }

  /** See {@link Planner.infeasibleReason}. */
  infeasibleReason(workload: Workload, previous: Resources | null, wanted: Resources, count: number): string {
    return this.#planner.infeasibleReason(workload, previous, wanted, count);
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

  /** What the kernel holds a tenant to, as far as is known here; undefined for one that is not known. */
  heldLimits(id: TenantId): Readonly<Record<'memory' | 'cpu', number | null>> | undefined {
    const tenant = this.#parts.desired.tenant(id);
    if (tenant === undefined) return undefined;
    const { memory, cpu } = { ...tenant.limits, ...this.#enforced.of(id) };
    return { memory, cpu };
  }

  /** The kernel holds a tenant to something else: that is what is divided now, and the next division writes what is wanted. */
  takeHeldLimit(id: TenantId, resource: 'memory' | 'cpu', held: number | null): void {
    const wanted = this.#parts.desired.tenant(id)?.limits[resource] ?? null;
    const status = held === wanted ? 'applied' : 'deferred';
    const change = {
      resource,
      before: held,
      after: held,
      wanted,
      status,
      reason: '',
      durationMs: 0,
    } as const;
    this.#enforced.note([{ tenant: id, changes: [change] }]);
  }

  close(): void {
    this.divider.close();
    this.#closed = true;
  }

  /** Plans, and when it is to be done, stores and asks the unit side by side; resolves when it is stored. */
  async #begin({ wish, options, refusal, store }: Change, watch: StopWatch): Promise<Begun> {
    let isStored = true;
    try {
      return await this.#planning.run('plan', async () => {
        const whole = refused(this.#planner.plan(wish), refusal ?? '');
        const report = reportOn(wish, whole, (id, resource) => this.#requests.moves(whole, id, resource));
        const plan = reportedPlan(whole, report);
        const starting = plan.instances
          .map(({ instance }) => instance)
          .filter((instance) => this.#isStarting(instance));
        watch.end('plan');
        if (options.plan || plan.status === 'infeasible')
          return { plan, report, starting, outcome: undefined };
        const instances = this.#requests.differing(whole, wish, (instance) => concerns(wish, instance));
        const outcome = watch.during(
          'unit',
          this.#requests.send(this.#requests.tenantsFor(wish), instances, options.waitMs),
        );
        // Whoever asked hears of its failure below, unless storing fails before that.
        outcome.catch(() => undefined);
        isStored = false;
        await watch.during('store', store());
        isStored = true;
        return { plan, report, starting, outcome };
      });
    } catch (thrown) {
      if (!isStored) {
        await this.divider
          .divideAll('a change could not be stored')
          .catch((failure: unknown) =>
            this.#parts.log.warn({ err: failure }, 'grants could not be divided anew'),
          );
      }
      throw thrown;
    }
  }

  /** Gives instances that were starting their share within this time; those that got an answer from the unit are in it. */
  async #whenStarted(starting: readonly InstanceId[], waitMs: number): Promise<readonly InstanceChange[]> {
    const { actual, clock } = this.#parts;
    const untilMs = clock.monotonicMs() + waitMs;
    const leftMs = (): number => untilMs - clock.monotonicMs();
    while (starting.some((id) => this.#isStarting(id))) {
      if (leftMs() <= 0) break;
      await actual.nextChange(leftMs());
    }
    const ids = starting.filter((id) => actual.get(id) !== undefined && !this.#isStarting(id));
    if (ids.length === 0 || this.#closed) return [];
    const { outcome } = await this.#planning.run('plan', async () => {
      const plan = this.#planner.plan({});
      const instances = ids.flatMap((id) => this.#requests.partOf(plan, id, {}));
      return { outcome: this.#requests.send([], instances, Math.max(0, leftMs())) };
    });
    return (await outcome).instances;
  }

  /** Bandwidth is enforced by the gateways, and so is what they count: it is applied when they know of it. */
  async #whenCarried({ wish, counts }: Change, { instances }: AgentOutcome): Promise<void> {
    const changes = instances.flatMap((instance) => instance.changes);
    const isTheirs =
      counts !== undefined ||
      wish.limits?.wanted.bandwidth !== undefined ||
      changes.some(({ resource }) => resource === 'bandwidth');
    if (isTheirs) await this.#parts.syncGateways();
  }

  #note({ event: { subject, ...event } }: Change, transaction: Transaction, suffix = ''): void {
    const message = sentenceOf(subject, transaction);
    this.#parts.audit.note({ ...event, type: `${event.type}${suffix}`, message, data: { transaction } });
  }

  /** Whether the agent has no group for it yet. */
  #isStarting(id: InstanceId): boolean {
    const tracked = this.#parts.actual.get(id);
    return tracked !== undefined && knownOf(tracked) === null;
  }

  #openConnections(id: InstanceId): number {
    const tracked = this.#parts.actual.get(id);
    return tracked === undefined ? 0 : (knownOf(tracked)?.info.connections.open ?? 0);
  }
}

/** The plan, or nothing of it when there is a reason against it that the planner can not see. */
function refused(plan: ChangePlan, reason: string): ChangePlan {
  if (reason === '' || plan.status === 'infeasible') return plan;
  return {
    status: 'infeasible',
    reason,
    tenants: [],
    instances: [],
    steps: [],
    grants: new Map(),
    promised: new Map(),
  };
}
