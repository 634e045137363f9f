// Serves a request at a function's URL: reads it, runs the function, sends what it says.
// Owns the exchange with the client. Event and answer are event.ts and response.ts, a streamed body is streamed.ts; who runs it is
// invoke/.
import { randomUUID } from 'node:crypto';
import { BellowsError } from '../../base/errors.ts';
import { invokeFlag, outcome, type Result } from '../../protocol/instance.ts';
import { sendError, sendJson } from '../answer.ts';
import { payloadLimits } from '../config.ts';
import type { Answer, FunctionRequest } from '../exchange.ts';
import { paced, type Line } from '../bandwidth/line.ts';
import type { Throttled } from '../invoke/concurrency.ts';
import type { FunctionPool } from '../invoke/function-pool.ts';
import { extraOf, Invocation, type Failure, type Sink } from '../invoke/invocation.ts';
import type { Meter } from '../meter.ts';
import { buildEvent } from './event.ts';
import { readPrelude, readResponse } from './response.ts';
import { GatheredAnswer, LiveAnswer, type StreamedAnswer } from './streamed.ts';

export interface UrlExchange {
  readonly request: FunctionRequest;
  readonly response: Answer;
  /** Path and query below the function's own root. */
  readonly url: string;
  readonly pool: FunctionPool;
  readonly accountId: string;
  readonly meter: Meter;
  /** What the function's traffic goes over. */
  readonly line: Line | undefined;
}

export function serveUrl(exchange: UrlExchange): void {
  const { request, response, pool, meter } = exchange;
  const { key } = pool.route;
  if (!pool.route.url) {
    sendError(
      response,
      new BellowsError(
        'Forbidden',
        `The function ${key} has no URL.`,
        pool.route.websocket === null
          ? 'Set "url": true in its bellows.json and deploy it again.'
          : 'It takes WebSockets: connect to it by ws://. For requests, set "url": true in its bellows.json and deploy it again.',
      ),
    );
    return;
  }
  if (request.waitsToSend) {
    const throttled = pool.refuses(Number(request.headers.get('content-length') ?? 0));
    if (throttled !== undefined) {
      meter.of(key).requests += 1;
      meter.of(key).throttles += 1;
      sendThrottled(response, throttled);
      return;
    }
  }
  request.readBody(payloadLimits.requestBytes, { tenant: pool.route.tenant, proven: true }, (body) => {
    switch (body.kind) {
      case 'whole':
        paced(exchange.line, 'in', body.bytes.length, () => run(exchange, body.bytes));
        return;
      case 'tooLarge':
        meter.of(key).errors += 1;
        sendJson(response, 413, { message: 'Request Entity Too Large' }, ['Connection', 'close']);
        return;
      case 'noRoom':
        meter.of(key).throttles += 1;
        sendJson(
          response,
          429,
          {
            message: 'Too Many Requests',
            Reason: 'CallerRateLimitExceeded',
            detail: body.error.message,
          },
          ['Retry-After', '1'],
        );
        return;
      case 'tooSlow':
        meter.of(key).errors += 1;
        sendJson(response, 408, { message: 'Request Timeout', detail: body.error.message }, [
          'Connection',
          'close',
        ]);
        return;
      case 'aborted':
    }
  });
}

function run(exchange: UrlExchange, body: Buffer): void {
  const { request, response, url, pool, accountId, meter } = exchange;
  if (response.destroyed) return;
  const requestId = randomUUID();
  const { key } = pool.route;
  const event = buildEvent({
    request,
    url,
    body,
    requestId,
    nowMs: Date.now(),
    key,
    accountId,
  });
  const streams = pool.route.invokeMode === 'RESPONSE_STREAM';
  const sink = new UrlSink(exchange, requestId, streams);
  const extra = extraOf('', request.headers.eventHeaders?.traceId);
  const invocation = new Invocation(event, sink, { requestId, flags: invokeFlag.stream, extra });
  sink.invocation = invocation;
  meter.of(key).requests += 1;
  if (streams) {
    response.once('close', () => sink.onClose());
    pool.submit(invocation);
  } else if (pool.submit(invocation) === 'waiting') {
    // Only what waits can be taken back; what runs is finished, as Lambda does, and its answer goes nowhere.
    response.once('close', () => pool.cancel(invocation));
  }
}

