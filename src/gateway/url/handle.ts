// Serves a request at a function's URL: reads it, runs the function, sends what it says.
// Owns the exchange with the client. Event and answer are event.ts and response.ts; who runs it is invoke/.
import { randomUUID } from 'node:crypto';
import { BellowsError } from '../../base/errors.ts';
import { invokeFlag, outcome, type Result } from '../../protocol/instance.ts';
import { sendError, sendJson } from '../answer.ts';
import { payloadLimits } from '../config.ts';
import type { Answer, FunctionRequest } from '../exchange.ts';
import { paced, type Line } from '../bandwidth/line.ts';
import type { FunctionPool } from '../invoke/function-pool.ts';
import { extraOf, Invocation, type Failure, type Sink } from '../invoke/invocation.ts';
import type { Meter } from '../meter.ts';
import { buildEvent } from './event.ts';
import { readPrelude, readResponse } from './response.ts';

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
        'Set "url": true in its bellows.json and deploy it again.',
      ),
    );
    return;
  }
  request.readBody(payloadLimits.requestBytes, (body) => {
    switch (body.kind) {
      case 'whole':
        paced(exchange.line, 'in', body.bytes.length, () => run(exchange, body.bytes));
        return;
      case 'tooLarge':
        meter.of(key).errors += 1;
        sendJson(response, 413, { message: 'Request Entity Too Large' }, ['Connection', 'close']);
        return;
      case 'aborted':
    }
  });
}

function run({ request, response, url, pool, accountId, meter, line }: UrlExchange, body: Buffer): void {
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
  const sink = new UrlSink(response, requestId, line, (kind) => (meter.of(key)[kind] += 1));
  const extra = extraOf('', request.headers.eventHeaders?.traceId);
  const invocation = new Invocation(event, sink, { requestId, flags: invokeFlag.stream, extra });
  meter.of(key).requests += 1;
  // Only what waits can be taken back; what runs is finished, and its answer goes nowhere.
  if (pool.submit(invocation) === 'waiting') response.once('close', () => pool.cancel(invocation));
}

class UrlSink implements Sink {
  readonly #response: Answer;
  readonly #requestId: string;
  readonly #line: Line | undefined;
  readonly #count: (kind: 'errors' | 'throttles') => void;
  #streaming = false;

  constructor(
    response: Answer,
    requestId: string,
    line: Line | undefined,
    count: (kind: 'errors' | 'throttles') => void,
  ) {
    this.#response = response;
    this.#line = line;
    this.#requestId = requestId;
    this.#count = count;
  }

  onResult({ outcome: how, body }: Result): void {
    if (this.#streaming) {
      if (how === outcome.ok) this.#response.end();
      else this.#cutOff();
      return;
    }
    const answer =
      how === outcome.ok && body.length <= payloadLimits.responseBytes ? readResponse(body) : undefined;
    if (answer === undefined) {
      this.#refuse(502, 'Internal Server Error');
      return;
    }
    answer.headers.push('x-amzn-requestid', this.#requestId);
    paced(this.#line, 'out', answer.body.length, () => {
      if (this.#response.destroyed) return;
      this.#response.writeHead(answer.status, answer.headers);
      this.#response.end(answer.body);
    });
  }

  onFailure(failure: Failure): void {
    if (this.#streaming) {
      this.#cutOff();
      return;
    }
    switch (failure.kind) {
      case 'throttled':
        this.#count('throttles');
        sendJson(
          this.#response,
          429,
          { message: 'Too Many Requests', Reason: failure.reason, detail: failure.message },
          ['Retry-After', '1'],
        );
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
    this.#streaming = true;
    const head = readPrelude(payload);
    if (head === undefined) {
      this.#refuse(502, 'Internal Server Error');
      return;
    }
    if (this.#response.destroyed) return;
    this.#response.writeHead(head.status, [...head.headers, 'x-amzn-requestid', this.#requestId]);
    // The client is to see the head now, not with the first chunk.
    this.#response.flushHeaders();
  }

  onStreamChunk(chunk: Buffer, resume: () => void): boolean {
    // A client that left must not hold up the instance, which finishes all the same.
    if (this.#response.destroyed || this.#response.writableEnded) return true;
    const line = this.#line;
    const drained = this.#response.write(chunk);
    line?.take('out', chunk.length);
    const resumeWhenFree = (): void => {
      if (line === undefined) resume();
      else line.whenFree('out', resume);
    };
    if (drained) {
      if (line === undefined || line.isFree('out')) return true;
      resumeWhenFree();
      return false;
    }
    const goOn = (): void => {
      this.#response.off('drain', goOn).off('close', goOn);
      resumeWhenFree();
    };
    this.#response.once('drain', goOn).once('close', goOn);
    return false;
  }

  #refuse(status: number, message: string): void {
    this.#count('errors');
    sendJson(this.#response, status, { message }, ['x-amzn-requestid', this.#requestId]);
  }

  /** The head is out: only a connection that breaks off shows that the body is not whole. */
  #cutOff(): void {
    this.#count('errors');
    this.#response.destroy();
  }
}
