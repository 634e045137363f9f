// The answer to a resize: for each owner what the kernel held before, what its files say now, and what became of what was
// wanted. Reads the kernel once for each owner; changes nothing.
import type { InstanceId } from '../../base/ids.ts';
import type { ResourceChange } from '../../model/change.ts';
import type { ConnectionCounts } from '../../model/instance.ts';
import { formatResource } from '../../model/resources.ts';
import type { ResizeResult } from '../../protocol/agent.ts';
import type { Cgroup } from '../cgroup/port.ts';
import type { InstanceControl } from './control.ts';
import { changeOf, connectionOutcome, type Part } from './outcome.ts';
import type { Concerned, InstanceOwner, Owner } from './owners.ts';
import { cappedQuantities, type Quantities } from './plan.ts';

/** What became of the parts of one owner; null where nothing was to be done. */
export interface Parts {
  readonly memory: Part | null;
  readonly cpu: Part | null;
}

export interface Done {
  /** By the owner's key. */
  readonly parts: ReadonlyMap<string, Parts>;
  /** Connections before the change. */
  readonly before: ReadonlyMap<InstanceId, ConnectionCounts>;
  /** What became of storage and bandwidth, where they were to change. */
  readonly spaces: (id: InstanceId) => readonly ResourceChange[];
}

export interface Answer extends ResizeResult {
  /** What the kernel was read to enforce on each instance in the answer. */
  readonly enforced: ReadonlyMap<InstanceId, Quantities>;
}

export function resizeAnswer(
  { tenants, instances }: Concerned,
  { parts, before, spaces }: Done,
  { cgroup, control }: { readonly cgroup: Cgroup; readonly control: InstanceControl },
): Answer {
  const { memoryLimit, cpuLimit } = cgroup.capabilities;
  const changes = (owner: Owner, wanted: Quantities, now: Quantities): ResourceChange[] => {
    const { held } = owner;
    const state = parts.get(owner.key);
    const memory = { before: held.memoryBytes, after: now.memoryBytes, wanted: wanted.memoryBytes };
    const cpu = { before: held.cpuMillicores, after: now.cpuMillicores, wanted: wanted.cpuMillicores };
    return [
      changeOf('memory', memory, unlent(owner) ?? state?.memory ?? unchanged(memoryLimit, 'memory')),
      changeOf('cpu', cpu, capOf(owner) ?? state?.cpu ?? unchanged(cpuLimit, 'CPU')),
    ];
  };
  const enforced = new Map<InstanceId, Quantities>();
  const instanceChange = (owner: InstanceOwner): ResizeResult['instances'][number] => {
    const { tenant, workload } = owner.instance;
    const limits = cgroup.limits(owner.group);
    enforced.set(owner.id, limits);
    const wanted =
      owner.asked === null
        ? owner.wanted
        : { memoryBytes: owner.asked.memory, cpuMillicores: owner.asked.cpu };
    const now = control.connections(owner.id);
    return {
      instance: owner.id,
      tenant,
      workload,
      changes: [...changes(owner, wanted, limits), ...spaces(owner.id)],
      connections: connectionOutcome(before.get(owner.id) ?? now, now),
    };
  };
  return {
    tenants: tenants.map((owner) => ({
      tenant: owner.tenant,
      changes: changes(owner, owner.wanted, cgroup.limits(owner.group)),
    })),
    // One whose tenant alone was changed is told of when that has moved its CPU.
    instances: instances
      .filter((owner) => owner.asked !== null || parts.get(owner.key)?.cpu !== null)
      .map(instanceChange),
    enforced,
  };
}

function unchanged(enforced: boolean, what: string): Part {
  const reason = enforced
    ? ''
    : `recorded, but this machine lets Bellows enforce no ${what} limit; see bellows doctor`;
  return { status: 'applied', reason, durationMs: 0 };
}

/** Nothing can be lent of what nothing limits. */
function unlent(owner: Owner): Part | null {
  if (owner.kind === 'tenant' || !owner.unlendable) return null;
  const reason =
    'this machine lets Bellows enforce no memory limit, so that nothing of it can be lent; see bellows doctor';
  return { status: 'infeasible', reason, durationMs: 0 };
}

/** CPU above the tenant's limit waits for that limit to rise. */
function capOf(owner: Owner): Part | null {
  if (owner.kind === 'tenant') return null;
  const { cpuMillicores } = cappedQuantities(owner);
  if (cpuMillicores === null || cpuMillicores === owner.wanted.cpuMillicores) return null;
  return {
    status: 'deferred',
    reason: `the tenant's limit is ${formatResource('cpu', cpuMillicores)}`,
    durationMs: 0,
  };
}
