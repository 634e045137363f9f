// Tells gateways of every change of what they must know. Owns what they were told last of each instance, so that
// only what makes a difference is sent.
import type { InstanceId, TenantId, WorkloadKey } from '../../base/ids.ts';
import type { z } from 'zod';
import type { Tenant } from '../../model/tenant.ts';
import type { Workload } from '../../model/workload.ts';
import type { InstanceRoute, routeTable, WorkloadRoute } from '../../protocol/routes.ts';
import type { Places } from '../places.ts';
import type { ActualState, Change, Tracked } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import type { Gateways } from './gateways.ts';
import { instanceRouteOf, sameRoute, tenantRouteOf, workloadRouteOf } from './table.ts';

export class RoutePublisher {
  readonly #gateways: Gateways;
  readonly #places: Places;
  readonly #desired: DesiredState;
  readonly #actual: ActualState;
  readonly #told = new Map<InstanceId, InstanceRoute>();

  constructor(gateways: Gateways, desired: DesiredState, actual: ActualState, places: Places) {
    this.#gateways = gateways;
    this.#places = places;
    this.#desired = desired;
    this.#actual = actual;
    actual.onChange((change) => this.#onInstance(change));
  }

  tenant(tenant: Tenant): void {
    this.#gateways.push({ change: 'tenant', tenant: tenantRouteOf(tenant) });
  }

  tenantGone(id: TenantId): void {
    this.#gateways.push({ change: 'tenantGone', id });
  }

  workload(workload: Workload): void {
    this.#gateways.push({ change: 'workload', workload: this.#workloadRoute(workload) });
    // Instances of a deployment that was on trial until now.
    for (const tracked of this.#actual.ofWorkload(workload.key)) this.#tell(tracked);
  }

  workloadGone(key: WorkloadKey): void {
    this.#gateways.push({ change: 'workloadGone', key });
  }

  /** Everything, for a gateway that comes. */
  table(): z.infer<typeof routeTable> {
    return {
      tenants: this.#desired.tenants().map(tenantRouteOf),
      workloads: this.#desired.workloads().map((workload) => this.#workloadRoute(workload)),
      instances: this.#actual.all().flatMap((tracked) => this.#routeOf(tracked) ?? []),
      retiring: this.#actual.all().flatMap(({ spec, life }) => (life.phase === 'retiring' ? [spec.id] : [])),
    };
  }

  #workloadRoute(workload: Workload): WorkloadRoute {
    return workloadRouteOf(workload, this.#places.of(workload));
  }

  #onInstance(change: Change): void {
    const { id, workload } = change.tracked.spec;
    if (change.type === 'gone') {
      // Also for one that was never told of: a gateway may know it from before this controller's time.
      this.#told.delete(id);
      this.#gateways.push({
        change: 'instanceGone',
        id,
        workload,
        reason: change.why,
        oomKilled: change.oomKilled,
      });
      return;
    }
    this.#tell(change.tracked);
  }

  #tell(tracked: Tracked): void {
    const { id } = tracked.spec;
    const route = this.#routeOf(tracked);
    // One that retires keeps its route in the gateway until it is gone: what is in flight belongs to it.
    if (route === undefined || sameRoute(route, this.#told.get(id))) return;
    this.#told.set(id, route);
    this.#gateways.push({ change: 'instance', instance: route });
  }

  /** Undefined for what gets nothing yet or any more: a deployment on trial has no workload in the table. */
  #routeOf(tracked: Tracked): InstanceRoute | undefined {
    const record = this.#desired.record(tracked.spec.workload);
    const isOnTrial = record?.candidate?.generation === tracked.spec.generation;
    const isKnown = this.#desired.workload(tracked.spec.workload) !== undefined;
    return isKnown && !isOnTrial ? instanceRouteOf(tracked) : undefined;
  }
}
