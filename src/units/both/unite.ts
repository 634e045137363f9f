// One answer out of two: this machine's agent's, and the fleet's. Pure.
import type { TenantId } from '../../base/ids.ts';
import { worstStatus, type ResourceChange, type TenantChange } from '../../model/change.ts';
import { resourceKinds, type Resources } from '../../model/resources.ts';
import type { AgentProtocol, ResizeResult } from '../../protocol/agent.ts';
import type { ResultOf } from '../../protocol/rpc.ts';

type Answer<M extends keyof AgentProtocol['methods']> = ResultOf<AgentProtocol['methods'][M]>;

/** Both are of the same machine, so its capacity counts once: what both say that there is. What one does not hold is not held. */
export function uniteHellos(host: Answer<'hello'>, machines: Answer<'hello'>): Answer<'hello'> {
  const [ours, theirs] = [host.capabilities, machines.capabilities];
  return {
    // Of two versions that of who serves: who calls is refused by the one that does not fit.
    protocolVersion:
      host.protocolVersion === machines.protocolVersion ? machines.protocolVersion : host.protocolVersion,
    pid: machines.pid,
    capabilities: {
      cgroup: ours.cgroup,
      sandbox: ours.sandbox,
      memoryLimit: ours.memoryLimit && theirs.memoryLimit,
      cpuLimit: ours.cpuLimit && theirs.cpuLimit,
      freeze: ours.freeze && theirs.freeze,
      separateUsers: ours.separateUsers && theirs.separateUsers,
      warmPool: ours.warmPool || theirs.warmPool,
      notEnforced: [
        ...ours.notEnforced,
        ...theirs.notEnforced.filter(({ what }) => !ours.notEnforced.some((known) => known.what === what)),
      ],
    },
    capacity: Object.fromEntries(
      resourceKinds.map((kind) => [kind, Math.min(host.capacity[kind], machines.capacity[kind])]),
    ) as unknown as Resources,
  };
}

export function uniteMeasures(host: Answer<'measure'>, machines: Answer<'measure'>): Answer<'measure'> {
  return {
    atMs: host.atMs,
    instances: [
      ...host.instances,
      // Guests are asked seldom while they stand still: the limits that one held may be older than what is noted of it.
      ...machines.instances.map(({ limits: _limits, ...instance }) => instance),
    ],
    tenants: uniteTenants(host.tenants, machines.tenants),
    pool: {
      // Machines that are ready are among the units.
      ready: host.pool.ready,
      memoryBytes: host.pool.memoryBytes + machines.pool.memoryBytes,
    },
    host: host.host,
    units: machines.units,
  };
}

/** What a tenant uses is a sum; the limits are those that this machine's kernel holds its group to. */
function uniteTenants(
  host: Answer<'measure'>['tenants'],
  machines: Answer<'measure'>['tenants'],
): Answer<'measure'>['tenants'] {
  const rest = new Map(machines.map((tenant) => [tenant.tenant, tenant]));
  const both = host.map((tenant) => {
    const more = rest.get(tenant.tenant);
    rest.delete(tenant.tenant);
    return {
      ...tenant,
      memoryBytes: tenant.memoryBytes + (more?.memoryBytes ?? 0),
      cpuUsageMicros: tenant.cpuUsageMicros + (more?.cpuUsageMicros ?? 0),
    };
  });
  return [...both, ...rest.values()];
}

export function uniteResizes(host: ResizeResult, machines: ResizeResult): ResizeResult {
  const tenants = new Map<TenantId, TenantChange[]>();
  for (const change of [...host.tenants, ...machines.tenants])
    tenants.set(change.tenant, [...(tenants.get(change.tenant) ?? []), change]);
  return {
    tenants: [...tenants].map(([tenant, parts]) => ({ tenant, changes: uniteChanges(parts) })),
    instances: [...host.instances, ...machines.instances],
  };
}

/** A tenant's limit holds when it holds in both; what keeps it from that is the first part's that it does not hold in. */
function uniteChanges(parts: readonly TenantChange[]): ResourceChange[] {
  return resourceKinds.flatMap((resource) => {
    const changes = parts.flatMap((part) => part.changes.filter((change) => change.resource === resource));
    const status = worstStatus(changes.map((change) => change.status));
    const telling = changes.find((change) => change.status === status);
    if (telling === undefined) return [];
    return [{ ...telling, durationMs: Math.max(...changes.map(({ durationMs }) => durationMs)) }];
  });
}
