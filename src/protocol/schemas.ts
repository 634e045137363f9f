// Schemas of the model's values that travel between our own processes, in base units. Owns no behaviour.
import { z } from 'zod';
import type { InstanceId, TenantId, UnitId, WorkloadKey, WorkloadName } from '../base/ids.ts';
import type { Bytes, BytesPerSecond, Millicores } from '../base/quantity.ts';
import { changeStatuses } from '../model/change.ts';
import { instanceStates } from '../model/instance.ts';
import { resourceKinds } from '../model/resources.ts';
import { runtimeNames } from '../model/workload.ts';

const amount = z.number().nonnegative();
/** Our own processes validated these at the edge; here the schema only restores the type. */
export const tenantId = z.string().transform((id) => id as TenantId);
export const workloadName = z.string().transform((name) => name as WorkloadName);
export const workloadKey = z.string().transform((key) => key as WorkloadKey);
export const instanceId = z.string().transform((id) => id as InstanceId);
export const unitId = z.string().transform((id) => id as UnitId);

export const resources = z.object({
  memory: amount.transform((value) => value as Bytes),
  cpu: amount.transform((value) => value as Millicores),
  storage: amount.transform((value) => value as Bytes),
  bandwidth: amount.transform((value) => value as BytesPerSecond),
});

/** What is given back at once when it is needed, whatever is granted meanwhile. Memory alone can be lent like this. */
export const promisedResources = resources.pick({ memory: true });

export const connectionCounts = z.object({ open: amount, closedByClient: amount, closedByServer: amount });

export const instanceUsage = z.object({
  memoryBytes: amount,
  workingSetBytes: amount,
  memoryPeakBytes: amount,
  cpuUsageMicros: amount,
  cpuThrottledMicros: amount,
  pids: amount,
  ioReadBytes: amount,
  ioWriteBytes: amount,
  oomKills: amount,
});

export const instanceInfo = z.object({
  id: instanceId,
  tenant: tenantId,
  workload: workloadKey,
  generation: z.string(),
  kind: z.enum(['app', 'function']),
  unit: unitId,
  state: z.enum(instanceStates),
  pid: z.number().int(),
  startedAtMs: amount,
  grant: resources,
  desired: resources,
  promised: promisedResources.optional(),
  connections: connectionCounts,
});

export const resourceChange = z.object({
  resource: z.enum(resourceKinds),
  before: amount.nullable(),
  after: amount.nullable(),
  wanted: amount.nullable(),
  status: z.enum(changeStatuses),
  reason: z.string(),
  durationMs: amount,
});

export const connectionOutcome = z.object({ open: amount, kept: amount, dropped: amount });

export const instanceChange = z.object({
  instance: instanceId,
  workload: workloadKey,
  tenant: tenantId,
  changes: z.array(resourceChange),
  connections: connectionOutcome,
});

export const tenantChange = z.object({ tenant: tenantId, changes: z.array(resourceChange) });

export const runtimeName = z.enum(runtimeNames);