function sendThrottled(response: Answer, { reason, message }: Throttled): void {
  const body = { message: 'Too Many Requests', Reason: reason, detail: message };
  sendJson(response, 429, body, ['Retry-After', '1']);
}

class UrlSink implements Sink {
  /** What it is the sink of, from before it is submitted. */
  invocation: Invocation | undefined;
  readonly #exchange: UrlExchange;
  readonly #response: Answer;
  readonly #requestId: string;
  /** Whether what a streaming handler writes is sent as it comes. */
  readonly #streams: boolean;
  /** Of a handler that streams, once it has begun. */
  #streamed: StreamedAnswer | undefined;
  #ended = false;

  constructor(exchange: UrlExchange, requestId: string, streams: boolean) {
    this.#exchange = exchange;
    this.#response = exchange.response;
    this.#requestId = requestId;
    this.#streams = streams;
  }

  /** The connection of a client that takes a stream has ended, or the answer has. */
  onClose(): void {
    if (!this.#ended) this.#giveUp();
  }

  onResult({ outcome: how, body }: Result): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#streamed !== undefined) {
      if (how === outcome.ok) this.#streamed.end();
      else this.#refuse(502, 'Internal Server Error');
      return;
    }
    const answer =
      how === outcome.ok && body.length <= payloadLimits.responseBytes ? readResponse(body) : undefined;
    if (answer === undefined) {
      this.#refuse(502, 'Internal Server Error');
      return;
    }
    answer.headers.push('x-amzn-requestid', this.#requestId);
    paced(this.#exchange.line, 'out', answer.body.length, () => {
      if (this.#response.destroyed) return;
      this.#response.writeHead(answer.status, answer.headers);
      this.#response.end(answer.body);
    });
  }

  onFailure(failure: Failure): void {
    if (this.#ended) return;
    this.#ended = true;
    switch (failure.kind) {
      case 'throttled':
        this.#count('throttles');
        sendThrottled(this.#response, failure);
        return;
      case 'functionError':
        if (failure.timedOut) this.#refuse(504, 'Endpoint request timed out');
        else this.#refuse(502, 'Internal Server Error');
        return;
      case 'unavailable':
        this.#count('errors');
        sendJson(this.#response, 503, { message: 'Service Unavailable', reason: failure.message }, [
          'Retry-After',
          '1',
        ]);
        return;
      case 'gone':
        this.#refuse(404, 'Not Found');
    }
  }

  onStreamStart(payload: Buffer): void {
    if (this.#ended) return;
    const head = readPrelude(payload);
    if (head === undefined) {
      this.#refuse(502, 'Internal Server Error');
      this.#giveUp();
      return;
    }
    const Body = this.#streams ? LiveAnswer : GatheredAnswer;
    const headers = [...head.headers, 'x-amzn-requestid', this.#requestId];
    this.#streamed = new Body(this.#response, this.#exchange.line, { status: head.status, headers });
  }

  onStreamChunk(chunk: Buffer, resume: () => void): boolean {
    if (this.#ended || this.#streamed === undefined) return true;
    const taken = this.#streamed.take(chunk, resume);
    if (taken !== 'tooLarge') return taken === 'goOn';
    this.#refuse(502, 'Internal Server Error');
    this.#giveUp();
    return true;
  }

  /** Nothing more of the answer is taken. */
  #giveUp(): void {
    this.#ended = true;
    if (this.invocation !== undefined) this.#exchange.pool.abandon(this.invocation);
  }

  /** Once the head is out, only a connection that breaks off shows that the body is not whole: see `sendJson`. */
  #refuse(status: number, message: string): void {
    this.#count('errors');
    sendJson(this.#response, status, { message }, ['x-amzn-requestid', this.#requestId]);
  }

  #count(kind: 'errors' | 'throttles'): void {
    const { meter, pool } = this.#exchange;
    meter.of(pool.route.key)[kind] += 1;
  }
}
