// Held connections on their way between this gateway and others: it takes those of gateways before it, and once it leaves gives all
// of its own to the one that serves. Owns the two ends, and how many of each tenant have come from whom. Does not own connections.
import type { Socket } from 'node:net';
import type { TenantId } from '../../../base/ids.ts';
import type { Layout } from '../../../sys/layout.ts';
import type { Logger } from '../../../sys/log.ts';
import { Door, type Place } from './door.ts';
import { Giver, type Candidate, type Successor } from './giver.ts';
import type { Snapshot } from './snapshot.ts';
import { Taker } from './taker.ts';

export interface MovesParts {
  readonly layout: Pick<Layout, 'gatewayHeldSocket'>;
  /** The processes before this one, in whatever place. */
  readonly others: readonly number[];
  readonly place: Place;
  readonly log: Logger;
}

export interface MovesHandlers {
  /** @returns whose it is and what begins with it; undefined when there is nobody to take it */
  take(snapshot: Snapshot, client: Socket): { readonly tenant: TenantId; begin(): void } | undefined;
  /** All connections that are here. */
  all(): readonly Candidate[];
}

/** How soon one is offered again that could not go: its client does not read, or very much of it waits. */
const offerEveryMs = 100;

export class Moves {
  readonly giver = new Giver();
  readonly #parts: MovesParts;
  readonly #handlers: MovesHandlers;
  readonly #door: Door;
  readonly #takers: Taker[] = [];
  /** By the process that had them. */
  readonly #taken = new Map<number, Map<TenantId, number>>();
  #successor: Successor | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: MovesParts, handlers: MovesHandlers) {
    this.#parts = parts;
    this.#handlers = handlers;
    this.#door = new Door(parts.place, {
      onSuccessor: (successor) => {
        this.#successor = successor;
        if (this.#timer !== undefined) this.#give();
      },
      onAnswer: (isTaken, from) => {
        if (from === this.#successor) this.giver.answered(isTaken);
      },
    });
  }

  /** Lets the next one come for them, and goes for those of others. */
  async listen(): Promise<void> {
    const { layout, others, place, log } = this.#parts;
    await this.#door.listen(layout.gatewayHeldSocket(process.pid));
    for (const pid of others) {
      const taker = new Taker(pid, layout.gatewayHeldSocket(pid), place, {
        take: (snapshot, client) => {
          const taken = this.#handlers.take(snapshot, client);
          if (taken === undefined) return undefined;
          this.#count(pid, taken.tenant);
          return () => taken.begin();
        },
        onDefect: (error) => log.error({ err: error }, 'a held connection could not be taken over'),
      });
      this.#takers.push(taker);
    }
  }

  /** Takes what was sent by now, though it was not told of yet. */
  sweep(): void {
    for (const taker of this.#takers) taker.sweep();
  }

  /** From now on all connections go to the one that serves. */
  leave(): void {
    if (this.#timer !== undefined) return;
    // Others give theirs to that one, too.
    for (const taker of this.#takers) taker.close();
    this.#timer = setInterval(() => this.#offerAll(), offerEveryMs);
    this.#give();
  }

  /** How many of a tenant's a process has sent that are here. */
  takenFrom(pid: number, tenant: TenantId): number {
    return this.#taken.get(pid)?.get(tenant) ?? 0;
  }

  close(): void {
    clearInterval(this.#timer);
    this.giver.giveTo(undefined);
    for (const taker of this.#takers) taker.close();
    this.#door.close();
  }

  #give(): void {
    this.giver.giveTo(this.#successor);
    this.#offerAll();
  }

  #offerAll(): void {
    if (this.giver.isIdle) this.giver.offer(this.#handlers.all());
  }

  #count(pid: number, tenant: TenantId): void {
    const ofPid = this.#taken.get(pid) ?? new Map<TenantId, number>();
    this.#taken.set(pid, ofPid.set(tenant, (ofPid.get(tenant) ?? 0) + 1));
  }
}
