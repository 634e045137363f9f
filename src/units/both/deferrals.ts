// Tenants' limits that a part could not apply yet: a limit is in force when it is in both. Owns which parts are still waited for.
// That limits are lowered, and again and again tried, is each part's own.
import type { TenantId } from '../../base/ids.ts';
import type { ResourceKind } from '../../model/resources.ts';
import type { UnitKind } from '../../model/unit-kind.ts';
import type { ResizeResult } from '../../protocol/agent.ts';

type TenantChanges = ResizeResult['tenants'];

export class Deferrals {
  readonly #waitedFor = new Map<TenantId, Map<ResourceKind, Set<UnitKind>>>();

  /** What became of tenants' limits in each part; what was deferred of the same before does not count any more. */
  answered(parts: Readonly<Record<UnitKind, TenantChanges>>): void {
    for (const { tenant, changes } of [...parts.host, ...parts.vm])
      for (const { resource } of changes) this.#waitedFor.get(tenant)?.delete(resource);
    for (const kind of ['host', 'vm'] as const)
      for (const { tenant, changes } of parts[kind])
        for (const { resource, status } of changes)
          if (status === 'deferred') this.#kindsOf(tenant, resource).add(kind);
  }

  /** A part applied what it had deferred. @returns what of it is in force in both now */
  applied(kind: UnitKind, tenants: TenantChanges): TenantChanges {
    return tenants.flatMap(({ tenant, changes }) => {
      const inForce = changes.filter(({ resource }) => {
        const kinds = this.#kindsOf(tenant, resource);
        kinds.delete(kind);
        return kinds.size === 0;
      });
      return inForce.length === 0 ? [] : [{ tenant, changes: inForce }];
    });
  }

  /** A part is away, and another one in its place knows nothing of it. */
  forget(kind: UnitKind): void {
    for (const resources of this.#waitedFor.values())
      for (const kinds of resources.values()) kinds.delete(kind);
  }

  forgetTenant(tenant: TenantId): void {
    this.#waitedFor.delete(tenant);
  }

  #kindsOf(tenant: TenantId, resource: ResourceKind): Set<UnitKind> {
    const resources = this.#waitedFor.get(tenant) ?? new Map<ResourceKind, Set<UnitKind>>();
    this.#waitedFor.set(tenant, resources);
    const kinds = resources.get(resource) ?? new Set();
    resources.set(resource, kinds);
    return kinds;
  }
}
