// The held connections of one function: which there are, when they are over, and how they come from other processes and go
// there. Owns the map. Does not own when the function gets what they have (turns.ts), nor a connection's own state.
import type { Socket } from 'node:net';
import type { WorkloadRoute } from '../../protocol/routes.ts';
import type { TenantId } from '../../base/ids.ts';
import type { TenantConnections } from '../limits/tenant-connections.ts';
import { deflateWith } from '../websocket/deflate.ts';
import { type ConnectionOwner, HeldConnection } from './connection.ts';
import type { EventContext } from './event.ts';
import type { Candidate, Giver, Origin } from './move/giver.ts';
import type { Snapshot } from './move/snapshot.ts';
import { HeldRoutes, type WebSocketRoute } from './routes.ts';
import { HeldSocket } from './sockets.ts';
import { Turns, type TurnsOwner, type TurnsServices } from './turns.ts';

export interface HeldFunctionServices extends TurnsServices {
  readonly tenant: TenantId;
  readonly giver: Giver;
  /** The gateway's own: address and port. */
  authority(): string;
  /** Its tenant's. */
  connections(): TenantConnections;
}

export class HeldFunction implements ConnectionOwner, Origin, TurnsOwner {
  readonly key: WorkloadRoute['key'];
  readonly #services: HeldFunctionServices;
  readonly #connections = new Map<string, HeldConnection>();
  readonly #turns: Turns;
  #routes: HeldRoutes;

  constructor(key: WorkloadRoute['key'], settings: WebSocketRoute, services: HeldFunctionServices) {
    this.key = key;
    this.#services = services;
    this.#routes = new HeldRoutes(settings);
    this.#turns = new Turns(services, this);
  }

  get routes(): HeldRoutes {
    return this.#routes;
  }

  setRoute(settings: WebSocketRoute): void {
    this.#routes = new HeldRoutes(settings);
  }

  /** How many clients are connected. */
  get size(): number {
    return this.#connections.size;
  }

  /** How many of them are still there. */
  get connected(): number {
    let count = 0;
    for (const { socket } of this.#connections.values()) if (socket !== undefined) count += 1;
    return count;
  }

  connection(id: string): HeldConnection | undefined {
    return this.#connections.get(id);
  }

  add(connection: HeldConnection): void {
    this.#connections.set(connection.id, connection);
  }

  /** It was refused, or its client left before its function knew of it. */
  remove(connection: HeldConnection): void {
    connection.forget(1000, '');
    this.#connections.delete(connection.id);
  }

  /** Closes what idles or lasts too long; to be called every so often. */
  sweep(): void {
    const { idleTimeoutMs, maxDurationMs } = this.#routes;
    if (idleTimeoutMs === null && maxDurationMs === null) return;
    const nowMs = this.nowMs();
    for (const connection of this.#connections.values()) {
      if (connection.state.is !== 'open') continue;
      const isIdle = connection.turn === 'none' && connection.waiting.length === 0;
      if (idleTimeoutMs !== null && isIdle && nowMs - connection.lastActiveAtMs >= idleTimeoutMs)
        connection.close(1001, 'Idle for too long.');
      else if (maxDurationMs !== null && nowMs - connection.connectedAtMs >= maxDurationMs)
        connection.close(1001, 'Open for too long.');
    }
  }

  /** Asks all clients to go; the function still gets what waits. */
  closeAll(reason: string): void {
    for (const connection of this.#connections.values()) connection.close(1001, reason);
  }

  /** There is no function to hand anything to. */
  end(reason: string): void {
    this.#turns.close();
    for (const connection of this.#connections.values()) connection.forget(1001, reason);
    this.#connections.clear();
  }

  /** Ends the sockets that are left, whatever their clients say. */
  terminateAll(): void {
    for (const { socket } of this.#connections.values()) socket?.terminate();
  }

  context(requestId: string): EventContext {
    return { key: this.key, authority: this.#services.authority(), requestId, nowMs: this.nowMs() };
  }

  // ---- what connections ask for

  nowMs(): number {
    return this.#services.clock.nowMs();
  }

  carried(bytesIn: number, bytesOut: number): void {
    const counter = this.#services.counter();
    counter.bytesIn += bytesIn;
    counter.bytesOut += bytesOut;
    if (bytesOut > 0) this.#services.line()?.take('out', bytesOut);
  }

  disconnected(): void {
    this.#services.connections().leave();
  }

  changed(connection: HeldConnection): void {
    if (this.#turns.closed || connection.turn !== 'none') return;
    if (this.#services.giver.giveNow(connection, this)) return;
    if (connection.hasWork) this.#turns.join(connection);
  }

  // ---- those that move between processes

  get tenant(): TenantId {
    return this.#services.tenant;
  }

  /** All of them: some can not go now. */
  candidates(): Candidate[] {
    return [...this.#connections.values()].map((connection) => ({ connection, held: this }));
  }

  /** It was sent to another process. */
  release(connection: HeldConnection): void {
    connection.turn = 'moving';
    this.#connections.delete(connection.id);
    this.#services.connections().leave();
  }

  /** It was not taken there. */
  takeBack(connection: HeldConnection): void {
    this.#services.connections().takeBack();
    if (this.#turns.closed) {
      connection.forget(1001, 'The function was deleted.');
      return;
    }
    this.#connections.set(connection.id, connection);
    connection.turn = 'none';
    if (connection.hasWork) this.#turns.join(connection);
  }

  /** One of another process. @returns what begins with it */
  takeOver(snapshot: Snapshot, client: Socket): () => void {
    const { id, sourceIp, userAgent, deflate, unread, fragments } = snapshot;
    this.#services.connections().takeOver();
    const connection = new HeldConnection(this, id, { sourceIp, userAgent });
    const agreed = deflate === null ? undefined : deflateWith(deflate.serverWindowBits);
    const socket = new HeldSocket(client, connection, agreed, { unread, fragments: fragments ?? undefined });
    socket.pause();
    connection.movedHere(snapshot, socket);
    this.add(connection);
    return () => {
      if (!connection.isFull) socket.resume();
      this.changed(connection);
    };
  }
}
