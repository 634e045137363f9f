// How many client connections each tenant has open, against its limit. Owns the counts. What is carried through the
// gateway is counted until the client's connection closes, or a plain answer is complete; what was handed to an instance
// is counted by that instance's word, and by ours until it has spoken. What becomes of who is refused is not here.
import { BellowsError } from '../../base/errors.ts';
import type { TenantId } from '../../base/ids.ts';
import type { RouteChange } from '../../protocol/routes.ts';

/** Of a gateway that is alone. */
const noNews = (): void => {};
const noOthers = (): Promise<void> => Promise.resolve();

export class TenantConnections {
  readonly tenant: TenantId;
  /** Null: no limit. */
  limit: number | null = null;
  #carried = 0;
  /** What other gateways carry. */
  #elsewhere = 0;
  #handedOver = 0;
  /** Instances that have connections from an earlier gateway, perhaps, and have not told how many. */
  #untold = 0;
  #told = Promise.withResolvers<void>();

  readonly #onCounted: () => void;
  readonly #hearOthers: () => Promise<void>;

  /**
   * @param onCounted one has entered or left, of a tenant that has a limit
   * @param hearOthers has other gateways say what they carry now
   */
  constructor(tenant: TenantId, onCounted = noNews, hearOthers = noOthers) {
    this.tenant = tenant;
    this.#onCounted = onCounted;
    this.#hearOthers = hearOthers;
  }

  get open(): number {
    return this.#carried + this.#elsewhere + this.#handedOver;
  }

  /** What this gateway carries. */
  get carried(): number {
    return this.#carried;
  }

  set elsewhere(count: number) {
    this.#elsewhere = count;
  }

  /**
   * Whether nothing is to be waited for before `enter`: there is no limit, or every instance has told its count, and nobody would be
   * refused for what other gateways said a moment ago.
   */
  get isKnown(): boolean {
    return this.limit === null || (this.#untold === 0 && !this.#isFullByOthers);
  }

  /** Resolves when every instance has told its count, or may be late no longer, and other gateways what they carry now, if it matters. */
  async whenKnown(): Promise<void> {
    if (this.#untold > 0) await this.#told.promise;
    if (this.#isFullByOthers) await this.#hearOthers();
  }

  /** What others carry may have ended since they told. */
  get #isFullByOthers(): boolean {
    return this.limit !== null && this.open >= this.limit && this.open - this.#elsewhere < this.limit;
  }

  /** An instance with connections that are not known yet. @returns to be called once, when they are, or are not waited for */
  expectCount(): () => void {
    if (this.#untold === 0) this.#told = Promise.withResolvers();
    this.#untold += 1;
    return () => {
      this.#untold -= 1;
      if (this.#untold === 0) this.#told.resolve();
    };
  }

  /** Counts one more, unless that would be more than the limit. Those that are open stay, however low the limit. */
  enter(): boolean {
    if (this.limit !== null && this.open >= this.limit) return false;
    this.#carried += 1;
    if (this.limit !== null) this.#onCounted();
    return true;
  }

  /** One that another gateway had let in is carried here from now on, and not there any more. */
  takeOver(): void {
    this.#carried += 1;
    this.#elsewhere -= 1;
  }

  /** One that had left for another gateway is carried here again. */
  takeBack(): void {
    this.#carried += 1;
  }

  /** One that entered is closed, or was handed over and is counted there. No method: it is a listener as it is. */
  readonly leave = (): void => {
    this.#carried -= 1;
    if (this.limit !== null) this.#onCounted();
  };

  /** An instance has so many more connections of its own, or fewer. */
  handedOver(more: number): void {
    this.#handedOver += more;
  }

  /** What is said to whoever does not get in. */
  refusal(): BellowsError {
    const { tenant, open, limit } = this;
    return new BellowsError(
      'LimitReached',
      `The tenant ${tenant} has ${open} connections open, and its limit is ${limit ?? 'none'}.`,
      `Close some, or raise the limit: PUT /v1/tenants/${tenant}/limits {"connections": …}.`,
    );
  }
}

/** All tenants' counts; they outlive a limit's change, and a tenant that is not known yet has no limit. */
export class Connections {
  readonly #tenants = new Map<TenantId, TenantConnections>();
  readonly #onCounted: () => void;
  readonly #hearOthers: () => Promise<void>;

  /** As those of each tenant. */
  constructor(onCounted = noNews, hearOthers = noOthers) {
    this.#onCounted = onCounted;
    this.#hearOthers = hearOthers;
  }

  of(tenant: TenantId): TenantConnections {
    let connections = this.#tenants.get(tenant);
    if (connections !== undefined) return connections;
    connections = new TenantConnections(tenant, this.#onCounted, this.#hearOthers);
    this.#tenants.set(tenant, connections);
    return connections;
  }

  /** What this gateway carries of each tenant that has something. */
  carried(): Map<TenantId, number> {
    const carried = new Map<TenantId, number>();
    for (const { tenant, carried: count } of this.#tenants.values())
      if (count > 0) carried.set(tenant, count);
    return carried;
  }

  /** What all other gateways carry together. */
  setElsewhere(counts: ReadonlyMap<TenantId, number>): void {
    for (const tenant of counts.keys()) this.of(tenant);
    for (const [id, tenant] of this.#tenants) tenant.elsewhere = counts.get(id) ?? 0;
  }

  onChange(change: RouteChange): void {
    if (change.change === 'tenant') this.of(change.tenant.id).limit = change.tenant.connectionLimit;
    else if (change.change === 'tenantGone') this.#tenants.delete(change.id);
  }
}
