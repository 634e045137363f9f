// The held connections of one function, and the line in which those stand that have something for it. Each connection's
// messages are handed over one after another, and of all connections in turn, so many at once. What the function's
// instances do not take now, since there are none or too few, waits at the head of the line; what an instance began and
// broke is told to the client. Owns the line. Does not own instances (invoke/), nor a connection's own state.
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { routeSelectionPath } from '../../model/websocket.ts';
import { outcome, type Result } from '../../protocol/instance.ts';
import type { WorkloadRoute } from '../../protocol/routes.ts';
import type { TenantId } from '../../base/ids.ts';
import type { Line } from '../bandwidth/line.ts';
import type { FunctionPool } from '../invoke/function-pool.ts';
import { Invocation, type Failure, type Sink } from '../invoke/invocation.ts';
import type { TenantConnections } from '../limits/tenant-connections.ts';
import type { Counter } from '../meter.ts';
import { deflateWith } from '../websocket/deflate.ts';
import { readAnswer, type RouteAnswer } from './answer.ts';
import { heldBounds } from './bounds.ts';
import { type ConnectionOwner, HeldConnection, type WaitingMessage } from './connection.ts';
import { disconnectEvent, messageEvent, type EventContext } from './event.ts';
import type { Giver, Origin } from './move/giver.ts';
import type { Snapshot } from './move/snapshot.ts';
import { routeKeyOf } from './route-key.ts';
import { HeldSocket } from './sockets.ts';

export type WebSocketRoute = NonNullable<WorkloadRoute['websocket']>;

export interface HeldFunctionServices {
  readonly tenant: TenantId;
  readonly giver: Giver;
  readonly clock: Clock;
  /** The gateway's own: address and port. */
  authority(): string;
  /** Undefined when the function is gone. */
  pool(): FunctionPool | undefined;
  /** What the function's traffic goes over. */
  line(): Line | undefined;
  counter(): Counter;
  /** Its tenant's. */
  connections(): TenantConnections;
  /** Whether its tenant may make one more request now; it is counted then. */
  mayRequest(): boolean;
}

export class HeldFunction implements ConnectionOwner, Origin {
  readonly key: WorkloadRoute['key'];
  readonly #services: HeldFunctionServices;
  readonly #connections = new Map<string, HeldConnection>();
  #line: HeldConnection[] = [];
  #settings: WebSocketRoute;
  #routes: ReadonlySet<string> = new Set();
  #selection: readonly string[] = [];
  /** Undefined: all. */
  #answering: ReadonlySet<string> | undefined;
  #running = 0;
  /** Monotonic: since when nothing was taken; undefined when the last was. */
  #refusedSinceMs: number | undefined;
  #retry: NodeJS.Timeout | undefined;
  #pumping = false;
  #closed = false;

  constructor(key: WorkloadRoute['key'], settings: WebSocketRoute, services: HeldFunctionServices) {
    this.key = key;
    this.#services = services;
    this.#settings = settings;
    this.setRoute(settings);
  }

