// Gives held connections to the process that serves from now on, one after the other, each at a moment when nothing of it is with
// an instance and nothing waits to be sent to its client. Owns which are on their way. Until one is taken our descriptor stays open,
// unread, so that a successor that dies takes nothing with it but what it had said that it has.
//
//   offered ──▶ next ──descriptor and state are sent──▶ sent ──"taken"──▶ theirs: our descriptor is closed
//                │                                       └──"not taken", or it died──▶ ours again, and read on
//                └──it ends, or the client does not read: ours
import type { TenantId, WorkloadKey } from '../../../base/ids.ts';
import type { Socket } from 'node:net';
import { MAX_PAYLOAD_BYTES } from '../../../sys/fd-passing.ts';
import type { HeldConnection } from '../connection.ts';
import { snapshotOf } from './snapshot.ts';

/** Whose connections they are: a function. */
export interface Origin {
  readonly key: WorkloadKey;
  readonly tenant: TenantId;
  /** It was offered, and is not sent for now. */
  keep(connection: HeldConnection): void;
  /** It was sent. */
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

/** Under way at once: a few milliseconds' work for either process, and fewer descriptors than a user may have on their way. */
const atOnce = 64;
/** How soon it is tried again where the kernel has no room for one more descriptor. */
const againMs = 2;

interface Moving {
  readonly connection: HeldConnection;
  readonly held: Origin;
  readonly wasPaused: boolean;
}

export class Giver {
  #successor: Successor | undefined;
  #next: Pick<Moving, 'connection' | 'held'>[] = [];
  #nextAt = 0;
  /** In the order in which they were sent, which is that of the answers. */
  readonly #sent: Moving[] = [];
  /** So many of each tenant has the successor been sent. */
  readonly given = new Map<TenantId, number>();
  #timer: NodeJS.Timeout | undefined;

  get successorPid(): number | undefined {
    return this.#successor?.pid;
  }

  /** How many are no function's for the moment. */
  get sent(): number {
    return this.#sent.length;
  }

  /** @param successor undefined: there is none any more, and what it has not taken is ours again */
  giveTo(successor: Successor | undefined): void {
    if (successor === this.#successor) return;
    this.#successor = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const back = this.#sent.splice(0);
    const next = this.#next.slice(this.#nextAt);
    this.#next = [];
    this.#nextAt = 0;
    for (const moving of back) this.#takeBack(moving);
    for (const { connection, held } of next) held.keep(connection);
    this.given.clear();
    this.#successor = successor;
  }

  /** @returns false when it stays where it is for now; otherwise nothing of it may be handed over to an instance */
  offer(connection: HeldConnection, held: Origin): boolean {
    if (this.#successor === undefined || connection.state.is !== 'open') return false;
    if (connection.socket?.movable === undefined) return false;
    this.#next.push({ connection, held });
    this.#timer ??= setTimeout(this.#go, 0);
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
    this.#timer ??= setTimeout(this.#go, 0);
  }

  readonly #go = (): void => {
    this.#timer = undefined;
    const successor = this.#successor;
    if (successor === undefined) return;
    let hasSent = false;
    while (this.#sent.length < atOnce && this.#nextAt < this.#next.length) {
      const next = this.#next[this.#nextAt];
      if (next === undefined) break;
      let gave: 'sent' | 'again' | 'stays';
      try {
        gave = this.#give(successor, next);
      } catch {
        // Who is told of its end says so, and gives them another.
        gave = 'again';
      }
      if (gave === 'again') {
        this.#timer = setTimeout(this.#go, againMs);
        break;
      }
      this.#nextAt += 1;
      if (gave === 'stays') next.held.keep(next.connection);
      else hasSent = true;
    }
    if (this.#nextAt === this.#next.length) {
      this.#next = [];
      this.#nextAt = 0;
    }
    if (hasSent) successor.announce();
  };

  #give(
    successor: Successor,
    { connection, held }: Pick<Moving, 'connection' | 'held'>,
  ): 'sent' | 'again' | 'stays' {
    const { socket } = connection;
    const movable = socket?.movable;
    if (socket === undefined || movable === undefined || connection.state.is !== 'open') return 'stays';
    const state = snapshotOf(held.key, connection, movable);
    if (state.length > MAX_PAYLOAD_BYTES) return 'stays';
    // Nothing is awaited between the last read and this: not a byte can have come to us meanwhile.
    if (successor.send(movable.socket, state) === 'again') return 'again';
    const wasPaused = socket.isPaused;
    socket.pause();
    held.release(connection);
    this.#sent.push({ connection, held, wasPaused });
    this.#count(held.tenant, 1);
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
