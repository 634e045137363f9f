// How much memory the bodies of requests hold that the gateway reads whole, against what all of them together may hold.
// Owns the counts. Who is refused what, and reading, is not here.
//
// What only says that it is a tenant's has a share of its own beside the tenant's, until that is proven: whoever knows the
// tenant's name or key can fill that share, and nobody who can sign is turned away for it.
//
// A tenant may hold as much as is left over: alone it has at most half of all, of two each a third, of n each a share of
// n + 1. So whoever comes new finds room, whatever the others do, and nobody's share has to be set.
import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';
import { BellowsError } from '../../base/errors.ts';
import type { TenantId } from '../../base/ids.ts';
import type { RouteChange } from '../../protocol/routes.ts';

/**
 * An event is text on the heap of twice its body's size at worst: of a quarter's bodies half the heap is left. On a machine
 * or in a group with little memory, an eighth of that.
 */
export function bodyMemoryBytes(): number {
  const constrainedBytes = process.constrainedMemory();
  const memoryBytes = constrainedBytes > 0 ? Math.min(constrainedBytes, totalmem()) : totalmem();
  return Math.floor(Math.min(getHeapStatistics().heap_size_limit / 4, memoryBytes / 8));
}

export class BodyMemory {
  readonly #totalBytes: number;
  readonly #tenants = new Map<TenantId, TenantBodies>();
  readonly #unproven = new Map<TenantId, TenantBodies>();
  #heldBytes = 0;

  constructor(totalBytes: number) {
    this.#totalBytes = totalBytes;
  }

  /** What nobody holds. */
  get freeBytes(): number {
    return this.#totalBytes - this.#heldBytes;
  }

  of(tenant: TenantId): TenantBodies {
    return this.#in(this.#tenants, tenant);
  }

  /** Of requests that say they are the tenant's. */
  unprovenOf(tenant: TenantId): TenantBodies {
    return this.#in(this.#unproven, tenant);
  }

  #in(accounts: Map<TenantId, TenantBodies>, tenant: TenantId): TenantBodies {
    let bodies = accounts.get(tenant);
    if (bodies === undefined) accounts.set(tenant, (bodies = new TenantBodies(tenant, this)));
    return bodies;
  }

  onChange(change: RouteChange): void {
    // What it holds still comes back here when its last requests end.
    if (change.change !== 'tenantGone') return;
    this.#tenants.delete(change.id);
    this.#unproven.delete(change.id);
  }

  /** Of one tenant's count, which alone changes it. @param bytes below zero: given back */
  changed(bytes: number): void {
    this.#heldBytes += bytes;
  }
}

/** What the bodies of one tenant's requests hold. */
export class TenantBodies {
  readonly tenant: TenantId;
  readonly #all: BodyMemory;
  #heldBytes = 0;

  constructor(tenant: TenantId, all: BodyMemory) {
    this.tenant = tenant;
    this.#all = all;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  fits(bytes: number): boolean {
    return this.#heldBytes + bytes <= this.#all.freeBytes - bytes;
  }

  /** Counts so many more, unless they do not fit. */
  take(bytes: number): boolean {
    if (!this.fits(bytes)) return false;
    this.#add(bytes);
    return true;
  }

  giveBack(bytes: number): void {
    this.#add(-bytes);
  }

  /** Takes over what another account holds, unless it does not fit. */
  takeOver(bytes: number, from: TenantBodies): boolean {
    // It is not free yet, and would be counted twice.
    from.giveBack(bytes);
    if (this.take(bytes)) return true;
    from.#add(bytes);
    return false;
  }

  /** What is said to whose body is not taken. */
  refusal(): BellowsError {
    return new BellowsError(
      'LimitReached',
      `The bodies of requests of the tenant ${this.tenant} that are not answered yet hold ${this.#heldBytes} bytes, ` +
        `which is as much as the gateway has for them now.`,
      'Try again when some are answered, and send fewer large ones at once.',
    );
  }

  #add(bytes: number): void {
    this.#heldBytes += bytes;
    this.#all.changed(bytes);
  }
}
