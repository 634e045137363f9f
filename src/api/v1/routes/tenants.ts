// /v1/tenants: who may have how much.
import { z } from 'zod';
import type { TenantLimits } from '../../../model/tenant.ts';
import { changeQuery, noQuery, quantityField, tenantField, tenantMemoryField } from '../fields.ts';
import { jsonBody, noBody, route } from '../route.ts';
import { showTenant, tenantView } from '../views/tenant.ts';
import { transactionReply, transactionStatuses, transactionView } from '../views/transaction.ts';

const tag = 'tenants';
const tenantPath = z.strictObject({ tenant: tenantField });

/** No machine holds more sockets, runs more instances or answers more requests a second; beyond it a number is a slip. */
const maxCount = 10_000_000;
const countLimit = z.int().min(0).max(maxCount).nullable().optional();

const limitsFields = z.strictObject({
  memory: tenantMemoryField.nullable().optional(),
  cpu: quantityField('cpu').nullable().optional(),
  storage: quantityField('storage').nullable().optional(),
  bandwidth: quantityField('bandwidth').nullable().optional(),
  connections: countLimit,
  concurrency: countLimit,
  requests: countLimit,
});

const limitsBody = limitsFields.refine((limits) => Object.keys(limits).length > 0, 'name at least one limit');

/** Leaves out what was not named: null means "no limit", absent means "as it is". */
function namedLimits(limits: z.infer<typeof limitsFields>): Partial<TenantLimits> {
  return Object.fromEntries(Object.entries(limits).filter(([, limit]) => limit !== undefined));
}

const tenantBody = z.strictObject({
  limits: limitsFields.optional(),
  weight: z
    .number()
    .min(0.01)
    .max(10_000)
    .optional()
    .meta({ description: 'Share of what is scarce, relative to others.' }),
});

export const tenantRoutes = [
  route({
    operationId: 'listTenants',
    method: 'GET',
    path: '/v1/tenants',
    tag,
    summary: 'All tenants.',
    params: z.strictObject({}),
    query: noQuery,
    body: noBody,
    answer: z.array(tenantView),
    statuses: { 200: 'The tenants.' },
    handle: async ({ control }) => {
      const use = await control.countedUse();
      return {
        status: 200,
        body: control
          .listTenants()
          .map((tenant) =>
            showTenant(tenant, { secret: false, use, metering: control.memoryAccount(tenant.id) }),
          ),
      };
    },
  }),
  route({
    operationId: 'putTenant',
    method: 'PUT',
    path: '/v1/tenants/{tenant}',
    tag,
    summary: 'Makes a tenant, or changes one. The answer that creates it has its secret, this once.',
    params: tenantPath,
    query: noQuery,
    body: jsonBody(tenantBody, { required: false }),
    answer: tenantView,
    statuses: { 200: 'Changed.', 201: 'Created.' },
    handle: async ({ control }, { params, body }) => {
      const { tenant, created } = await control.putTenant(params.tenant, {
        ...(body.limits === undefined ? {} : { limits: namedLimits(body.limits) }),
        ...(body.weight === undefined ? {} : { weight: body.weight }),
      });
      const use = await control.countedUse();
      return {
        status: created ? 201 : 200,
        body: showTenant(tenant, { secret: created, use, metering: control.memoryAccount(tenant.id) }),
      };
    },
  }),
  route({
    operationId: 'getTenant',
    method: 'GET',
    path: '/v1/tenants/{tenant}',
    tag,
    summary: 'One tenant.',
    params: tenantPath,
    query: noQuery,
    body: noBody,
    answer: tenantView,
    statuses: { 200: 'The tenant.' },
    handle: async ({ control }, { params }) => {
      const tenant = control.getTenant(params.tenant);
      const use = await control.countedUse();
      const metering = control.memoryAccount(tenant.id);
      return { status: 200, body: showTenant(tenant, { secret: false, use, metering }) };
    },
  }),
  route({
    operationId: 'deleteTenant',
    method: 'DELETE',
    path: '/v1/tenants/{tenant}',
    tag,
    summary: 'Ends its instances and removes its workloads and itself.',
    params: tenantPath,
    query: noQuery,
    body: noBody,
    answer: z.null(),
    statuses: { 204: 'Gone.' },
    handle: async ({ control }, { params }) => {
      await control.deleteTenant(params.tenant);
      return { status: 204, body: null };
    },
  }),
  route({
    operationId: 'putLimits',
    method: 'PUT',
    path: '/v1/tenants/{tenant}/limits',
    tag,
    summary: 'Changes limits live: any subset, null for no limit. No connection is dropped.',
    params: tenantPath,
    query: changeQuery,
    body: jsonBody(limitsBody),
    answer: transactionView,
    statuses: transactionStatuses,
    handle: async ({ control }, { params, query, body }) =>
      transactionReply(
        await control.setLimits(params.tenant, namedLimits(body), { plan: query.plan, waitMs: query.wait }),
      ),
  }),
];
