// What is wanted: tenants and workloads, durable first and mirrored in memory. Owns their records and the giving
// out of user numbers. Does not own what runs (./actual.ts), nor making it so (../reconcile).
import { BellowsError } from '../../base/errors.ts';
import type { TenantId, WorkloadKey, WorkloadName } from '../../base/ids.ts';
import { workloadKey } from '../../base/ids.ts';
import { unlimited, type Tenant } from '../../model/tenant.ts';
import type { Workload } from '../../model/workload.ts';
import type { Store } from '../../store/port.ts';
import { CachedKeys } from './cached-keys.ts';
import { keys, type WorkloadRecord } from './records.ts';

/**
 * The user numbers of tenants. systemd's "Users, Groups, UIDs and GIDs" leaves 1,879,048,192 to 2,147,483,647
 * unused: no distribution, container manager or dynamic user takes one of these.
 */
export const tenantUids = { first: 1_900_000_000, last: 2_147_483_647 } as const;

export class DesiredState {
  readonly #store: Store;
  readonly #tenants: CachedKeys<Tenant>;
  readonly #workloads: CachedKeys<WorkloadRecord>;
  readonly #byAccessKey = new Map<string, TenantId>();

  constructor(store: Store) {
    this.#store = store;
    this.#tenants = new CachedKeys(store, keys.tenants);
    this.#workloads = new CachedKeys(store, keys.workloads);
  }

  async load(): Promise<void> {
    await this.#tenants.load();
    await this.#completeLimits();
    await this.#workloads.load();
    for (const tenant of this.#tenants.values())
      this.#byAccessKey.set(tenant.credentials.accessKeyId, tenant.id);
  }

  /** Tenants that an earlier version stored know nothing of limits that came later. */
  async #completeLimits(): Promise<void> {
    for (const id of this.#tenants.ids()) {
      await this.#tenants.update(id, (tenant) => {
        const isComplete = Object.keys(unlimited).every((limit) => limit in (tenant?.limits ?? unlimited));
        return tenant === undefined || isComplete
          ? tenant
          : { ...tenant, limits: { ...unlimited, ...tenant.limits } };
      });
    }
  }

  tenant(id: TenantId): Tenant | undefined {
    return this.#tenants.get(id);
  }

  /** @throws BellowsError NotFound */
  requireTenant(id: TenantId): Tenant {
    const tenant = this.tenant(id);
    if (tenant !== undefined) return tenant;
    throw new BellowsError(
      'NotFound',
      `There is no tenant ${id}.`,
      'Make it with `bellows tenants create NAME`, or list tenants with `bellows tenants`.',
    );
  }

  tenants(): Tenant[] {
    return this.#tenants.values();
  }

  tenantByAccessKey(accessKeyId: string): Tenant | undefined {
    const id = this.#byAccessKey.get(accessKeyId);
    return id === undefined ? undefined : this.tenant(id);
  }

  async putTenant(id: TenantId, change: (present: Tenant | undefined) => Tenant): Promise<Tenant> {
    const tenant = await this.#tenants.update(id, change);
    this.#byAccessKey.set(tenant.credentials.accessKeyId, id);
    return tenant;
  }

  async removeTenant(id: TenantId): Promise<void> {
    const tenant = this.tenant(id);
    await this.#tenants.update(id, () => undefined);
    if (tenant !== undefined) this.#byAccessKey.delete(tenant.credentials.accessKeyId);
  }

  /** A user number that no tenant had before, also not one that is gone: its left files must not become another's. */
  async takeUid(): Promise<number> {
    for (;;) {
      const entry = await this.#store.get<number>(keys.nextUid);
      const uid = entry?.value ?? tenantUids.first;
      if (uid > tenantUids.last)
        throw new BellowsError('LimitReached', 'Every user number for tenants has been given out.');
      try {
        await this.#store.put(keys.nextUid, uid + 1, { expect: entry?.revision ?? 0 });
        return uid;
      } catch (thrown) {
        if (!(thrown instanceof BellowsError) || thrown.code !== 'Conflict') throw thrown;
      }
    }
  }

  record(key: WorkloadKey): WorkloadRecord | undefined {
    return this.#workloads.get(key);
  }

  records(): WorkloadRecord[] {
    return this.#workloads.values();
  }

  keys(): WorkloadKey[] {
    return this.#workloads.ids() as WorkloadKey[];
  }

  /** What clients see: not a deployment that has yet to listen. */
  workload(key: WorkloadKey): Workload | undefined {
    return this.#workloads.get(key)?.current ?? undefined;
  }

  /** @throws BellowsError NotFound */
  requireWorkload(tenant: TenantId, name: WorkloadName): Workload {
    const workload = this.workload(workloadKey(tenant, name));
    if (workload !== undefined) return workload;
    throw new BellowsError(
      'NotFound',
      `Tenant ${tenant} has no workload ${name}.`,
      'Deploy it with `bellows deploy DIR`, or list workloads with `bellows ps`.',
    );
  }

  workloads(tenant?: TenantId): Workload[] {
    const all: Workload[] = [];
    for (const { current } of this.#workloads.values()) {
      if (current !== null && (tenant === undefined || current.tenant === tenant)) all.push(current);
    }
    return all.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  }

  putRecord(
    key: WorkloadKey,
    change: (present: WorkloadRecord | undefined) => WorkloadRecord | undefined,
  ): Promise<WorkloadRecord | undefined> {
    return this.#workloads.update(key, change);
  }

  /** Changes what clients see of a workload. @throws BellowsError NotFound when it is gone meanwhile */
  async putCurrent(key: WorkloadKey, change: (present: Workload) => Workload): Promise<Workload> {
    const removed = (): BellowsError => new BellowsError('NotFound', `The workload ${key} has been removed.`);
    const record = await this.#workloads.update(key, (present): WorkloadRecord => {
      const current = present?.current ?? null;
      if (current === null) throw removed();
      return { current: change(current), candidate: present?.candidate ?? null };
    });
    if (record.current === null) throw removed();
    return record.current;
  }
}