  setRoute(settings: WebSocketRoute): void {
    this.#settings = settings;
    this.#routes = new Set(settings.routes);
    const { routeResponses } = settings;
    this.#answering = routeResponses && new Set(routeResponses);
    this.#selection = routeSelectionPath(settings.routeSelectionExpression);
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

  hasRoute(name: '$connect' | '$disconnect'): boolean {
    return this.#routes.has(name);
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
    const { idleTimeoutMs, maxDurationMs } = this.#settings;
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
    this.#closed = true;
    clearTimeout(this.#retry);
    for (const connection of this.#connections.values()) connection.forget(1001, reason);
    this.#connections.clear();
    this.#line.length = 0;
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
    if (this.#closed || connection.turn !== 'none' || this.#offered(connection) || !connection.hasWork)
      return;
    connection.turn = 'inLine';
    this.#line.push(connection);
    this.#pump();
  }

  // ---- those that move between processes

  get tenant(): TenantId {
    return this.#services.tenant;
  }

  /** Offers all that nothing is under way of to the process that serves now. */
  offerAll(): void {
    for (const connection of this.#connections.values())
      if (connection.turn === 'none' || connection.turn === 'inLine') this.#offered(connection);
    this.#line = this.#line.filter(({ turn }) => turn === 'inLine');
  }

  #offered(connection: HeldConnection): boolean {
    if (!this.#services.giver.offer(connection, this)) return false;
    connection.turn = 'moving';
    return true;
  }

  /** It was sent to another process. */
  release(connection: HeldConnection): void {
    this.#connections.delete(connection.id);
    this.#services.connections().leave();
  }

  /** It was not taken there. */
  takeBack(connection: HeldConnection): void {
    this.#services.connections().takeBack();
    if (this.#closed) {
      connection.forget(1001, 'The function was deleted.');
      return;
    }
    this.#connections.set(connection.id, connection);
    this.keep(connection);
  }

  /** It was offered, and is not sent for now. */
  keep(connection: HeldConnection): void {
    connection.turn = 'none';
    if (this.#closed || !connection.hasWork) return;
    connection.turn = 'inLine';
    this.#line.push(connection);
    this.#pump();
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

  // ---- the line

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#retry === undefined && this.#running < heldBounds.atOnce) {
      const connection = this.#line.shift();
      if (connection === undefined) break;
      this.#handOver(connection);
    }
    this.#pumping = false;
  }

  #handOver(connection: HeldConnection): void {
    const requestId = randomUUID();
    const [message] = connection.waiting;
    connection.turn = 'running';
    this.#running += 1;
    if (message !== undefined) this.#handOverMessage(connection, message, requestId);
    else if (connection.state.is === 'left' && this.hasRoute('$disconnect')) {
      const event = disconnectEvent(connection, this.context(requestId), connection.state);
      this.#submit(connection, requestId, event, 0, false);
    } else this.#done(connection);
  }

  #handOverMessage(connection: HeldConnection, message: WaitingMessage, requestId: string): void {
    connection.isCounted ||= this.#services.mayRequest();
    if (!connection.isCounted) {
      this.refused(connection, requestId);
      return;
    }
    const text = message.isBase64Encoded ? undefined : message.body;
    const routeKey = routeKeyOf(text, this.#selection, this.#routes);
    if (routeKey === undefined) {
      tell(connection, 'Forbidden', requestId);
      this.#done(connection);
      return;
    }
    const event = messageEvent(connection, this.context(requestId), routeKey, message);
    this.#submit(connection, requestId, event, message.body.length, this.#answers(routeKey));
  }

  /** Whether its client gets what it answers. */
  #answers(routeKey: string): boolean {
    return this.#answering === undefined || this.#answering.has(routeKey);
  }

  #submit(
    connection: HeldConnection,
    requestId: string,
    event: string,
    bytes: number,
    answers: boolean,
  ): void {
    const sink = new HandOverSink(this, connection, requestId, answers);
    const invocation = new Invocation(event, sink, { requestId });
    const submit = (): void => void this.#services.pool()?.submit(invocation);
    const line = this.#services.line();
    if (line === undefined) submit();
    // Answers go out as they come: who has taken more than its share is heard later.
    else line.whenFree('out', () => line.send('in', bytes, submit));
  }

  /** The function answered, or failed to. @param answer undefined: it failed */
  answered(connection: HeldConnection, requestId: string, answer: RouteAnswer | undefined): void {
    this.#refusedSinceMs = undefined;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#settle(connection, requestId, answer);
  }

  /** No instance took it, or its tenant's rate did not let it: it is as if it had not been handed over, and first next time. */
  refused(connection: HeldConnection, requestId: string): void {
    const nowMs = this.#services.clock.monotonicMs();
    this.#refusedSinceMs ??= nowMs;
    if (nowMs - this.#refusedSinceMs >= heldBounds.patienceMs) {
      this.#settle(connection, requestId, undefined);
      return;
    }
    this.#running -= 1;
    if (this.#closed) return;
    connection.turn = 'inLine';
    this.#line.unshift(connection);
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#pump();
    }, heldBounds.retryMs);
  }

  #settle(connection: HeldConnection, requestId: string, answer: RouteAnswer | undefined): void {
    if (answer === undefined) this.#services.counter().errors += 1;
    // Else it is its end that was handed over, whose answer nobody hears.
    if (connection.waiting.length > 0) {
      this.#services.counter().requests += 1;
      if (answer === undefined) tell(connection, 'Internal server error', requestId);
      else if (answer.body !== undefined) connection.send(answer.body);
    }
    this.#done(connection);
  }

  /** What was handed over is done with: its next message's turn comes after the other connections'. */
  #done(connection: HeldConnection): void {
    this.#running -= 1;
    if (this.#closed) return;
    connection.turn = 'none';
    if (connection.waiting.length > 0) connection.dropFirst();
    else if (connection.state.is === 'left') this.remove(connection);
    this.changed(connection);
    this.#pump();
  }
}

/** API Gateway's words for a message that came to nothing. */
function tell(connection: HeldConnection, message: string, requestId: string): void {
  connection.send(JSON.stringify({ message, connectionId: connection.id, requestId }));
}

class HandOverSink implements Sink {
  readonly #owner: HeldFunction;
  readonly #connection: HeldConnection;
  readonly #requestId: string;
  readonly #answers: boolean;

  /** @param answers whether what is answered is for the client; that it failed always is */
  constructor(owner: HeldFunction, connection: HeldConnection, requestId: string, answers: boolean) {
    this.#owner = owner;
    this.#connection = connection;
    this.#requestId = requestId;
    this.#answers = answers;
  }

  onResult({ outcome: how, body }: Result): void {
    const answer = how === outcome.ok ? readAnswer(body) : undefined;
    const told = this.#answers || answer === undefined ? answer : { ...answer, body: undefined };
    this.#owner.answered(this.#connection, this.#requestId, told);
  }

  onFailure(failure: Failure): void {
    switch (failure.kind) {
      case 'functionError':
        this.#owner.answered(this.#connection, this.#requestId, undefined);
        return;
      case 'throttled':
      case 'unavailable':
        this.#owner.refused(this.#connection, this.#requestId);
        return;
      // Its connections end with it.
      case 'gone':
    }
  }
}
