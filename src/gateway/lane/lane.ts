// The fast lane in front of node:http: all connections that so far sent only plain requests for functions.
// Owns them as a set, and their bounds in time, which one clock for all of them keeps: a request costs no timer.
// Does not own the listening server (listen.ts), parsing (plain-head.ts) or a connection's course (lane-connection.ts).
import type { Socket } from 'node:net';
import type { WorkloadKey } from '../../base/ids.ts';
import { serverLimits } from '../config.ts';
import type { FunctionRequest } from '../exchange.ts';
import type { Hop, TrustedProxies } from '../hop.ts';
import type { LaneAnswer } from './lane-answer.ts';
import { LaneConnection, type LaneOwner, type Served } from './lane-connection.ts';

export interface LaneHandlers {
  /** Whose word of a client's address is taken. */
  readonly proxies: TrustedProxies;
  /** Serves a plain request, or has not touched it. */
  serve(request: FunctionRequest, host: string, answer: LaneAnswer): Served;
  carried(workload: WorkloadKey, bytesIn: number, bytesOut: number): void;
  /** The connection was node:http's from its first byte on, for all that node:http can see. */
  leave(socket: Socket, bytesUnused: number): void;
}

/** How many ticks a connection may wait for its next request; and when we leave, from then on. */
const keepAliveTicks = Math.ceil(serverLimits.keepAliveTimeoutMs / serverLimits.checkingIntervalMs);
const leavingTicks = Math.ceil(serverLimits.leavingKeepAliveMs / serverLimits.checkingIntervalMs);

export class Lane implements LaneOwner {
  readonly #handlers: LaneHandlers;
  readonly #connections = new Set<LaneConnection>();
  readonly #timer: NodeJS.Timeout;
  #tick = 0;
  #stopping = false;
  #leavingSinceTick: number | undefined;

  constructor(handlers: LaneHandlers) {
    this.#handlers = handlers;
    this.#timer = setInterval(() => this.sweep(), serverLimits.checkingIntervalMs).unref();
  }

  get tick(): number {
    return this.#tick;
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  /** How many connections it holds. */
  get size(): number {
    return this.#connections.size;
  }

  hopOf(socket: Socket): Hop {
    return this.#handlers.proxies.hopOf(socket);
  }

  /** @returns the connection that is there in place of the one that was accepted */
  take(accepted: Socket): Socket {
    const connection = new LaneConnection(accepted, this);
    this.#connections.add(connection);
    return connection.socket;
  }

  /** Looks at every connection that waits: once every {@link serverLimits.checkingIntervalMs}. */
  sweep(): void {
    this.#tick += 1;
    for (const connection of this.#connections) {
      if (connection.answering) continue;
      const ticks = this.#tick - connection.waitingSinceTick;
      if (this.#leavingSinceTick !== undefined) {
        if (Math.min(ticks, this.#tick - this.#leavingSinceTick) > leavingTicks) connection.socket.destroy();
        continue;
      }
      // Who connects and says nothing is bounded by node:http's own time-outs, as who says it slowly.
      if (!connection.used) {
        if (ticks > 1) connection.handOver(Buffer.alloc(0));
      } else if (ticks > keepAliveTicks) connection.socket.destroy();
    }
  }

  /** Each answer from now on is its connection's last; what waits may ask once more, and is ended when it does not. */
  leave(): void {
    this.#stopping = true;
    this.#leavingSinceTick ??= this.#tick;
  }

  /** Ends what waits; what is answered ends with its answer. */
  stop(): void {
    this.#stopping = true;
    for (const { answering, socket } of this.#connections) if (!answering) socket.destroy();
  }

  closeAll(): void {
    clearInterval(this.#timer);
    for (const { socket } of this.#connections) socket.destroy();
  }

  serve(request: FunctionRequest, host: string, answer: LaneAnswer): Served {
    return this.#handlers.serve(request, host, answer);
  }

  carried(workload: WorkloadKey, bytesIn: number, bytesOut: number): void {
    this.#handlers.carried(workload, bytesIn, bytesOut);
  }

  handOver(connection: LaneConnection, bytesUnused: number): void {
    this.#connections.delete(connection);
    this.#handlers.leave(connection.socket, bytesUnused);
  }

  closed(connection: LaneConnection): void {
    this.#connections.delete(connection);
  }
}
