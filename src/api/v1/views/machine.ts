// Units, gateways, the ledger and the report of a reclaim, as /v1 shows them.
import { z } from 'zod';
import { rungs } from '../../../allocator/reclaim/ladder.ts';
import type {
  GatewayView,
  HibernationReport,
  MoveReport,
  LedgerLine,
  ReclaimReport,
  UnitView,
} from '../../../controller/control-plane.ts';
import { formatResource, resourceKinds } from '../../../model/resources.ts';
import { unitKinds } from '../../../model/unit-kind.ts';
import { agentCapabilities } from '../../../protocol/agent.ts';
import { nameInKey, tenantInKey } from '../../workload-key.ts';
import { connectionsView } from './transaction.ts';
import { maybeQuantityView, quantityView, showMaybe, showSize, sizeView } from './quantities.ts';

export const unitView = z
  .object({
    id: z.string(),
    driver: z.string(),
    state: z.enum(['ready', 'disconnected', 'starting', 'warm', 'bound', 'hibernated', 'stopping']).meta({
      description:
        'This machine is ready or not; a virtual machine is warm until it is bound to a tenant; hibernated, it is on disk with all that runs in it.',
    }),
    tenant: z.string().nullable().meta({
      description: 'Whose virtual machine it is; null for this machine, or one of nobody or of several.',
    }),
    pid: z.number().nullable().meta({
      description: "The host's number of the unit's process; null when the unit is the host, or hibernated.",
    }),
    instances: z.number(),
    provisioned: sizeView,
    claimed: sizeView,
    granted: sizeView,
    used: sizeView,
    host: z
      .object({
        memory: quantityView.meta({
          description: 'Memory of its process that no other shares, by the kernel.',
        }),
        groupMemory: maybeQuantityView.meta({ description: 'Memory charged to its group, by the kernel.' }),
        storage: quantityView.meta({ description: 'Blocks of its scratch disk that the host holds.' }),
      })
      .nullable()
      .meta({
        description:
          "What a virtual machine takes of the host, by the host's own accounting; null for this machine.",
      }),
    capabilities: agentCapabilities
      .nullable()
      .meta({ description: 'What its agent can enforce; null while it is not connected.' }),
  })
  .meta({ id: 'Unit' });

export function showUnit(unit: UnitView): z.infer<typeof unitView> {
  return {
    id: unit.id,
    driver: unit.driver,
    state: unit.state,
    tenant: unit.tenant,
    pid: unit.pid,
    instances: unit.instances,
    provisioned: showSize(unit.provisioned),
    claimed: showSize(unit.claimed),
    granted: showSize(unit.granted),
    used: showSize(unit.used),
    host:
      unit.host === null
        ? null
        : {
            memory: formatResource('memory', unit.host.privateBytes),
            groupMemory: showMaybe('memory', unit.host.groupBytes),
            storage: formatResource('storage', unit.host.storageBytes),
          },
    capabilities: unit.capabilities,
  };
}

export const gatewayView = z
  .object({
    gateway: z.number().meta({
      description:
        'Its place among those that serve together, from 1 on; one that replaces another has the same.',
    }),
    pid: z.number(),
    state: z.enum(['starting', 'serving', 'leaving', 'silent']).meta({
      description:
        'starting: it does not accept yet; leaving: another serves in its place, and it ends with the last of its connections; silent: it did not say within a second.',
    }),
    connections: z.number().nullable().meta({
      description:
        'Of clients, open in its process; what was handed to apps is not there any more. null when it is silent.',
    }),
  })
  .meta({ id: 'Gateway' });

export function showGateway({ pid, place, state, connections }: GatewayView): z.infer<typeof gatewayView> {
  return { gateway: place + 1, pid, state, connections };
}

export const hibernationView = z
  .object({
    unit: z.string(),
    before: quantityView.meta({ description: 'Memory of its process that no other shares, by the kernel.' }),
    after: quantityView,
    stored: quantityView.meta({ description: 'What of the disk is taken instead.' }),
    durationMs: z.number(),
  })
  .meta({ id: 'Hibernation' });

export function showHibernation(unit: string, report: HibernationReport): z.infer<typeof hibernationView> {
  return {
    unit,
    before: formatResource('memory', report.beforeBytes),
    after: formatResource('memory', report.afterBytes),
    stored: formatResource('storage', report.storedBytes),
    durationMs: report.durationMs,
  };
}

