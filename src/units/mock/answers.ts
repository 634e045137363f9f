// What the mocked agent says: itself, its instances, what they use, what became of a change. Pure; what there is, and what
// happens to it, is mock-agent.ts.
import { hostUnitId, type InstanceId, type TenantId } from '../../base/ids.ts';
import type { ResourceChange } from '../../model/change.ts';
import type { InstanceInfo } from '../../model/instance.ts';
import { formatResource, type ResourceKind, type Resources } from '../../model/resources.ts';
import {
  agentProtocolVersion,
  type AgentProtocol,
  type Endpoint,
  type InstanceSpec,
  type TenantSpec,
} from '../../protocol/agent.ts';
import type { ResultOf } from '../../protocol/rpc.ts';

type Methods = AgentProtocol['methods'];
export type HeldLimits = NonNullable<ResultOf<Methods['measure']>['instances'][number]['limits']>;

export const firstPid = 100_001;

export interface MockInstance {
  readonly spec: InstanceSpec;
  readonly endpoint: Endpoint;
  info: InstanceInfo;
  /** What it was last asked to be lent of. */
  promised: InstanceInfo['promised'];
  inUseBytes: number;
}

export function helloOf(capacity: Resources): ResultOf<Methods['hello']> {
  return {
    protocolVersion: agentProtocolVersion,
    pid: firstPid - 1,
    capacity,
    capabilities: {
      cgroup: 'v2',
      sandbox: 'none',
      memoryLimit: true,
      cpuLimit: true,
      freeze: true,
      separateUsers: true,
      warmPool: true,
      notEnforced: [],
    },
  };
}

/** An instance as it is when it has been started. */
export function madeOf(
  spec: InstanceSpec,
  state: InstanceInfo['state'],
  pid: number,
  startedAtMs: number,
): Pick<MockInstance, 'info' | 'endpoint'> {
  const info: InstanceInfo = {
    id: spec.id,
    tenant: spec.tenant,
    workload: spec.workload,
    generation: spec.generation,
    kind: spec.kind,
    unit: hostUnitId,
    state,
    pid,
    startedAtMs,
    grant: spec.grant,
    desired: spec.grant,
    connections: { open: 0, closedByClient: 0, closedByServer: 0 },
  };
  return { info, endpoint: { runDirectory: `/mock/run/i/${spec.id}`, mode: 'frames', port: null } };
}

/** All that a measurement looks at. */
interface Now {
  readonly atMs: number;
  readonly capacity: Resources;
  readonly instances: readonly MockInstance[];
  readonly tenants: readonly TenantSpec[];
  /** Where the kernel holds an instance to something else than its grant. */
  readonly heldLimits: ReadonlyMap<InstanceId, HeldLimits>;
  readonly poolSize: number;
}

export function measured(now: Now): ResultOf<Methods['measure']> {
  const instances = now.instances.map(({ info, inUseBytes }) => ({
    id: info.id,
    limits: now.heldLimits.get(info.id) ?? limitsOf(info.grant),
    usage: {
      memoryBytes: inUseBytes,
      workingSetBytes: inUseBytes,
      memoryPeakBytes: inUseBytes,
      cpuUsageMicros: 0,
      cpuThrottledMicros: 0,
      pids: 1,
      ioReadBytes: 0,
      ioWriteBytes: 0,
      oomKills: 0,
    },
  }));
  const tenants = now.tenants.map(({ tenant, memoryBytes, cpuMillicores }) => ({
    tenant,
    memoryBytes: inUseOf(now.instances, tenant),
    memoryLimitBytes: memoryBytes,
    cpuLimitMillicores: cpuMillicores,
    cpuUsageMicros: 0,
  }));
  const usedBytes = instances.reduce((sum, { usage }) => sum + usage.memoryBytes, 0);
  return {
    atMs: now.atMs,
    instances,
    tenants,
    pool: { ready: now.poolSize, memoryBytes: 0 },
    units: [],
    host: {
      memoryAvailableBytes: Math.max(0, now.capacity.memory - usedBytes),
      memoryTotalBytes: now.capacity.memory,
      memoryPressurePercent: 0,
    },
  };
}

export function inUseOf(instances: readonly MockInstance[], tenant: TenantId): number {
  return instances.reduce((sum, { spec, inUseBytes }) => sum + (spec.tenant === tenant ? inUseBytes : 0), 0);
}

function limitsOf({ memory, cpu, storage }: Resources): HeldLimits {
  return { memoryBytes: memory, cpuMillicores: cpu, storageBytes: storage };
}

export function change(
  resource: ResourceKind,
  before: number | null,
  after: number | null,
  wanted: number | null,
  inUse: number,
): ResourceChange {
  const applied = after === wanted;
  const reason = applied ? '' : `${formatResource(resource, inUse)} of ${resource} is in use.`;
  return { resource, before, after, wanted, status: applied ? 'applied' : 'deferred', reason, durationMs: 0 };
}
