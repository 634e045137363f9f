// What a change says of instances that are starting: they have no group yet to write to. Pure.
import type { ChangePlan } from '../../allocator/plan-change.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { InstanceChange, ResourceChange } from '../../model/change.ts';

/** Such an instance gets its share as soon as it serves; until then that waits. */
export function withStarting(plan: ChangePlan, isStarting: (instance: InstanceId) => boolean): ChangePlan {
  if (plan.status === 'infeasible') return plan;
  const instances = plan.instances.map((change) =>
    isStarting(change.instance) ? { ...change, changes: change.changes.map(whenStarted) } : change,
  );
  return { ...plan, instances };
}

/**
 * The outcome for instances that started while the change waited for them. They may have had their share before they were
 * asked: what stood before is the plan's to say.
 */
export function startedOutcome(plan: ChangePlan, done: readonly InstanceChange[]): InstanceChange[] {
  return done.map((instance) => {
    const planned = plan.instances.find((change) => change.instance === instance.instance)?.changes ?? [];
    const before = new Map(planned.map((change) => [change.resource, change.before]));
    const changes = instance.changes.map((change) => ({
      ...change,
      before: before.get(change.resource) ?? change.before,
    }));
    return { ...instance, changes };
  });
}

function whenStarted(change: ResourceChange): ResourceChange {
  if (change.status !== 'applied' || change.before === change.after) return change;
  return {
    ...change,
    after: change.before,
    status: 'deferred',
    reason: 'The instance is starting; it is applied when that is done.',
  };
}
