// Which resources of a running instance can change, and what a plan is without the others. Pure.
import type { ChangePlan } from '../../allocator/plan-change.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { ResourceKind, Resources } from '../../model/resources.ts';

/** The host unit can not change the rest of what runs; another size of it is given to the instances that start next. */
const liveKinds: ReadonlySet<ResourceKind> = new Set(['memory', 'cpu']);

/** Why what runs can not be given another `wanted`; empty when it can. */
export function fixedReason(present: Resources, wanted: Resources): string {
  for (const kind of ['storage', 'bandwidth'] as const) {
    if (!liveKinds.has(kind) && present[kind] !== wanted[kind]) {
      return `The ${kind} of a running app can not be changed in this unit: scale it to 0, change its ${kind}, and scale it up again.`;
    }
  }
  return '';
}

/** Every instance that runs keeps what can not change while it does. @param inForce undefined for what has no process yet */
export function keepFixed(
  plan: ChangePlan,
  inForce: (instance: InstanceId) => Resources | undefined,
): ChangePlan {
  const grants = new Map(
    [...plan.grants].map(([id, { memory, cpu, ...fixed }]): [InstanceId, Resources] => [
      id,
      { ...fixed, ...inForce(id), memory, cpu },
    ]),
  );
  const instances = plan.instances
    .map((change) =>
      inForce(change.instance) === undefined
        ? change
        : { ...change, changes: change.changes.filter(({ resource }) => liveKinds.has(resource)) },
    )
    .filter(({ changes }) => changes.length > 0);
  return { ...plan, grants, instances };
}
