// What tenants have lent and borrowed of memory: credits, which say who is first at what others do not demand, and metering, which
// says whose it was. Owns both over time, and their copy in the store: written at most once a minute and at the orderly end,
// so that a crash costs a minute. The arithmetic is src/allocator/credits; one key holds all, for the balances add up to 0.
import { z } from 'zod';
import { settle, withoutTenant, type Standing } from '../../allocator/credits/balances.ts';
import { entitlements } from '../../allocator/credits/entitlement.ts';
import type { Balances } from '../../allocator/credits/lend.ts';
import { addMetered, meter, nothingMetered, type Metered } from '../../allocator/credits/metering.ts';
import type { Clock } from '../../base/clock.ts';
import type { TenantId } from '../../base/ids.ts';
import type { Store } from '../../store/port.ts';
import type { Logger } from '../../sys/log.ts';
import type { MemoryAccount } from '../control-plane.ts';
import { promisedMemory, type ActualState } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import { keys } from '../state/records.ts';

/** How often balances are written, and what is divided by them; as long as credit pays for: see horizonSeconds. */
const everyMs = 60_000;
/** What nobody looked at for so long is not accounted for: who had what then is not known. */
const longestMs = 10_000;

const stored = z.object({
  accounts: z.array(
    z.object({
      tenant: z.string().transform((id) => id as TenantId),
      credit: z.number(),
      metered: z.object({ own: z.number(), borrowed: z.number(), lent: z.number(), unused: z.number() }),
    }),
  ),
});

export interface AccountsParts {
  readonly store: Store;
  readonly desired: Pick<DesiredState, 'tenants'>;
  readonly actual: Pick<ActualState, 'all'>;
  /** Memory that may be granted in all; Infinity while that is not known. */
  readonly grantableBytes: () => number;
  readonly clock: Clock;
  readonly log: Logger;
}

export class Accounts {
  readonly #parts: AccountsParts;
  #balances: Balances = new Map();
  #counting: Balances = new Map();
  #metered: ReadonlyMap<TenantId, Metered> = new Map();
  #lastMs: number | undefined;
  #storedMs: number;
  #writing: Promise<void> = Promise.resolve();

  constructor(parts: AccountsParts) {
    this.#parts = parts;
    this.#storedMs = parts.clock.monotonicMs();
  }

  async load(): Promise<void> {
    const entry = await this.#parts.store.get(keys.accounts);
    const known = stored.safeParse(entry?.value);
    if (!known.success) return;
    this.#balances = new Map(known.data.accounts.map(({ tenant, credit }) => [tenant, credit]));
    this.#counting = this.#balances;
    this.#metered = new Map(known.data.accounts.map(({ tenant, metered }) => [tenant, metered]));
  }

  /** As of the last full minute: a division that followed them at each tick would never rest. */
  get balances(): Balances {
    return this.#counting;
  }

  of(tenant: TenantId): MemoryAccount {
    return {
      credit: this.#balances.get(tenant) ?? 0,
      ...(this.#metered.get(tenant) ?? nothingMetered),
    };
  }

  /** Tenants that have credit and hold no more than their own share: asked last when something is taken back. */
  get lenders(): ReadonlySet<TenantId> {
    const room = this.#parts.grantableBytes();
    if (room === Number.POSITIVE_INFINITY) return new Set();
    const lending = this.#standings(room).filter(
      ({ tenant, entitled, given }) => given <= entitled && (this.#balances.get(tenant) ?? 0) > 0,
    );
    return new Set(lending.map(({ tenant }) => tenant));
  }

  /** Accounts for the time since the last tick: everybody had since then what it has now. */
  tick(): void {
    const { clock, desired, grantableBytes } = this.#parts;
    const nowMs = clock.monotonicMs();
    const elapsedMs = nowMs - (this.#lastMs ?? nowMs);
    this.#lastMs = nowMs;
    const room = grantableBytes();
    const tenants = desired.tenants();
    const known = new Set(tenants.map(({ id }) => id));
    for (const tenant of this.#balances.keys())
      if (!known.has(tenant)) this.#balances = withoutTenant(this.#balances, tenant);
    if (elapsedMs > 0 && elapsedMs <= longestMs && room !== Number.POSITIVE_INFINITY)
      this.#account(this.#standings(room), elapsedMs / 1_000);
    if (nowMs - this.#storedMs >= everyMs) {
      this.#storedMs = nowMs;
      this.#counting = this.#balances;
      this.#write();
    }
  }

  /** Writes what is known. */
  async close(): Promise<void> {
    this.#write();
    await this.#writing;
  }

  #account(standings: readonly Standing[], seconds: number): void {
    const metered = meter(standings, this.#balances, seconds);
    this.#balances = settle(this.#balances, standings, seconds);
    this.#metered = new Map(
      [...metered].map(([tenant, now]) => [
        tenant,
        addMetered(this.#metered.get(tenant) ?? nothingMetered, now),
      ]),
    );
  }

  #standings(room: number): Standing[] {
    const { desired, actual } = this.#parts;
    const given = new Map<TenantId, number>();
    for (const tracked of actual.all()) {
      const { tenant } = tracked.spec;
      given.set(tenant, (given.get(tenant) ?? 0) + promisedMemory(tracked));
    }
    const tenants = desired
      .tenants()
      .map(({ id, weight, limits }) => ({ tenant: id, weight, limit: limits.memory }));
    const entitled = entitlements(room, tenants);
    return tenants.map(({ tenant }) => ({
      tenant,
      entitled: entitled.get(tenant) ?? 0,
      given: given.get(tenant) ?? 0,
    }));
  }

  #write(): void {
    const { store, desired, log } = this.#parts;
    const accounts = desired.tenants().map(({ id }) => {
      const { credit, ...metered } = this.of(id);
      return { tenant: id, credit, metered };
    });
    this.#writing = this.#writing
      .then(() => store.put(keys.accounts, { accounts }))
      .then(
        () => undefined,
        (thrown: unknown) => log.warn({ err: thrown }, 'what tenants lent could not be stored'),
      );
  }
}
