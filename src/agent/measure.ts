// What is used now: by instances, tenants, the pool and the machine. Reads, decides nothing.
import type { TenantId } from '../base/ids.ts';
import type { AgentProtocol } from '../protocol/agent.ts';
import type { ResultOf } from '../protocol/rpc.ts';
import { hostMemory } from '../sys/host-memory.ts';
import type { Cgroup } from './cgroup/port.ts';
import { groupOfTenant, poolGroup, tenantsGroup } from './groups.ts';
import type { Instance } from './instances/instance.ts';
import type { Sandbox, StoredBytes } from './sandbox/port.ts';

export type Measurement = ResultOf<AgentProtocol['methods']['measure']>;
type HeldLimits = NonNullable<Measurement['instances'][number]['limits']>;

/**
 * The limits that the kernel holds are read of every fourth instance: they move when we write them, and to read all of them
 * would make a measurement of 200 instances a third dearer (7 ms beside 21).
 */
const limitsEvery = 4;

/** @param turn grows by one with each measurement */
export function measure(
  cgroup: Cgroup,
  sandbox: Sandbox,
  instances: readonly Instance[],
  poolReady: number,
  atMs: number,
  turn: number,
): Measurement {
  // Charged in the pool's group, used by instances: it is counted where it is used.
  const before = (of: readonly Instance[]): number =>
    of.reduce((sum, { cell }) => sum + cell.chargedBeforeBytes, 0);
  return {
    atMs,
    instances: instances.map((instance, index) => {
      const stored = storedBy(instance, sandbox);
      return {
        id: instance.id,
        usage: instance.usage(),
        ...(stored === null ? {} : { storageBytes: stored.usedBytes }),
        ...(index % limitsEvery === turn % limitsEvery ? { limits: limitsOf(instance, cgroup, stored) } : {}),
      };
    }),
    tenants: cgroup.children(tenantsGroup).map((name) => {
      const tenant = name as TenantId;
      const { memoryBytes, cpuUsageMicros } = cgroup.usage(groupOfTenant(tenant));
      const limits = cgroup.limits(groupOfTenant(tenant));
      return {
        tenant,
        memoryBytes: memoryBytes + before(instances.filter(({ spec }) => spec.tenant === tenant)),
        memoryLimitBytes: limits.memoryBytes,
        cpuLimitMillicores: limits.cpuMillicores,
        cpuUsageMicros,
      };
    }),
    pool: {
      ready: poolReady,
      memoryBytes: Math.max(0, cgroup.usage(poolGroup).memoryBytes - before(instances)),
    },
    host: hostMemory(),
    units: [],
  };
}

function limitsOf(instance: Instance, cgroup: Cgroup, stored: StoredBytes | null): HeldLimits {
  const { memoryBytes, cpuMillicores } = cgroup.limits(instance.cell.group);
  return { memoryBytes, cpuMillicores, storageBytes: stored?.limitBytes ?? null };
}

/** Nothing of one that is being taken apart. */
function storedBy({ cell }: Instance, sandbox: Sandbox): StoredBytes | null {
  try {
    return sandbox.storedBytes(cell.slot);
  } catch {
    return null;
  }
}
