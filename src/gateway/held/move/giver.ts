// Gives held connections to the process that serves from now on, a few at a time, each at a moment when nothing of it is with an
// instance and nothing waits to be sent to its client. Until its own turn comes each is served on here, so a client waits for no
// other's. Owns which are on their way. Until one is taken our descriptor stays open, unread, so that a successor that dies takes
// nothing with it but what it had said that it has.
//
//   ours ──descriptor and state are sent──▶ sent ──"taken"──▶ theirs: our descriptor is closed
//    ▲                                       └──"not taken", or it died──▶ ours again, and read on
//    └──its message is with an instance, or its client does not read: later
import type { TenantId, WorkloadKey } from '../../../base/ids.ts';
import type { Socket } from 'node:net';
import { MAX_PAYLOAD_BYTES } from '../../../sys/fd-passing.ts';
import type { HeldConnection } from '../connection.ts';
import { snapshotOf } from './snapshot.ts';

/** Whose connections they are: a function. */
export interface Origin {
  readonly key: WorkloadKey;
  readonly tenant: TenantId;
  /** It was sent: nothing of it may be handed over to an instance. */
  release(connection: HeldConnection): void;
  /** It was sent and not taken. */
  takeBack(connection: HeldConnection): void;
}

/** Who goes on with them. */
export interface Successor {
  readonly pid: number;
  /** @throws when it is gone */
  send(client: Socket, state: Buffer): 'sent' | 'again';
  /** Something was sent. */
  announce(): void;
}

/** Under way at once: what a message may have to wait for, about a millisecond's work of either process. */
export const atOnce = 16;
/** How soon it is tried again where the kernel has no room for one more descriptor. */
const againMs = 2;

export interface Candidate {
  readonly connection: HeldConnection;
  readonly held: Origin;
}

interface Moving extends Candidate {
  readonly wasPaused: boolean;
}

export class Giver {
  #successor: Successor | undefined;
  /** Those whose turn comes, from `#nextAt` on. */
  #next: readonly Candidate[] = [];
  #nextAt = 0;
  /** In the order in which they were sent, which is that of the answers. */
  readonly #sent: Moving[] = [];
  /** So many of each tenant has the successor been sent. */
  readonly given = new Map<TenantId, number>();
  #isUnannounced = false;
  #soon: NodeJS.Immediate | undefined;
  #again: NodeJS.Timeout | undefined;

  get successorPid(): number | undefined {
    return this.#successor?.pid;
  }

  /** How many are no function's for the moment. */
  get sent(): number {
    return this.#sent.length;
  }

  /** Whether it waits for connections to be offered. */
  get isIdle(): boolean {
    return this.#nextAt >= this.#next.length;
  }

  /** @param successor undefined: there is none any more, and what it has not taken is ours again */
  giveTo(successor: Successor | undefined): void {
    if (successor === this.#successor) return;
    this.#successor = undefined;
    clearImmediate(this.#soon);
    clearTimeout(this.#again);
    this.#soon = undefined;
    this.#again = undefined;
    this.#isUnannounced = false;
    this.#next = [];
    this.#nextAt = 0;
    for (const moving of this.#sent.splice(0)) this.#takeBack(moving);
    this.given.clear();
    this.#successor = successor;
  }

  /** They go in their turn, those that can then. */
  offer(candidates: readonly Candidate[]): void {
    if (this.#successor === undefined) return;
    this.#next = candidates;
    this.#nextAt = 0;
    this.#goSoon();
  }

  /** One whose turn with an instance is over. @returns whether it was sent; otherwise it goes on here for now */
  giveNow(connection: HeldConnection, held: Origin): boolean {
    if (this.#successor === undefined || this.#again !== undefined || this.#sent.length >= atOnce)
      return false;
    if (this.#tryToGive(this.#successor, { connection, held }) !== 'sent') return false;
    this.#goSoon();
    return true;
  }

  /** What was sent first is theirs, or is not. */
  answered(isTaken: boolean): void {
    const moving = this.#sent.shift();
    if (moving === undefined) return;
    if (isTaken) moving.connection.socket?.abandon();
    else {
      const { tenant } = moving.held;
      this.#count(tenant, -1);
      this.#takeBack(moving);
    }
    this.#goSoon();
  }

  /** In the next round of the event loop: whatever else has come is served before. */
  #goSoon(): void {
    if (this.#again === undefined) this.#soon ??= setImmediate(this.#go);
  }

  readonly #go = (): void => {
    this.#soon = undefined;
    this.#again = undefined;
    const successor = this.#successor;
    if (successor === undefined) return;
    while (this.#sent.length < atOnce) {
      const next = this.#next[this.#nextAt];
      if (next === undefined) break;
      if (this.#tryToGive(successor, next) === 'again') {
        this.#again = setTimeout(this.#go, againMs);
        break;
      }
      this.#nextAt += 1;
    }
    if (this.isIdle) this.#next = [];
    if (!this.#isUnannounced) return;
    this.#isUnannounced = false;
    successor.announce();
  };

  #tryToGive(successor: Successor, candidate: Candidate): 'sent' | 'again' | 'stays' {
    try {
      return this.#give(successor, candidate);
    } catch {
      // Who is told of its end says so, and gives them another.
      return 'again';
    }
  }

  #give(successor: Successor, { connection, held }: Candidate): 'sent' | 'again' | 'stays' {
    const { socket, state, turn } = connection;
    if (socket === undefined || state.is !== 'open' || turn === 'running' || turn === 'moving')
      return 'stays';
    const { movable } = socket;
    if (movable === undefined) return 'stays';
    const snapshot = snapshotOf(held.key, connection, movable);
    if (snapshot.length > MAX_PAYLOAD_BYTES) return 'stays';
    // Nothing is awaited between the last read and this: not a byte can have come to us meanwhile.
    if (successor.send(movable.socket, snapshot) === 'again') return 'again';
    const wasPaused = socket.isPaused;
    socket.pause();
    held.release(connection);
    this.#sent.push({ connection, held, wasPaused });
    this.#count(held.tenant, 1);
    this.#isUnannounced = true;
    return 'sent';
  }

  #count(tenant: TenantId, more: number): void {
    this.given.set(tenant, (this.given.get(tenant) ?? 0) + more);
  }

  #takeBack({ connection, held, wasPaused }: Moving): void {
    held.takeBack(connection);
    if (!wasPaused) connection.socket?.resume();
  }
}
