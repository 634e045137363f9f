// What gateways must know: routes made from what is wanted and what runs. Pure.
import type { Tenant } from '../../model/tenant.ts';
import type { Workload } from '../../model/workload.ts';
import type { InstanceRoute, TenantRoute, WorkloadRoute } from '../../protocol/routes.ts';
import type { Tracked } from '../state/actual.ts';

export function tenantRouteOf(tenant: Tenant): TenantRoute {
  return {
    id: tenant.id,
    accountId: tenant.accountId,
    accessKeyId: tenant.credentials.accessKeyId,
    secretAccessKey: tenant.credentials.secretAccessKey,
    connectionLimit: tenant.limits.connections,
    concurrencyLimit: tenant.limits.concurrency,
    bandwidthLimit: tenant.limits.bandwidth,
  };
}

export function workloadRouteOf(workload: Workload): WorkloadRoute {
  const isFunction = workload.kind === 'function';
  return {
    key: workload.key,
    tenant: workload.tenant,
    name: workload.name,
    kind: workload.kind,
    generation: workload.generation,
    timeoutMs: isFunction ? workload.timeoutMs : 0,
    memoryBytes: workload.request.memory,
    url: isFunction ? workload.url : true,
    websocketRoutes: isFunction ? [...workload.websocketRoutes] : [],
    reservedConcurrency: isFunction ? workload.reservedConcurrency : null,
  };
}

/** Undefined for an instance that gets nothing new. */
export function instanceRouteOf(tracked: Tracked): InstanceRoute | undefined {
  if (tracked.life.phase !== 'serving') return undefined;
  const { info, endpoint } = tracked.life.known;
  return {
    id: info.id,
    workload: info.workload,
    generation: info.generation,
    endpoint,
    frozen: info.state === 'frozen',
    grant: info.grant,
  };
}

/** Whether a gateway would do anything otherwise. */
export function sameRoute(a: InstanceRoute | undefined, b: InstanceRoute | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
