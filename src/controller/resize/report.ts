// Which parts of a plan and of its outcome an answer is about: what was named in the wish, and what moves because of it.
// What has been waiting since an earlier change is none of its business, whoever's it is. Pure.
import type { ChangePlan } from '../../allocator/plan-change.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { InstanceChange, ResourceChange, TenantChange } from '../../model/change.ts';
import type { ResourceKind } from '../../model/resources.ts';
import type { Wish } from './plan-input.ts';
import { isUnchanged, type AgentOutcome } from './transaction.ts';

type InstanceParts = Pick<InstanceChange, 'instance' | 'workload' | 'tenant'>;

export interface Report {
  readonly hasTenant: (of: Pick<TenantChange, 'tenant'>, resource: ResourceKind) => boolean;
  readonly hasInstance: (of: InstanceParts, resource: ResourceKind) => boolean;
}

/** Whether an instance is the workload's, or the tenant's, that something is wished for. */
export function concerns(wish: Wish, of: Pick<InstanceParts, 'workload' | 'tenant'>): boolean {
  return of.workload === wish.request?.workload || of.tenant === wish.limits?.tenant;
}

/** @param moves whether the plan gives an instance otherwise than was asked for it last; asked here, and not later */
export function reportOn(
  wish: Wish,
  plan: ChangePlan,
  moves: (id: InstanceId, resource: ResourceKind) => boolean,
): Report {
  const named = new Set([
    ...Object.keys(wish.limits?.wanted ?? {}),
    ...Object.keys(wish.request?.wanted ?? {}),
  ]);
  const moved = new Map(
    plan.instances.map(({ instance, changes }) => [
      instance,
      new Set(changes.map(({ resource }) => resource).filter((resource) => moves(instance, resource))),
    ]),
  );
  return {
    hasTenant: ({ tenant }, resource) => tenant === wish.limits?.tenant && named.has(resource),
    hasInstance: (of, resource) =>
      (concerns(wish, of) && named.has(resource)) || moved.get(of.instance)?.has(resource) === true,
  };
}

/** The plan without what is no part of the answer; what is infeasible is told whole. */
export function reportedPlan(plan: ChangePlan, report: Report): ChangePlan {
  if (plan.status === 'infeasible') return plan;
  const tenants = plan.tenants
    .map((of) => ({ ...of, changes: of.changes.filter(({ resource }) => report.hasTenant(of, resource)) }))
    .filter(({ changes }) => changes.length > 0);
  const instances = plan.instances
    .map((of) => ({ ...of, changes: of.changes.filter(({ resource }) => report.hasInstance(of, resource)) }))
    .filter(({ changes }) => changes.length > 0);
  return { ...plan, tenants, instances };
}

/** The agent also tells again of what goes on waiting. */
export function reportedOutcome(outcome: AgentOutcome, report: Report): AgentOutcome {
  return {
    tenants: outcome.tenants.flatMap((of) => reported(of, (resource) => report.hasTenant(of, resource))),
    instances: outcome.instances.flatMap((of) =>
      reported(of, (resource) => report.hasInstance(of, resource)),
    ),
  };
}

/** Nothing when only what stands as it stood would be left. */
function reported<Of extends { readonly changes: readonly ResourceChange[] }>(
  of: Of,
  has: (resource: ResourceKind) => boolean,
): Of[] {
  const changes = of.changes.filter(({ status, resource }) => status !== 'deferred' || has(resource));
  const isWhole = changes.length === of.changes.length;
  if (!isWhole && changes.every((part) => isUnchanged(part) && !has(part.resource))) return [];
  return [{ ...of, changes }];
}
