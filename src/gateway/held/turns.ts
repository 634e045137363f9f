// The line in which a function's held connections stand that have something for it. Each connection's messages are handed over
// one after another, and of all connections in turn, so many at once. What the function's instances do not take now, since
// there are none or too few, waits at the head of the line; what an instance began and broke is told to the client. Owns the
// line. Does not own instances (invoke/), which connections there are (held-function.ts), nor a connection's own state.
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { outcome, type Result } from '../../protocol/instance.ts';
import type { Line } from '../bandwidth/line.ts';
import type { FunctionPool } from '../invoke/function-pool.ts';
import { Invocation, type Failure, type Sink } from '../invoke/invocation.ts';
import type { Counter } from '../meter.ts';
import { readAnswer, type RouteAnswer } from './answer.ts';
import { heldBounds } from './bounds.ts';
import type { HeldConnection, WaitingMessage } from './connection.ts';
import { disconnectEvent, messageEvent, type EventContext } from './event.ts';
import type { HeldRoutes } from './routes.ts';

export interface TurnsServices {
  readonly clock: Clock;
  /** Undefined when the function is gone. */
  pool(): Pick<FunctionPool, 'submit'> | undefined;
  /** What the function's traffic goes over. */
  line(): Line | undefined;
  counter(): Counter;
  /** Whether its tenant may make one more request now; it is counted then. */
  mayRequest(): boolean;
}

/** Whose connections stand in line. */
export interface TurnsOwner {
  readonly routes: HeldRoutes;
  context(requestId: string): EventContext;
  /** Its turn is over, and it may have more. */
  changed(connection: HeldConnection): void;
  /** Its end has been handed over: nothing follows. */
  remove(connection: HeldConnection): void;
}

export class Turns {
  readonly #services: TurnsServices;
  readonly #owner: TurnsOwner;
  readonly #line: HeldConnection[] = [];
  #running = 0;
  /** Monotonic: since when nothing was taken; undefined when the last was. */
  #refusedSinceMs: number | undefined;
  #retry: NodeJS.Timeout | undefined;
  #pumping = false;
  #closed = false;

  constructor(services: TurnsServices, owner: TurnsOwner) {
    this.#services = services;
    this.#owner = owner;
  }

  /** There is no function any more to hand anything to. */
  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#line.length = 0;
  }

  /** It has something to hand over, and its turn comes after those that stand in line. */
  join(connection: HeldConnection): void {
    connection.turn = 'inLine';
    this.#line.push(connection);
    this.#pump();
  }

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#retry === undefined && this.#running < heldBounds.atOnce) {
      const connection = this.#line.shift();
      if (connection === undefined) break;
      // Else it has gone to another process, or came back from there and was here before.
      if (connection.turn === 'inLine') this.#handOver(connection);
    }
    this.#pumping = false;
  }

  #handOver(connection: HeldConnection): void {
    const requestId = randomUUID();
    const [message] = connection.waiting;
    connection.turn = 'running';
    this.#running += 1;
    if (message !== undefined) this.#handOverMessage(connection, message, requestId);
    else if (connection.state.is === 'left' && this.#owner.routes.has('$disconnect')) {
      const event = disconnectEvent(connection, this.#owner.context(requestId), connection.state);
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
    const routeKey = this.#owner.routes.keyOf(text);
    if (routeKey === undefined) {
      tell(connection, 'Forbidden', requestId);
      this.#done(connection);
      return;
    }
    const event = messageEvent(connection, this.#owner.context(requestId), routeKey, message);
    this.#submit(connection, requestId, event, message.body.length, this.#owner.routes.answers(routeKey));
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
    else if (connection.state.is === 'left') this.#owner.remove(connection);
    this.#owner.changed(connection);
    this.#pump();
  }
}

/** API Gateway's words for a message that came to nothing. */
function tell(connection: HeldConnection, message: string, requestId: string): void {
  connection.send(JSON.stringify({ message, connectionId: connection.id, requestId }));
}

class HandOverSink implements Sink {
  readonly #turns: Turns;
  readonly #connection: HeldConnection;
  readonly #requestId: string;
  readonly #answers: boolean;

  /** @param answers whether what is answered is for the client; that it failed always is */
  constructor(turns: Turns, connection: HeldConnection, requestId: string, answers: boolean) {
    this.#turns = turns;
    this.#connection = connection;
    this.#requestId = requestId;
    this.#answers = answers;
  }

  onResult({ outcome: how, body }: Result): void {
    const answer = how === outcome.ok ? readAnswer(body) : undefined;
    const told = this.#answers || answer === undefined ? answer : { ...answer, body: undefined };
    this.#turns.answered(this.#connection, this.#requestId, told);
  }

  onFailure(failure: Failure): void {
    switch (failure.kind) {
      case 'functionError':
        this.#turns.answered(this.#connection, this.#requestId, undefined);
        return;
      case 'throttled':
      case 'unavailable':
        this.#turns.refused(this.#connection, this.#requestId);
        return;
      // Its connections end with it.
      case 'gone':
    }
  }
}
