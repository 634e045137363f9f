// What the fake control plane says runs, and where, with figures of every kind that the APIs show. Tests only.
import type { InstanceId, UnitId } from '../../base/ids.ts';
import { mib, type Bytes } from '../../base/quantity.ts';
import type { ControlPlane, InstanceView } from '../../controller/control-plane.ts';
import { noUsage } from '../../controller/views.ts';
import { resourceKinds, type Resources } from '../../model/resources.ts';
import type { Tenant } from '../../model/tenant.ts';
import { defaultRequest, type Workload } from '../../model/workload.ts';

export const theInstance = 'i-0123456789ab' as InstanceId;
const emptyResources = { memory: 0, cpu: 0, storage: 0, bandwidth: 0 } as Resources;

/** One runs of each workload. */
export function instanceOf(workload: Workload, startedAtMs: number): InstanceView {
  return {
    id: theInstance,
    tenant: workload.tenant,
    workload: workload.key,
    generation: workload.generation,
    kind: workload.kind,
    unit: 'host' as UnitId,
    state: 'idle',
    pid: 4_321,
    startedAtMs,
    grant: workload.request,
    desired: { ...workload.request, memory: (64 * mib) as Bytes },
    promised: { memory: (128 * mib) as Bytes },
    strain: { is: 'waiting', requestedBytes: 256 * mib, reason: 'Others have the rest.' },
    connections: { open: 2, closedByClient: 1, closedByServer: 0 },
    usage: {
      ...noUsage,
      memoryBytes: 90 * mib,
      workingSetBytes: 80 * mib,
      memoryPeakBytes: 100 * mib,
      cpuUsageMicros: 1,
      pids: 7,
    },
    demand: { ...emptyResources, memory: (81 * mib + 5) as Bytes },
    used: { ...emptyResources, memory: (80 * mib) as Bytes },
    claimed: emptyResources,
    unitPid: null,
  };
}

export const hostUnit: Awaited<ReturnType<ControlPlane['units']>>[number] = {
  id: 'host',
  driver: 'host',
  state: 'ready',
  pid: null,
  tenant: null,
  instances: 1,
  warm: 3,
  capabilities: null,
  ...{ provisioned: defaultRequest, granted: defaultRequest },
  ...{ claimed: emptyResources, used: emptyResources },
  host: null,
};

export function ledgerOf(tenants: readonly Tenant[]): Awaited<ReturnType<ControlPlane['ledger']>> {
  return resourceKinds.map((resource) => ({
    resource,
    capacity: 1_000_000,
    provisioned: 1_000_000,
    granted: 1_500_000,
    used: 250_000,
    claimed: 0,
    unallocated: 0,
    oversubscribed: 500_000,
    places: [{ place: 'host' as const, provisioned: 1_000_000, granted: 1_500_000, claimed: 0 }],
    tenants: tenants.map((tenant) => ({
      tenant: tenant.id,
      ...{ limit: null, granted: 1_500_000, used: 250_000 },
    })),
  }));
}
