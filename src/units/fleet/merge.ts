// One answer out of two: what the guest's agent did inside, and what became of the unit's own claims. Pure.
//
// Memory, CPU and storage are limits that the guest's kernel holds, so the guest's word counts, unless the unit had no room
// to ask it. Bandwidth is the unit's alone.
import { worstStatus, type InstanceChange, type ResourceChange } from '../../model/change.ts';
import { formatResource, type ResourceKind, type Resources } from '../../model/resources.ts';
import type { ResizeResult, TenantSpec } from '../../protocol/agent.ts';

export interface InstanceParts {
  /** What the instance had before. */
  readonly before: Resources;
  readonly wanted: Resources;
  /** The guest's answer; undefined when it does not know the instance any more. */
  readonly inside: InstanceChange | undefined;
  /** Why the unit could not even be asked for a resource. */
  readonly refused: ReadonlyMap<ResourceKind, string>;
  /** Why a resource has to wait, for there is no room for it now. */
  readonly waits: ReadonlyMap<ResourceKind, string>;
  /** What went wrong with the unit's own part. */
  readonly failures: ReadonlyMap<ResourceKind, string>;
  /** Memory that is free inside but not back at the host yet. */
  readonly shortBytes: number;
  readonly durationMs: number;
}

export function mergeChanges(parts: InstanceParts): ResourceChange[] {
  const { before, wanted, durationMs } = parts;
  const guests: ResourceKind[] = ['memory', 'cpu'];
  if (before.storage !== wanted.storage) guests.push('storage');
  const insideToo = guests.map((resource): ResourceChange => {
    const inside = parts.inside?.changes.find((change) => change.resource === resource);
    const refusal = parts.refused.get(resource);
    const wait = parts.waits.get(resource);
    if (refusal !== undefined || wait !== undefined)
      return {
        resource,
        before: inside?.before ?? before[resource],
        after: inside?.after ?? before[resource],
        wanted: wanted[resource],
        status: refusal === undefined ? 'deferred' : 'infeasible',
        reason: refusal ?? wait ?? '',
        durationMs,
      };
    if (inside === undefined) {
      // Of storage it says nothing when it has that size already.
      if (parts.inside !== undefined && resource === 'storage')
        return applied(resource, before, wanted, durationMs);
      return gone(resource, before, wanted, durationMs);
    }
    const late = lateReason(resource, parts);
    const reason = inside.status === 'applied' && late !== '' ? late : inside.reason;
    return { ...inside, reason, durationMs };
  });
  if (before.bandwidth === wanted.bandwidth) return insideToo;
  const why = parts.refused.get('bandwidth') ?? parts.failures.get('bandwidth') ?? '';
  const bandwidth = applied('bandwidth', before, wanted, durationMs);
  return [
    ...insideToo,
    why === '' ? bandwidth : { ...bandwidth, after: before.bandwidth, status: 'infeasible', reason: why },
  ];
}

/** The limit holds; what the host gets of it is a matter of a moment more. */
function lateReason(resource: ResourceKind, { failures, shortBytes }: InstanceParts): string {
  const failure = failures.get(resource);
  if (failure !== undefined)
    return `holds inside the unit; the unit's own part is tried again, for ${failure}`;
  if (resource !== 'memory' || shortBytes === 0) return '';
  return `holds inside the unit; ${formatResource('memory', shortBytes)} go back to the host as they become free`;
}

function applied(
  resource: ResourceKind,
  before: Resources,
  wanted: Resources,
  durationMs: number,
): ResourceChange {
  const [was, is] = [before[resource], wanted[resource]];
  return { resource, before: was, after: is, wanted: is, status: 'applied', reason: '', durationMs };
}

function gone(
  resource: ResourceKind,
  before: Resources,
  wanted: Resources,
  durationMs: number,
): ResourceChange {
  return {
    resource,
    before: before[resource],
    after: before[resource],
    wanted: wanted[resource],
    status: 'infeasible',
    reason: 'the instance ended meanwhile',
    durationMs,
  };
}

/** A tenant's limit holds when it holds in every unit of the tenant's, and that of its processors on the host, too. */
export function mergeTenant(
  wanted: TenantSpec,
  before: TenantSpec | undefined,
  inside: ResizeResult['tenants'],
  hostRefusal: string,
): ResizeResult['tenants'][number] {
  const amounts = {
    memory: { before: before?.memoryBytes ?? null, wanted: wanted.memoryBytes },
    cpu: { before: before?.cpuMillicores ?? null, wanted: wanted.cpuMillicores },
  };
  const changes = (['memory', 'cpu'] as const).map((resource): ResourceChange => {
    const parts = inside.flatMap((tenant) => tenant.changes.filter((change) => change.resource === resource));
    const status = worstStatus(parts.map((part) => part.status));
    if (resource === 'cpu' && hostRefusal !== '')
      return {
        resource,
        before: amounts.cpu.before,
        after: amounts.cpu.before,
        wanted: amounts.cpu.wanted,
        status: 'infeasible',
        reason: hostRefusal,
        durationMs: Math.max(0, ...parts.map((part) => part.durationMs)),
      };
    const late = parts.find((part) => part.status === status && status !== 'applied');
    return {
      resource,
      before: amounts[resource].before,
      after: late === undefined ? amounts[resource].wanted : late.after,
      wanted: amounts[resource].wanted,
      status,
      reason: late?.reason ?? '',
      durationMs: Math.max(0, ...parts.map((part) => part.durationMs)),
    };
  });
  return { tenant: wanted.tenant, changes };
}
