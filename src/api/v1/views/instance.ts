// An instance as /v1 shows it: who it is, and for each resource what it would use, may use, uses and gave back.
import { z } from 'zod';
import type { InstanceView } from '../../../controller/control-plane.ts';
import { instanceStates } from '../../../model/instance.ts';
import { formatResource } from '../../../model/resources.ts';
import { nameInKey } from '../../workload-key.ts';
import { perResource, quantityView, showTime, timeView } from './quantities.ts';

const holding = z
  .object({
    demand: quantityView,
    grant: quantityView,
    used: quantityView,
    claimed: quantityView,
    desired: quantityView
      .optional()
      .meta({ description: 'What it is to be given as soon as it is safe; absent when it has it.' }),
    promised: quantityView
      .optional()
      .meta({ description: 'What it has back at once when it needs it, while others have a part of it.' }),
    requested: quantityView.optional().meta({
      description:
        'What was asked for it, while it needs more than it is granted and there is no room for that.',
    }),
    strain: z.enum(['near', 'waiting']).optional().meta({
      description: 'It has come near what it is granted, or waits there for more; absent when neither is so.',
    }),
    reason: z.string().optional().meta({ description: 'Why it is granted no more; beside `strain`.' }),
  })
  .meta({ id: 'Holding' });

export const instanceView = z
  .object({
    id: z.string(),
    tenant: z.string(),
    workload: z.string(),
    kind: z.enum(['app', 'function']),
    generation: z.string(),
    unit: z.string(),
    state: z.enum(instanceStates),
    pid: z
      .number()
      .meta({ description: "The host's number of its process; in a virtual machine, the guest's." }),
    unitPid: z
      .number()
      .optional()
      .meta({ description: "In a virtual machine: the host's number of that machine's process." }),
    startedAt: timeView,
    connections: z.number().meta({ description: 'Client connections open now.' }),
    connectionCounts: z.object({ open: z.number(), closedByClient: z.number(), closedByServer: z.number() }),
    memory: holding,
    cpu: holding,
    storage: holding,
    bandwidth: holding,
    memoryPeak: quantityView,
    oomKills: z.number(),
  })
  .meta({ id: 'Instance' });

export function showInstance(instance: InstanceView): z.infer<typeof instanceView> {
  return {
    id: instance.id,
    tenant: instance.tenant,
    workload: nameInKey(instance.workload),
    kind: instance.kind,
    generation: instance.generation,
    unit: instance.unit,
    state: instance.state,
    pid: instance.pid,
    ...(instance.unitPid === null ? {} : { unitPid: instance.unitPid }),
    startedAt: showTime(instance.startedAtMs),
    connections: instance.connections.open,
    connectionCounts: instance.connections,
    ...perResource((kind) => ({
      demand: formatResource(kind, instance.demand[kind]),
      grant: formatResource(kind, instance.grant[kind]),
      used: formatResource(kind, instance.used[kind]),
      claimed: formatResource(kind, instance.claimed[kind]),
      ...(instance.desired[kind] === instance.grant[kind]
        ? {}
        : { desired: formatResource(kind, instance.desired[kind]) }),
      ...(kind === 'memory' && instance.promised !== undefined
        ? { promised: formatResource(kind, instance.promised.memory) }
        : {}),
      ...(kind === 'memory' && instance.strain !== undefined
        ? {
            requested: formatResource(kind, instance.strain.requestedBytes),
            strain: instance.strain.is,
            reason: instance.strain.reason,
          }
        : {}),
    })),
    memoryPeak: formatResource('memory', instance.usage.memoryPeakBytes),
    oomKills: instance.usage.oomKills,
  };
}
