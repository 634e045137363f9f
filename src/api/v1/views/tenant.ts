// A tenant as /v1 shows it. Its secret is shown once, to whoever created it.
import { z } from 'zod';
import type { TenantId } from '../../../base/ids.ts';
import type { MemoryAccount } from '../../../controller/control-plane.ts';
import { noCountedUse, type CountedUse, type Tenant, type TenantLimits } from '../../../model/tenant.ts';
import { maybeQuantityView, showMaybe, showTime, timeView } from './quantities.ts';

const limitsView = z
  .object({
    memory: maybeQuantityView,
    cpu: maybeQuantityView,
    storage: maybeQuantityView,
    bandwidth: maybeQuantityView,
    connections: z.number().nullable(),
    concurrency: z.number().nullable(),
    requests: z.number().nullable().meta({ description: 'A second.' }),
  })
  .meta({ id: 'TenantLimits', description: 'The most a tenant may be allocated; null is no limit.' });

export const tenantView = z
  .object({
    id: z.string(),
    accountId: z.string().meta({ description: "Twelve digits, as in its functions' ARNs." }),
    limits: limitsView,
    inUse: z
      .object({ connections: z.number(), concurrency: z.number(), requests: z.number() })
      .nullable()
      .meta({
        description:
          'Client connections open at apps, invocations that run or wait, and the requests of the last whole second; null when ' +
          'no gateway says so.',
      }),
    weight: z.number(),
    metering: z
      .object({
        own: z.number(),
        borrowed: z.number(),
        lent: z.number(),
        unused: z.number(),
        credit: z.number(),
      })
      .meta({
        description:
          'Memory over time, in byte-seconds: what it had of its own share and of what others lent; what of its share others ' +
          'had, which is not charged to it, or nobody; and what it lent without having had it back, less than 0 for a borrower.',
      }),
    uid: z.number().meta({ description: "The user that the tenant's instances run as." }),
    createdAt: timeView,
    accessKeyId: z.string(),
    secretAccessKey: z
      .string()
      .optional()
      .meta({ description: 'Only in the answer that creates the tenant.' }),
  })
  .meta({ id: 'Tenant' });

function showLimits(limits: TenantLimits): z.infer<typeof limitsView> {
  return {
    memory: showMaybe('memory', limits.memory),
    cpu: showMaybe('cpu', limits.cpu),
    storage: showMaybe('storage', limits.storage),
    bandwidth: showMaybe('bandwidth', limits.bandwidth),
    connections: limits.connections,
    concurrency: limits.concurrency,
    requests: limits.requests,
  };
}

export function showTenant(
  tenant: Tenant,
  options: {
    readonly secret: boolean;
    /** What all tenants have; null when it is not known. */
    readonly use: ReadonlyMap<TenantId, CountedUse> | null;
    readonly metering: MemoryAccount;
  },
): z.infer<typeof tenantView> {
  return {
    id: tenant.id,
    accountId: tenant.accountId,
    limits: showLimits(tenant.limits),
    inUse: options.use === null ? null : (options.use.get(tenant.id) ?? noCountedUse),
    weight: tenant.weight,
    metering: options.metering,
    uid: tenant.uid,
    createdAt: showTime(tenant.createdAtMs),
    accessKeyId: tenant.credentials.accessKeyId,
    ...(options.secret ? { secretAccessKey: tenant.credentials.secretAccessKey } : {}),
  };
}
