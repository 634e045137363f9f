// The answer to a change: the plan's view and the agent's outcome put together. Pure.
import type { ChangePlan } from '../../allocator/plan-change.ts';
import type { PlannedInstanceChange } from '../../allocator/plan-input.ts';
import type { InstanceId, TransactionId } from '../../base/ids.ts';
import { humanBytes } from '../../base/quantity.ts';
import {
  worstStatus,
  type ConnectionOutcome,
  type InstanceChange,
  type ResourceChange,
  type Stage,
  type TenantChange,
  type Transaction,
} from '../../model/change.ts';

const noConnections: ConnectionOutcome = { open: 0, kept: 0, dropped: 0 };

export interface AgentOutcome {
  readonly tenants: readonly TenantChange[];
  readonly instances: readonly InstanceChange[];
}

export interface Timing {
  readonly durationMs: number;
  readonly stages: readonly Stage[];
}

/**
 * What would be done, and what is likely to wait: a shrink below what is in use now. Nothing was touched.
 * @param planned false when it was to be done, and is infeasible
 */
export function plannedTransaction(
  id: TransactionId,
  plan: ChangePlan,
  inUse: (instance: InstanceId) => number | undefined,
  openConnections: (instance: InstanceId) => number,
  timing: Timing,
  planned: boolean,
): Transaction {
  const instances = plan.instances.map((change): InstanceChange => {
    const open = openConnections(change.instance);
    return {
      ...change,
      changes: change.changes.map((part) => likely(part, inUse(change.instance))),
      connections: { open, kept: open, dropped: 0 },
    };
  });
  return assemble(id, planned, plan, plan.tenants, instances, timing);
}

/** What was done: the agent's word where it has one, the plan's where nothing was to be written. */
export function appliedTransaction(
  id: TransactionId,
  plan: ChangePlan,
  outcome: AgentOutcome,
  timing: Timing,
): Transaction {
  const tenants = mergeBy(
    plan.tenants,
    outcome.tenants,
    ({ tenant }) => tenant,
    (planned, done) => ({
      tenant: planned.tenant,
      changes: mergeChanges(planned.changes, done.changes),
    }),
  );
  const withConnections = plan.instances.map((change: PlannedInstanceChange): InstanceChange => ({
    ...change,
    connections: noConnections,
  }));
  const instances = mergeBy(
    withConnections,
    outcome.instances,
    ({ instance }) => instance,
    (planned, done) => ({
      ...done,
      changes: mergeChanges(planned.changes, done.changes),
    }),
  );
  return assemble(id, false, plan, tenants, instances, timing);
}

function likely(change: ResourceChange, inUse: number | undefined): ResourceChange {
  if (
    change.resource !== 'memory' ||
    change.status !== 'applied' ||
    inUse === undefined ||
    change.after === null ||
    change.after >= inUse
  )
    return change;
  return {
    ...change,
    after: change.before,
    status: 'deferred',
    reason: `${humanBytes(inUse)} are in use; it is applied when that has fallen.`,
  };
}

function assemble(
  id: TransactionId,
  planned: boolean,
  plan: ChangePlan,
  tenants: readonly TenantChange[],
  instances: readonly InstanceChange[],
  timing: Timing,
): Transaction {
  const changes = [...tenants, ...instances].flatMap((owner) => owner.changes);
  const statuses = changes.map((change) => change.status);
  // What is infeasible may stand against no single instance: nothing of the workload runs yet.
  const status = worstStatus(plan.status === 'infeasible' ? [plan.status] : statuses);
  const reason = changes.find((change) => change.status === status && change.reason !== '')?.reason;
  return {
    id,
    planned,
    status,
    reason: reason ?? (status === 'infeasible' ? plan.reason : ''),
    tenants,
    instances,
    ...timing,
    connections: sumConnections(instances),
  };
}

function sumConnections(instances: readonly InstanceChange[]): ConnectionOutcome {
  let sum = noConnections;
  for (const { connections } of instances) {
    sum = {
      open: sum.open + connections.open,
      kept: sum.kept + connections.kept,
      dropped: sum.dropped + connections.dropped,
    };
  }
  return sum;
}

function mergeBy<T>(
  planned: readonly T[],
  done: readonly T[],
  idOf: (item: T) => string,
  merge: (planned: T, done: T) => T,
): T[] {
  const outcomes = new Map(done.map((item) => [idOf(item), item]));
  const merged = planned.map((item) => {
    const outcome = outcomes.get(idOf(item));
    outcomes.delete(idOf(item));
    return outcome === undefined ? item : merge(item, outcome);
  });
  return [...merged, ...outcomes.values()];
}

/** The agent knows what the kernel holds; the plan knows when that is less than was asked for. */
function mergeChanges(planned: readonly ResourceChange[], done: readonly ResourceChange[]): ResourceChange[] {
  const parts = new Map(planned.map((change) => [change.resource, change]));
  for (const change of done) {
    const plan = parts.get(change.resource);
    const short = plan?.status === 'deferred' && change.status === 'applied';
    parts.set(
      change.resource,
      short ? { ...change, wanted: plan.wanted, status: plan.status, reason: plan.reason } : change,
    );
  }
  // The agent also tells of what it was asked to leave as it is.
  return [...parts.values()].filter((part) => !isUnchanged(part));
}

export function isUnchanged({ before, after, wanted, status }: ResourceChange): boolean {
  return status === 'applied' && before === after && before === wanted;
}