export const moveView = z
  .object({
    unit: z.string(),
    pid: z.number().meta({ description: "The host's number of the process that it is now." }),
    copied: quantityView.meta({ description: 'Memory that the new process has of its own.' }),
    pauseMs: z.number().meta({ description: 'How long nothing in it ran.' }),
    durationMs: z.number(),
  })
  .meta({ id: 'Move' });

export function showMove(unit: string, report: MoveReport): z.infer<typeof moveView> {
  const { pid, pauseMs, copiedBytes, durationMs } = report;
  return { unit, pid, copied: formatResource('memory', copiedBytes), pauseMs, durationMs };
}

export const ledgerLineView = z
  .object({
    resource: z.enum(resourceKinds),
    capacity: quantityView,
    provisioned: quantityView.meta({
      description:
        'What units were made with; machines beside this machine are made out of it, and are in `places`.',
    }),
    granted: quantityView,
    used: quantityView,
    claimed: quantityView,
    unallocated: quantityView.meta({
      description: 'Capacity less granted; 0 when as much or more is granted.',
    }),
    oversubscribed: quantityView.meta({
      description: 'Granted less capacity: how much more is granted than there is; 0 when it is not.',
    }),
    places: z
      .array(
        z.object({
          place: z.enum(unitKinds),
          provisioned: quantityView,
          granted: quantityView,
          claimed: quantityView,
        }),
      )
      .meta({ description: 'Where instances run: on this machine itself, in virtual machines.' }),
    tenants: z.array(
      z.object({ tenant: z.string(), limit: maybeQuantityView, granted: quantityView, used: quantityView }),
    ),
  })
  .meta({ id: 'LedgerLine' });

export function showLedgerLine(line: LedgerLine): z.infer<typeof ledgerLineView> {
  const { resource } = line;
  return {
    resource,
    capacity: formatResource(resource, line.capacity),
    provisioned: formatResource(resource, line.provisioned),
    granted: formatResource(resource, line.granted),
    used: formatResource(resource, line.used),
    claimed: formatResource(resource, line.claimed),
    unallocated: formatResource(resource, line.unallocated),
    oversubscribed: formatResource(resource, line.oversubscribed),
    places: line.places.map(({ place, provisioned, granted, claimed }) => ({
      place,
      provisioned: formatResource(resource, provisioned),
      granted: formatResource(resource, granted),
      claimed: formatResource(resource, claimed),
    })),
    tenants: line.tenants.map(({ tenant, limit, granted, used }) => ({
      tenant,
      limit: showMaybe(resource, limit),
      granted: formatResource(resource, granted),
      used: formatResource(resource, used),
    })),
  };
}

export const reclaimView = z
  .object({
    planned: z.boolean().meta({ description: 'Nothing was done: this is what would be.' }),
    wanted: maybeQuantityView.meta({ description: 'null: all that can be found.' }),
    found: quantityView.meta({ description: 'What could be taken.' }),
    claimed: quantityView.meta({
      description:
        'What nobody has to give back before it is needed: trimmed, claimed of virtual machines, or of who was ended.',
    }),
    missing: quantityView.meta({ description: 'What was wanted and nobody had to give.' }),
    freed: quantityView.meta({
      description:
        "By the kernel's figures before and after: charged to tenants, or private to the machines that were asked.",
    }),
    durationMs: z.number(),
    connections: connectionsView,
    from: z
      .array(
        z.object({
          instance: z.string(),
          tenant: z.string(),
          workload: z.string(),
          how: z.enum(rungs).meta({
            description:
              'trim: garbage and clean cache; cache: clean cache alone; claim: trimmed inside its virtual machine, and what nothing there has was claimed of that; terminate: an idle instance of a function was ended.',
          }),
          before: quantityView,
          after: quantityView,
          claimed: quantityView,
        }),
      )
      .meta({
        description: 'In the order in which they were asked; of a plan, what each is expected to have.',
      }),
  })
  .meta({ id: 'ReclaimReport' });

export function showReclaim(report: ReclaimReport): z.infer<typeof reclaimView> {
  const show = (bytes: number): string => formatResource('memory', bytes);
  return {
    planned: report.planned,
    wanted: showMaybe('memory', report.wantedBytes),
    found: show(report.foundBytes),
    claimed: show(report.claimedBytes),
    missing: show(report.missingBytes),
    durationMs: report.durationMs,
    connections: report.connections,
    freed: show(report.freedBytes),
    from: report.from.map(({ instance, workload, how, beforeBytes, afterBytes, claimedBytes }) => ({
      instance,
      tenant: tenantInKey(workload),
      workload: nameInKey(workload),
      how,
      before: show(beforeBytes),
      after: show(afterBytes),
      claimed: show(claimedBytes),
    })),
  };
}
