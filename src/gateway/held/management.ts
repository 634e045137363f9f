// The `@connections` API of API Gateway's WebSocket APIs, for the held connections of one function: send to one, look at it,
// close it. Owns the exchange with the caller, who signs for `execute-api`. Does not own connections.
import { randomUUID } from 'node:crypto';
import { isUtf8 } from 'node:buffer';
import type { BellowsError } from '../../base/errors.ts';
import { LambdaError, lambdaErrorAnswer } from '../../protocol/lambda/errors.ts';
import type { TenantRoute, WorkloadRoute } from '../../protocol/routes.ts';
import type { SignatureVerifier } from '../../protocol/sigv4.ts';
import { paced, type Line } from '../bandwidth/line.ts';
import type { Answer, FunctionRequest } from '../exchange.ts';
import { heldBounds } from './bounds.ts';
import type { HeldConnection } from './connection.ts';
import type { HeldFunction } from './held-function.ts';

export interface ManagementExchange {
  readonly request: FunctionRequest;
  readonly response: Answer;
  readonly workload: WorkloadRoute;
  /** The last part of the path, as it came. */
  readonly encodedId: string;
  readonly held: HeldFunction;
  readonly verifier: SignatureVerifier<TenantRoute>;
  /** What the function's traffic goes over. */
  readonly line: Line | undefined;
}

/** Exceptions of the API's reference, with their statuses. */
const statuses = {
  GoneException: 410,
  ForbiddenException: 403,
  LimitExceededException: 429,
  PayloadTooLargeException: 413,
  BadRequestException: 400,
  RequestTimeoutException: 408,
  MethodNotAllowedException: 405,
} as const;
type ManagementError = keyof typeof statuses;

const prefix = /^\/(?:@|%40)connections\/([^/?]+)(?:\?|$)/i;

/** @param url below the function's own root. @returns the connection's id, still encoded; undefined for anything else */
export function connectionIdIn(url: string): string | undefined {
  return prefix.exec(url)?.[1];
}

export function serveManagement(exchange: ManagementExchange): void {
  const { request, response, workload } = exchange;
  const requestId = randomUUID();
  request.readBody(heldBounds.messageBytes, workload.tenant, (body) => {
    switch (body.kind) {
      case 'whole':
        if (isAllowed(exchange, body.bytes, requestId)) serve(exchange, body.bytes, requestId);
        return;
      case 'tooLarge':
        // Whoever it is: a body that is not read can not be proven to be anybody's.
        fail(
          response,
          requestId,
          'PayloadTooLargeException',
          `A message has at most ${heldBounds.messageBytes} bytes.`,
          closing,
        );
        return;
      case 'noRoom':
        fail(response, requestId, 'LimitExceededException', body.error.message);
        return;
      case 'tooSlow':
        fail(response, requestId, 'RequestTimeoutException', body.error.message, closing);
        return;
      case 'aborted':
    }
  });
}

/** The tenant asks for too much. */
export function refuseManagement(response: Answer, error: BellowsError): void {
  fail(response, randomUUID(), 'LimitExceededException', error.message);
}

function isAllowed(
  { request, response, workload, verifier }: ManagementExchange,
  body: Buffer,
  requestId: string,
): boolean {
  try {
    const { credential } = verifier.verify({
      method: request.method,
      url: request.url,
      rawHeaders: request.headers.raw,
      body,
    });
    if (credential.id === workload.tenant) return true;
    fail(response, requestId, 'ForbiddenException', 'The function belongs to another tenant.');
  } catch (thrown) {
    if (!(thrown instanceof LambdaError)) throw thrown;
    const { status, headers, body: text } = lambdaErrorAnswer(thrown, requestId);
    send(response, status, Object.entries(headers).flat(), text);
  }
  return false;
}

function serve(
  { request, response, encodedId, held, line }: ManagementExchange,
  body: Buffer,
  requestId: string,
): void {
  const connection = held.connection(decoded(encodedId));
  if (connection?.state.is !== 'open') {
    fail(response, requestId, 'GoneException', 'There is no such connection, or none any more.');
    return;
  }
  const headers = ['x-amzn-RequestId', requestId];
  switch (request.method) {
    case 'POST': {
      // A frame is text or binary, and the API knows bytes only: what can be text is.
      const sent = connection.send(isUtf8(body) ? body.toString('utf8') : body);
      if (sent === 'full')
        fail(
          response,
          requestId,
          'LimitExceededException',
          'The client does not read what it was sent before.',
        );
      else paced(line, 'out', 0, () => send(response, 200, headers, ''));
      return;
    }
    case 'GET':
      send(
        response,
        200,
        [...headers, 'Content-Type', 'application/json'],
        JSON.stringify(shown(connection)),
      );
      return;
    case 'DELETE':
      connection.close(1000, 'Connection Closed Normally');
      send(response, 204, headers, undefined);
      return;
    default:
      fail(response, requestId, 'MethodNotAllowedException', 'A connection takes POST, GET and DELETE.');
  }
}

function shown({ connectedAtMs, lastActiveAtMs, sourceIp, userAgent }: HeldConnection): object {
  return {
    connectedAt: new Date(connectedAtMs).toISOString(),
    identity: { sourceIp, userAgent },
    lastActiveAt: new Date(lastActiveAtMs).toISOString(),
  };
}

function decoded(encodedId: string): string {
  try {
    return decodeURIComponent(encodedId);
  } catch {
    // No connection is called so.
    return encodedId;
  }
}

/** A body that was not read to its end would be taken for the next request. */
const closing = ['Connection', 'close'] as const;

function fail(
  response: Answer,
  requestId: string,
  error: ManagementError,
  message: string,
  more: readonly string[] = [],
): void {
  const headers = [
    'Content-Type',
    'application/json',
    'x-amzn-RequestId',
    requestId,
    'x-amzn-ErrorType',
    error,
    ...more,
  ];
  send(response, statuses[error], headers, JSON.stringify({ message }));
}

/** @param text undefined: an answer that has no body by its status */
function send(response: Answer, status: number, headers: string[], text: string | undefined): void {
  if (response.destroyed) return;
  response.writeHead(
    status,
    text === undefined ? headers : [...headers, 'Content-Length', String(Buffer.byteLength(text))],
  );
  response.end(text);
}
