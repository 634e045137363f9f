// What the controller has told the gateway: tenants, workloads, instances, and how requests find them.
// Owns lookup and the difference of two tables. Does not own what follows from a change (functions.ts, apps.ts).
import type { InstanceId, TenantId, WorkloadKey } from '../base/ids.ts';
import type { InstanceRoute, RouteChange, TenantRoute, WorkloadRoute } from '../protocol/routes.ts';

export interface WholeTable {
  readonly tenants: readonly TenantRoute[];
  readonly workloads: readonly WorkloadRoute[];
  readonly instances: readonly InstanceRoute[];
  readonly retiring?: readonly InstanceId[] | undefined;
}

/** `NAME.TENANT.localhost`: host names are case-insensitive, so this is the lower-case form. */
function hostOf(workload: WorkloadRoute): string {
  return `${workload.name}.${workload.tenant}.localhost`.toLowerCase();
}

export class RouteTable {
  readonly #tenants = new Map<TenantId, TenantRoute>();
  readonly #workloads = new Map<string, WorkloadRoute>();
  readonly #instances = new Map<InstanceId, InstanceRoute>();
  readonly #tenantsByAccessKey = new Map<string, TenantRoute>();
  readonly #workloadsByHost = new Map<string, WorkloadRoute>();

  tenantIds(): TenantId[] {
    return [...this.#tenants.keys()];
  }

  tenant(id: TenantId): TenantRoute | undefined {
    return this.#tenants.get(id);
  }

  tenantByAccessKey(accessKeyId: string): TenantRoute | undefined {
    return this.#tenantsByAccessKey.get(accessKeyId);
  }

  /** @param key `TENANT/NAME`; from a path it may be anything */
  workload(key: string): WorkloadRoute | undefined {
    return this.#workloads.get(key);
  }

  /** @param host lower case, without a port */
  workloadByHost(host: string): WorkloadRoute | undefined {
    return this.#workloadsByHost.get(host);
  }

  instance(id: InstanceId): InstanceRoute | undefined {
    return this.#instances.get(id);
  }

  /** What turns this table into `next`, in an order that never names something before it exists. */
  changesTo(next: WholeTable): RouteChange[] {
    const tenants = new Set(next.tenants.map(({ id }) => id));
    const workloads = new Set<string>(next.workloads.map(({ key }) => key));
    const instances = new Set([...next.instances.map(({ id }) => id), ...(next.retiring ?? [])]);
    const changes: RouteChange[] = [
      ...next.tenants.map((tenant): RouteChange => ({ change: 'tenant', tenant })),
      ...next.workloads.map((workload): RouteChange => ({ change: 'workload', workload })),
      ...next.instances.map((instance): RouteChange => ({ change: 'instance', instance })),
    ];
    for (const { id, workload } of this.#instances.values()) {
      const reason = 'it ended while the controller was away';
      if (!instances.has(id))
        changes.push({ change: 'instanceGone', id, workload, reason, oomKilled: false });
    }
    for (const { key } of this.#workloads.values()) {
      if (!workloads.has(key)) changes.push({ change: 'workloadGone', key });
    }
    for (const id of this.#tenants.keys()) {
      if (!tenants.has(id)) changes.push({ change: 'tenantGone', id });
    }
    return changes;
  }

  apply(change: RouteChange): void {
    switch (change.change) {
      case 'tenant':
        this.#forgetTenant(change.tenant.id);
        this.#tenants.set(change.tenant.id, change.tenant);
        this.#tenantsByAccessKey.set(change.tenant.accessKeyId, change.tenant);
        return;
      case 'tenantGone':
        this.#forgetTenant(change.id);
        return;
      case 'workload':
        this.#workloads.set(change.workload.key, change.workload);
        this.#workloadsByHost.set(hostOf(change.workload), change.workload);
        return;
      case 'workloadGone':
        this.#forgetWorkload(change.key);
        return;
      case 'instance':
        this.#instances.set(change.instance.id, change.instance);
        return;
      case 'instanceGone':
        this.#instances.delete(change.id);
    }
  }

  #forgetTenant(id: TenantId): void {
    const tenant = this.#tenants.get(id);
    if (tenant !== undefined) this.#tenantsByAccessKey.delete(tenant.accessKeyId);
    this.#tenants.delete(id);
  }

  #forgetWorkload(key: WorkloadKey): void {
    const workload = this.#workloads.get(key);
    if (workload !== undefined && this.#workloadsByHost.get(hostOf(workload))?.key === key) {
      this.#workloadsByHost.delete(hostOf(workload));
    }
    this.#workloads.delete(key);
  }
}
