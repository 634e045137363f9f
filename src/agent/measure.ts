// What is used now: by instances, tenants, the pool and the machine. Reads, decides nothing.
import { readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';
import type { TenantId } from '../base/ids.ts';
import type { AgentProtocol } from '../protocol/agent.ts';
import type { ResultOf } from '../protocol/rpc.ts';
import type { Cgroup } from './cgroup/port.ts';
import { groupOfTenant, poolGroup, tenantsGroup } from './groups.ts';
import type { Instance } from './instances/instance.ts';
import type { Sandbox } from './sandbox/port.ts';

export type Measurement = ResultOf<AgentProtocol['methods']['measure']>;

export function measure(
  cgroup: Cgroup,
  sandbox: Sandbox,
  instances: readonly Instance[],
  poolReady: number,
  atMs: number,
): Measurement {
  // Charged in the pool's group, used by instances: it is counted where it is used.
  const before = (of: readonly Instance[]): number =>
    of.reduce((sum, { cell }) => sum + cell.chargedBeforeBytes, 0);
  return {
    atMs,
    instances: instances.map((instance) => ({
      id: instance.id,
      usage: instance.usage(),
      ...storageOf(instance, sandbox),
    })),
    tenants: cgroup.children(tenantsGroup).map((name) => {
      const tenant = name as TenantId;
      const { memoryBytes, cpuUsageMicros } = cgroup.usage(groupOfTenant(tenant));
      return {
        tenant,
        memoryBytes: memoryBytes + before(instances.filter(({ spec }) => spec.tenant === tenant)),
        memoryLimitBytes: cgroup.limits(groupOfTenant(tenant)).memoryBytes,
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

/** Nothing of one that is being taken apart. */
function storageOf({ cell }: Instance, sandbox: Sandbox): { storageBytes?: number } {
  try {
    const storageBytes = sandbox.storedBytes(cell.slot);
    return storageBytes === null ? {} : { storageBytes };
  } catch {
    return {};
  }
}

function hostMemory(): Measurement['host'] {
  let text = '';
  try {
    text = readFileSync('/proc/meminfo', 'latin1');
  } catch {
    // Not Linux: the rougher figure, which leaves out what caches could give back.
  }
  const availableKib = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  return {
    memoryAvailableBytes: availableKib === undefined ? freemem() : Number(availableKib) * 1024,
    memoryTotalBytes: totalmem(),
  };
}
