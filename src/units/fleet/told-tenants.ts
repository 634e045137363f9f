// What a unit's guest was told of tenants. Owns not telling it again: a start concerns all units of its tenant otherwise, and
// each answer costs a slow guest time that the start needs.
import type { TenantId } from '../../base/ids.ts';
import type { TenantSpec } from '../../protocol/agent.ts';
import type { GuestProtocol } from '../../protocol/guest.ts';
import type { Caller } from '../../protocol/rpc.ts';

export class ToldTenants {
  readonly #guest: Caller<GuestProtocol>;
  readonly #told = new Map<TenantId, string>();

  constructor(guest: Caller<GuestProtocol>) {
    this.#guest = guest;
  }

  /** Resolves when the guest knows what holds of the tenant. @throws BellowsError when it does not answer */
  async ensure(spec: TenantSpec): Promise<void> {
    const text = JSON.stringify(spec);
    if (this.#told.get(spec.tenant) === text) return;
    await this.#guest.call('ensureTenant', spec);
    this.#told.set(spec.tenant, text);
  }

  /** It is being told in another way, or is another guest: nothing is known of what it knows. */
  forget(tenant?: TenantId): void {
    if (tenant === undefined) this.#told.clear();
    else this.#told.delete(tenant);
  }
}
