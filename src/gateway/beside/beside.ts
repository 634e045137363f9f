// The gateways that run beside this one: the one before, which finishes what it carries, or the next. Owns the links to them and
// what they have said and are asked; what follows from it is passed in.
import { mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname } from 'node:path';
import type { TenantId } from '../../base/ids.ts';
import {
  besideProtocol,
  type BesideProtocol,
  type Managed,
  type ManageParams,
} from '../../protocol/beside.ts';
import { RpcClient } from '../../protocol/rpc-client.ts';
import { RpcPeer } from '../../protocol/rpc-link.ts';
import type { EventOf } from '../../protocol/rpc.ts';
import type { Layout } from '../../sys/layout.ts';
import type { Logger } from '../../sys/log.ts';
import { isAlive, type ProcessIdentity } from '../../sys/process.ts';
import { besideTiming } from '../config.ts';

export type Carries = EventOf<BesideProtocol>['data'];
type Peer = RpcPeer<BesideProtocol, BesideProtocol>;

export interface BesideParts {
  readonly layout: Pick<Layout, 'gatewaySocket'>;
  /** Those before this one. */
  readonly others: readonly ProcessIdentity[];
  readonly log: Logger;
  /** What this one is to say. */
  readonly carries: () => Carries;
  /** What all others carry together, of tenants that have something. */
  readonly onChange: (
    connections: ReadonlyMap<TenantId, number>,
    waiting: ReadonlyMap<TenantId, number>,
  ) => void;
  /** One before this one has ended. */
  readonly onGone: () => void;
  /** Does what another's caller asks for to a held connection of this one. */
  readonly manage: (params: ManageParams) => Managed;
}

const nobody: Managed = { is: 'unknown' };

export class Beside {
  readonly #parts: BesideParts;
  readonly #server: Server;
  readonly #clients = new Map<number, RpcClient<BesideProtocol, BesideProtocol>>();
  #before: readonly ProcessIdentity[];
  readonly #peers = new Set<Peer>();
  /** What was said last, by whoever is linked. */
  readonly #said = new Map<Peer, Carries>();
  /** The links to those before this one, by their process. */
  readonly #links = new Map<number, Peer>();
  readonly #timer: NodeJS.Timeout;
  #told = '';

  constructor(parts: BesideParts) {
    this.#parts = parts;
    this.#before = parts.others.filter(isAlive);
    this.#server = createServer((socket) => {
      const peer: Peer = new RpcPeer<BesideProtocol, BesideProtocol>(socket, {
        ...this.#protocols(),
        onClose: () => this.#forget(peer),
      });
      this.#greet(peer);
    });
    this.#timer = setInterval(() => this.#look(), besideTiming.tellEveryMs).unref();
  }

  /** Lets the next one connect, and connects to those before. */
  async listen(): Promise<void> {
    const path = this.#parts.layout.gatewaySocket(process.pid);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path, () => resolve());
    });
    for (const { pid } of this.#before) this.#connect(pid);
  }

  /** The processes of those before this one that run. */
  get pids(): number[] {
    return this.#before.filter(isAlive).map(({ pid }) => pid);
  }

  /** How many of those before have not said anything yet. */
  get unheard(): number {
    return this.#before.filter(({ pid }) => this.#saidBy(pid) === undefined).length;
  }

  /** Whether one before this one may still send invocations; so it is as long as it has not said otherwise. */
  get othersMayInvoke(): boolean {
    return this.#before.some(({ pid }) => this.#saidBy(pid)?.mayInvoke !== false);
  }

  /**
   * Asks the others, one after the other, for there is at most one that has the connection.
   * @throws BellowsError when one that may have it does not answer
   */
  async manage(params: ManageParams): Promise<Managed> {
    for (const peer of this.#peers) {
      const managed = await peer.call('manage', params).catch((thrown: unknown) => {
        // With its process its connections ended.
        if (peer.closed) return nobody;
        throw thrown;
      });
      if (managed.is !== 'unknown') return managed;
    }
    return nobody;
  }

  close(): void {
    clearInterval(this.#timer);
    for (const client of this.#clients.values()) client.close();
    for (const peer of this.#peers) peer.destroy();
    this.#server.close();
  }

  #saidBy(pid: number): Carries | undefined {
    const link = this.#links.get(pid);
    return link === undefined ? undefined : this.#said.get(link);
  }

  #protocols() {
    return {
      local: besideProtocol,
      remote: besideProtocol,
      handlers: { manage: async (params: ManageParams) => this.#parts.manage(params) },
      onEvent: ({ data }: EventOf<BesideProtocol>, peer: Peer) => {
        this.#said.set(peer, data);
        this.#sum();
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

  #greet(peer: Peer): void {
    this.#peers.add(peer);
    peer.emit('carries', this.#parts.carries());
  }

  #forget(peer: Peer): void {
    this.#peers.delete(peer);
    if (this.#said.delete(peer)) this.#sum();
  }

  /** Tells everybody of a change, and finds out who has ended. */
  #look(): void {
    const gone = this.#before.filter((identity) => !isAlive(identity));
    for (const { pid } of gone) {
      this.#clients.get(pid)?.close();
      this.#clients.delete(pid);
      // One that was killed leaves its name behind.
      rmSync(this.#parts.layout.gatewaySocket(pid), { force: true });
    }
    if (gone.length > 0) {
      this.#before = this.#before.filter(isAlive);
      this.#parts.onGone();
    }
    if (this.#peers.size === 0) return;
    const carries = this.#parts.carries();
    const text = JSON.stringify(carries);
    if (text === this.#told) return;
    this.#told = text;
    for (const peer of this.#peers) peer.emit('carries', carries);
  }

  #sum(): void {
    const connections = new Map<TenantId, number>();
    const waiting = new Map<TenantId, number>();
    for (const { tenants } of this.#said.values()) {
      for (const each of tenants) {
        connections.set(each.tenant, (connections.get(each.tenant) ?? 0) + each.connections);
        waiting.set(each.tenant, (waiting.get(each.tenant) ?? 0) + each.waiting);
      }
    }
    this.#parts.onChange(connections, waiting);
  }
}
