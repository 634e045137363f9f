// The agent's connection to the runtime inside an instance: asks and is told, over frames. Comes back by itself until it
// is closed. Owns the socket and pending requests. What arrives is user code's word: parsed, never trusted.
import { connect } from 'node:net';
import { z } from 'zod';
import { BellowsError } from '../../base/errors.ts';
import type { ConnectionCounts } from '../../model/instance.ts';
import { frameType } from '../../protocol/instance.ts';
import { FrameLink } from '../../sys/frame-link.ts';

/** The socket listens before the process runs: a refusal means that it is ending, or its backlog is full. */
const retryMs = { first: 1, longest: 50 } as const;
const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const countsSchema = z.object({ open: count, closedByClient: count, closedByServer: count });

export interface Answer {
  readonly type: number;
  readonly payload: Buffer;
}

interface Pending {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export interface InstanceLinkEvents {
  readonly onConnections: (counts: ConnectionCounts) => void;
}

export class InstanceLink {
  readonly #path: string;
  readonly #events: InstanceLinkEvents;
  readonly #pending = new Map<number, Pending>();
  #link: FrameLink | undefined;
  #waiting: (() => void)[] = [];
  #pauseMs: number = retryMs.first;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #lastId = 0;
  #listening = false;
  #whenListening: (() => void)[] = [];

  constructor(path: string, events: InstanceLinkEvents) {
    this.#path = path;
    this.#events = events;
    this.#connect();
  }

  /** Resolves when there is a connection. @throws BellowsError Unavailable after `timeoutMs`, or when it is closed. */
  connected(timeoutMs: number): Promise<void> {
    if (this.#link !== undefined) return Promise.resolve();
    return this.#wait(this.#waiting, timeoutMs, 'The runtime inside did not answer');
  }

  /** Resolves when the app inside listens. @throws BellowsError Unavailable */
  listening(timeoutMs: number): Promise<void> {
    if (this.#listening) return Promise.resolve();
    return this.#wait(this.#whenListening, timeoutMs, 'The app did not listen');
  }

  /** @throws BellowsError Unavailable when no answer comes in time, or the link ends. */
  async request(type: number, payload: string, timeoutMs: number): Promise<Answer> {
    const startedMs = performance.now();
    // What is sent with a connection leaves with this turn of the event loop.
    if (this.#link === undefined) await this.connected(timeoutMs);
    const id = (this.#lastId = (this.#lastId + 1) >>> 0 || 1);
    return new Promise((resolve, reject) => {
      const leftMs = Math.max(0, timeoutMs - (performance.now() - startedMs));
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new BellowsError('Unavailable', `The runtime inside did not answer within ${timeoutMs} ms.`));
      }, leftMs);
      this.#pending.set(id, { resolve, reject, timer });
      if (this.#link?.send(type, id, payload) !== true) this.#settle(id)?.reject(gone());
    });
  }

  /** Sends without waiting; false when there is no connection. */
  tell(type: number, payload: string): boolean {
    return this.#link?.send(type, 0, payload) ?? false;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#link?.destroy();
    this.#link = undefined;
    this.#rejectPending();
    for (const wake of [...this.#waiting.splice(0), ...this.#whenListening.splice(0)]) wake();
  }

  #wait(waiters: (() => void)[], timeoutMs: number, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const wake = (): void => {
        clearTimeout(timer);
        if (this.#closed) reject(gone());
        else resolve();
      };
      const timer = setTimeout(() => {
        const at = waiters.indexOf(wake);
        if (at >= 0) waiters.splice(at, 1);
        reject(new BellowsError('Unavailable', `${what} within ${timeoutMs} ms.`));
      }, timeoutMs);
      if (this.#closed) wake();
      else waiters.push(wake);
    });
  }

  #connect(): void {
    const socket = connect(this.#path);
    const link = new FrameLink(socket, {
      onFrame: (frame) => this.#receive(frame.type, frame.id, frame.payload),
      onClose: () => this.#disconnected(link),
    });
    socket.once('connect', () => {
      if (this.#closed) return link.destroy();
      this.#link = link;
      this.#pauseMs = retryMs.first;
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  #disconnected(link: FrameLink): void {
    if (this.#link === link) {
      this.#link = undefined;
      this.#rejectPending();
    }
    if (this.#closed) return;
    this.#timer = setTimeout(() => this.#connect(), this.#pauseMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, retryMs.longest);
  }

  #receive(type: number, id: number, payload: Buffer): void {
    switch (type) {
      case frameType.bound:
      case frameType.bindFailed:
      case frameType.grantAck:
      case frameType.trimmed:
      case frameType.pong:
        this.#settle(id)?.resolve({ type, payload: Buffer.from(payload) });
        return;
      case frameType.connections: {
        const counts = countsSchema.safeParse(JSON.parse(payload.toString()));
        if (counts.success) this.#events.onConnections(counts.data);
        return;
      }
      case frameType.listening:
        this.#listening = true;
        for (const wake of this.#whenListening.splice(0)) wake();
        return;
      default:
        // Results of a gateway's invocations never come here; anything else is a newer runtime's.
        return;
    }
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending === undefined) return undefined;
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    return pending;
  }

  #rejectPending(): void {
    for (const id of this.#pending.keys()) this.#settle(id)?.reject(gone());
  }
}

const gone = (): BellowsError => new BellowsError('Unavailable', 'The runtime inside ended the connection.');
