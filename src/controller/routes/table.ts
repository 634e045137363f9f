// What gateways must know: routes made from what is wanted and what runs. Pure.
import type { Tenant } from '../../model/tenant.ts';
import type { UnitKind } from '../../model/unit-kind.ts';
import type { WebSocketSettings } from '../../model/websocket.ts';
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
    requestLimit: tenant.limits.requests,
    bandwidthLimit: tenant.limits.bandwidth,
  };
}

/** @param unitKind where its instances start */
export function workloadRouteOf(workload: Workload, unitKind: UnitKind): WorkloadRoute {
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
    invokeMode: isFunction ? workload.invokeMode : undefined,
    directHttp: isFunction ? undefined : workload.directHttp,
    websocket: isFunction ? webSocketRouteOf(workload.websocket) : null,
    reservedConcurrency: isFunction ? workload.reservedConcurrency : null,
    unitKind,
  };
}

function webSocketRouteOf(settings: WebSocketSettings | undefined): WorkloadRoute['websocket'] {
  if (settings === undefined) return null;
  const { routes, routeResponses, ...more } = settings;
  return { ...more, routes: [...routes], ...(routeResponses && { routeResponses: [...routeResponses] }) };
}

/** Undefined for an instance that gets nothing new. */
export function instanceRouteOf({ spec, life }: Tracked): InstanceRoute | undefined {
  const { id, workload, generation } = spec;
  if (life.phase === 'starting' && life.reachable !== null) {
    const { grant } = spec;
    return {
      id,
      workload,
      generation,
      endpoint: life.reachable.endpoint,
      starting: true,
      frozen: false,
      grant,
    };
  }
  if (life.phase !== 'serving') return undefined;
  const { info, endpoint } = life.known;
  const frozen = info.state === 'frozen';
  return { id, workload, generation, endpoint, starting: false, frozen, grant: info.grant };
}

/** Whether a gateway would do anything otherwise. */
export function sameRoute(a: InstanceRoute | undefined, b: InstanceRoute | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
