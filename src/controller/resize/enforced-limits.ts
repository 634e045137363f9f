// Tenants' limits that the kernel holds where they are not yet the stored ones: a deferred shrink leaves the old
// limit in force. Owns that memory; it is filled again from the agent's answers after a restart.
import type { ResourceLimits } from '../../allocator/plan-input.ts';
import type { TenantId } from '../../base/ids.ts';
import type { ResourceChange, TenantChange } from '../../model/change.ts';

export class EnforcedLimits {
  readonly #limits = new Map<TenantId, Partial<ResourceLimits>>();

  get all(): ReadonlyMap<TenantId, Partial<ResourceLimits>> {
    return this.#limits;
  }

  /** Undefined when everything stored is in force. */
  of(tenant: TenantId): Partial<ResourceLimits> | undefined {
    return this.#limits.get(tenant);
  }

  /** Takes the agent's word on what became of limits. */
  note(changes: readonly TenantChange[]): void {
    for (const { tenant, changes: parts } of changes) {
      const late = new Map(Object.entries(this.#limits.get(tenant) ?? {}));
      for (const part of parts) {
        if (part.status === 'applied') late.delete(part.resource);
        else late.set(part.resource, limitOf(part));
      }
      if (late.size === 0) this.#limits.delete(tenant);
      else this.#limits.set(tenant, Object.fromEntries(late));
    }
  }

  forget(tenant: TenantId): void {
    this.#limits.delete(tenant);
  }
}

function limitOf(change: ResourceChange): ResourceLimits[ResourceChange['resource']] {
  return change.after as ResourceLimits[ResourceChange['resource']];
}
