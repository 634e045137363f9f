// The gateways that run beside this one: those that serve with it, the one before, which finishes what it carries, or the next.
// Owns the links to them and who they are; what they say and are asked is passed on (together.ts).
import { rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { besideProtocol, type BesideProtocol } from '../../protocol/beside.ts';
import { RpcClient } from '../../protocol/rpc-client.ts';
import { RpcPeer } from '../../protocol/rpc-link.ts';
import type { EventOf, Handlers } from '../../protocol/rpc.ts';
import type { Layout } from '../../sys/layout.ts';
import { listenAtSocket } from '../../sys/listen-at-socket.ts';
import type { Logger } from '../../sys/log.ts';
import { isAlive, type ProcessIdentity } from '../../sys/process.ts';
import { besideTiming } from '../config.ts';

export type BesidePeer = RpcPeer<BesideProtocol, BesideProtocol>;
export type BesideEvent = EventOf<BesideProtocol>;
type DataOf<E extends BesideEvent['event']> = Extract<BesideEvent, { event: E }>['data'];
export type Carries = DataOf<'carries'>;
export type Name = DataOf<'is'>;

export interface BesideParts {
  readonly layout: Pick<Layout, 'gatewaySocket' | 'gatewayHeldSocket' | 'gatewayPortsSocket'>;
  /** Those that ran before this one. */
  readonly others: readonly ProcessIdentity[];
  readonly log: Logger;
  readonly name: () => Name;
  /** One is linked, and is told who this is; more may be said. */
  readonly onLinked: (peer: BesidePeer) => void;
  /** It has said who it is. */
  readonly onNamed: (peer: BesidePeer) => void;
  readonly onEvent: (event: Exclude<BesideEvent, { event: 'is' }>, peer: BesidePeer) => void;
  /** A link has ended. */
  readonly onUnlinked: (peer: BesidePeer) => void;
  /** One has ended. */
  readonly onGone: () => void;
  readonly handlers: Handlers<BesideProtocol>;
  /** To be called every so often. */
  readonly onTime: () => void;
}

export class Beside {
  readonly #parts: BesideParts;
  readonly #server: Server;
  readonly #clients = new Map<number, RpcClient<BesideProtocol, BesideProtocol>>();
  #before: readonly ProcessIdentity[];
  /** Whoever is linked, in the order in which they were, with what they have said of themselves. */
  readonly #peers = new Map<BesidePeer, Name | undefined>();
  /** The links to those before this one, by their process. */
  readonly #links = new Map<number, BesidePeer>();
  readonly #timer: NodeJS.Timeout;

  constructor(parts: BesideParts) {
    this.#parts = parts;
    this.#before = parts.others.filter(isAlive);
    this.#server = createServer((socket) => {
      const peer: BesidePeer = new RpcPeer<BesideProtocol, BesideProtocol>(socket, {
        ...this.#protocols(),
        onClose: () => this.#forget(peer),
      });
      this.#greet(peer);
    });
    this.#timer = setInterval(() => this.#look(), besideTiming.tellEveryMs).unref();
  }

  /** Lets those that come later connect, and connects to those before. */
  async listen(): Promise<void> {
    await listenAtSocket(this.#server, this.#parts.layout.gatewaySocket(process.pid));
    for (const { pid } of this.#before) this.#connect(pid);
  }

  /** The processes of all others that run. */
  get pids(): number[] {
    const linked = [...this.#peers.values()].flatMap((name) => name?.pid ?? []);
    return [...new Set([...this.before, ...linked])];
  }

  /** The processes of those before this one that run. */
  get before(): number[] {
    return this.#before.filter(isAlive).map(({ pid }) => pid);
  }

  get isAlone(): boolean {
    return this.#peers.size === 0;
  }

  get peers(): BesidePeer[] {
    return [...this.#peers.keys()];
  }

  /** This one and all that are linked, who started first first. One that has not said who it is has just come, unless it was here before. */
  get byAge(): (BesidePeer | 'self')[] {
    const before = new Set(this.#links.values());
    const startOf = (peer: BesidePeer): number =>
      this.#peers.get(peer)?.startTicks ?? (before.has(peer) ? 0 : Number.MAX_SAFE_INTEGER);
    const aged = this.peers.map((peer) => ({ who: peer as BesidePeer | 'self', start: startOf(peer) }));
    const all = [...aged, { who: 'self' as const, start: this.#parts.name().startTicks }];
    return all.sort((left, right) => left.start - right.start).map(({ who }) => who);
  }

  /** The link to one before this one. */
  linkTo(pid: number): BesidePeer | undefined {
    return this.#links.get(pid);
  }

  nameOf(peer: BesidePeer): Name | undefined {
    return this.#peers.get(peer);
  }

  /** All in this place, those that leave included. */
  at(place: number): BesidePeer[] {
    return this.peers.filter((peer) => this.nameOf(peer)?.place === place);
  }

  /** Who serves in this place. */
  servingAt(place: number): BesidePeer | undefined {
    return this.at(place).findLast((peer) => this.nameOf(peer)?.leaves === false);
  }

  /** This one is not what it was. */
  nameChanged(): void {
    for (const peer of this.#peers.keys()) peer.emit('is', this.#parts.name());
  }

  close(): void {
    clearInterval(this.#timer);
    for (const client of this.#clients.values()) client.close();
    for (const peer of this.#peers.keys()) peer.destroy();
    this.#server.close();
  }

  #protocols() {
    return {
      local: besideProtocol,
      remote: besideProtocol,
      handlers: this.#parts.handlers,
      onEvent: (event: BesideEvent, from: BesidePeer) => {
        if (event.event !== 'is') {
          this.#parts.onEvent(event, from);
          return;
        }
        this.#peers.set(from, event.data);
        this.#parts.onNamed(from);
      },
      onDefect: (error: unknown, context: string) =>
        this.#parts.log.error({ err: error, context }, 'the link between gateways'),
    };
  }

  #connect(pid: number): void {
    const client = new RpcClient<BesideProtocol, BesideProtocol>({
      ...this.#protocols(),
      socketPath: this.#parts.layout.gatewaySocket(pid),
      onConnect: (peer) => {
        this.#links.set(pid, peer);
        this.#greet(peer);
        return Promise.resolve();
      },
      onDisconnect: () => {
        const peer = this.#links.get(pid);
        this.#links.delete(pid);
        if (peer !== undefined) this.#forget(peer);
      },
    });
    this.#clients.set(pid, client);
  }

  #greet(peer: BesidePeer): void {
    this.#peers.set(peer, undefined);
    peer.emit('is', this.#parts.name());
    this.#parts.onLinked(peer);
  }

  #forget(peer: BesidePeer): void {
    const name = this.#peers.get(peer);
    if (!this.#peers.delete(peer)) return;
    this.#parts.onUnlinked(peer);
    // Those before this one are looked for: their links are made anew while they run.
    const isBefore = this.#before.some(({ pid }) => pid === name?.pid);
    if (name !== undefined && !isBefore) this.#parts.onGone();
  }

  /** Finds out who has ended. */
  #look(): void {
    const gone = this.#before.filter((identity) => !isAlive(identity));
    for (const { pid } of gone) {
      this.#clients.get(pid)?.close();
      this.#clients.delete(pid);
      // One that was killed leaves its name behind.
      rmSync(this.#parts.layout.gatewaySocket(pid), { force: true });
      rmSync(this.#parts.layout.gatewayHeldSocket(pid), { force: true });
      rmSync(this.#parts.layout.gatewayPortsSocket(pid), { force: true });
    }
    if (gone.length > 0) {
      this.#before = this.#before.filter(isAlive);
      this.#parts.onGone();
    }
    this.#parts.onTime();
  }
}
