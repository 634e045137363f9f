// The answer to everything that changes grants, with quantities in notation.
import { z } from 'zod';
import { nameInKey } from '../../workload-key.ts';
import {
  changeStatuses,
  type ChangeStatus,
  type CountChange,
  type ResourceChange,
  type Transaction,
} from '../../../model/change.ts';
import { resourceKinds } from '../../../model/resources.ts';
import { countedLimits, isCountedLimit } from '../../../model/tenant.ts';
import { maybeQuantityView, showMaybe } from './quantities.ts';

const statusView = z.enum(changeStatuses);

const changeView = z
  .object({
    resource: z.enum(resourceKinds),
    before: maybeQuantityView,
    after: maybeQuantityView,
    wanted: maybeQuantityView,
    status: statusView,
    reason: z.string().meta({ description: 'Why it was not applied; empty when it was.' }),
    durationMs: z.number(),
  })
  .meta({ id: 'ResourceChange' });

const countView = z.number().nullable().meta({ description: 'Null is no limit.' });
const countChangeView = z
  .object({
    resource: z.enum(countedLimits),
    before: countView,
    after: countView,
    wanted: countView,
    status: statusView,
    reason: z.string(),
    durationMs: z.number(),
  })
  .meta({ id: 'CountChange', description: 'What became of a limit that gateways count.' });

export const connectionsView = z
  .object({ open: z.number(), kept: z.number(), dropped: z.number() })
  .meta({ id: 'ConnectionOutcome', description: 'What the change did to client connections.' });

export const transactionView = z
  .object({
    id: z.string(),
    status: statusView,
    reason: z.string(),
    plan: z.boolean().meta({ description: 'Whether nothing was done, only said.' }),
    durationMs: z.number(),
    connections: connectionsView,
    tenants: z.array(
      z.object({ tenant: z.string(), changes: z.array(z.union([changeView, countChangeView])) }),
    ),
    instances: z.array(
      z.object({
        instance: z.string(),
        workload: z.string(),
        tenant: z.string(),
        changes: z.array(changeView),
        connections: connectionsView,
      }),
    ),
  })
  .meta({ id: 'Transaction' });

/** A deferred change is accepted and goes on by itself; an infeasible one was understood and can not be. */
const httpStatus: Readonly<Record<ChangeStatus, number>> = { applied: 200, deferred: 202, infeasible: 422 };

export const transactionStatuses = {
  200: 'Applied, or planned and feasible now.',
  202: 'Deferred: it is applied by itself as soon as usage allows.',
  422: 'Infeasible; nothing was changed.',
} as const;

/** To the microsecond: further digits are the clock's noise. */
function roundedMs(durationMs: number): number {
  return Math.round(durationMs * 1_000) / 1_000;
}

function showChange(change: ResourceChange): z.infer<typeof changeView> {
  const { resource, before, after, wanted, status, reason, durationMs } = change;
  return {
    resource,
    before: showMaybe(resource, before),
    after: showMaybe(resource, after),
    wanted: showMaybe(resource, wanted),
    status,
    reason,
    durationMs: roundedMs(durationMs),
  };
}

function isCount(change: ResourceChange | CountChange): change is CountChange {
  return isCountedLimit(change.resource);
}

function showLimitChange(
  change: ResourceChange | CountChange,
): z.infer<typeof changeView> | z.infer<typeof countChangeView> {
  return isCount(change) ? { ...change, durationMs: roundedMs(change.durationMs) } : showChange(change);
}

/** Where the time went, as browsers show it: stages overlap, so that they may come to more than the total. */
function serverTiming({ stages, durationMs }: Pick<Transaction, 'stages' | 'durationMs'>): string {
  return [...stages, { name: 'total', durationMs }]
    .map((stage) => `${stage.name};dur=${roundedMs(stage.durationMs)}`)
    .join(', ');
}

export function transactionReply(transaction: Transaction): {
  status: number;
  body: z.infer<typeof transactionView>;
  headers: Readonly<Record<string, string>>;
} {
  const { id, status, reason, planned, durationMs, connections } = transaction;
  return {
    status: httpStatus[status],
    headers: { 'Server-Timing': serverTiming(transaction) },
    body: {
      id,
      status,
      reason,
      plan: planned,
      durationMs: roundedMs(durationMs),
      connections,
      tenants: transaction.tenants.map(({ tenant, changes }) => ({
        tenant,
        changes: changes.map(showLimitChange),
      })),
      instances: transaction.instances.map((instance) => ({
        instance: instance.instance,
        workload: nameInKey(instance.workload),
        tenant: instance.tenant,
        changes: instance.changes.map(showChange),
        connections: instance.connections,
      })),
    },
  };
}
