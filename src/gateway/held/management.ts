// The `@connections` API of API Gateway's WebSocket APIs, for the held connections of one function: send to one, look at it,
// close it. Owns the exchange with the caller, who signs for `execute-api`. Does not own connections.
import { randomUUID } from 'node:crypto';
import { messageOf, type BellowsError } from '../../base/errors.ts';
import type { Managed, ManageParams } from '../../protocol/beside.ts';
import { LambdaError, lambdaErrorAnswer } from '../../protocol/lambda/errors.ts';
import type { TenantRoute, WorkloadRoute } from '../../protocol/routes.ts';
import type { SignatureVerifier, Verified } from '../../protocol/sigv4.ts';
import { paced, type Line } from '../bandwidth/line.ts';
import type { Answer, FunctionRequest } from '../exchange.ts';
import { heldBounds } from './bounds.ts';
import type { HeldFunction } from './held-function.ts';
import { manage } from './manage.ts';

export interface ManagementExchange {
  readonly request: FunctionRequest;
  readonly response: Answer;
  readonly workload: WorkloadRoute;
  /** The last part of the path, as it came. */
  readonly encodedId: string;
  readonly held: HeldFunction;
  readonly verifier: SignatureVerifier<TenantRoute>;
  /** Does it in the gateway that has the connection, where this one has not; rejects when it is not known whether that is so. */
  readonly elsewhere: (params: ManageParams) => Promise<Managed>;
  /** What the function's traffic goes over. */
  readonly line: Line | undefined;
}

/** Exceptions of the API's reference, with their statuses, and one more. */
const statuses = {
  GoneException: 410,
  ForbiddenException: 403,
  LimitExceededException: 429,
  PayloadTooLargeException: 413,
  BadRequestException: 400,
  RequestTimeoutException: 408,
  MethodNotAllowedException: 405,
  /** Not of the reference: the gateway that has the connection does not answer. Callers try again. */
  ServiceUnavailableException: 503,
} as const;
type ManagementError = keyof typeof statuses;

const prefix = /^\/(?:@|%40)connections\/([^/?]+)(?:\?|$)/i;

/** @param url below the function's own root. @returns the connection's id, still encoded; undefined for anything else */
export function connectionIdIn(url: string): string | undefined {
  return prefix.exec(url)?.[1];
}

export function serveManagement(exchange: ManagementExchange): void {
  const { request, response, workload, verifier } = exchange;
  const { tenant } = workload;
  const requestId = randomUUID();
  const signed = { method: request.method, url: request.url, rawHeaders: request.headers.raw };
  let proven = true;
  if (!request.isWhole) {
    const head = allowed(exchange, requestId, () => verifier.verifyHead(signed));
    if (head === undefined) return;
    ({ proven } = head);
  }
  request.readBody(heldBounds.messageBytes, { tenant, proven }, (body) => {
    switch (body.kind) {
      case 'whole': {
        const { bytes } = body;
        if (allowed(exchange, requestId, () => verifier.verify({ ...signed, body: bytes })) === undefined)
          return;
        const full = body.belongs();
        if (full === undefined) serve(exchange, bytes, requestId);
        else fail(response, requestId, 'LimitExceededException', full.message);
        return;
      }
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

/** @returns undefined when it is refused, and told so */
function allowed<V extends Verified<TenantRoute>>(
  { response, workload }: ManagementExchange,
  requestId: string,
  verify: () => V,
): V | undefined {
  try {
    const verified = verify();
    if (verified.credential.id === workload.tenant) return verified;
    fail(response, requestId, 'ForbiddenException', 'The function belongs to another tenant.');
  } catch (thrown) {
    if (!(thrown instanceof LambdaError)) throw thrown;
    const { status, headers, body: text } = lambdaErrorAnswer(thrown, requestId);
    send(response, status, Object.entries(headers).flat(), text);
  }
  return undefined;
}

/** By the method that asks for it. */
const acts: Readonly<Record<string, ManageParams['act']>> = { POST: 'send', GET: 'look', DELETE: 'close' };

function serve(exchange: ManagementExchange, body: Buffer, requestId: string): void {
  const { request, response, workload, encodedId, held, elsewhere } = exchange;
  const act = acts[request.method];
  if (act === undefined) {
    fail(response, requestId, 'MethodNotAllowedException', 'A connection takes POST, GET and DELETE.');
    return;
  }
  const id = decoded(encodedId);
  const managed = manage(held, { id, act }, body);
  if (managed.is !== 'unknown') {
    tell(exchange, managed, requestId);
    return;
  }
  elsewhere({ workload: workload.key, id, act, body: body.toString('base64') }).then(
    (there) => tell(exchange, there, requestId),
    (thrown: unknown) => fail(response, requestId, 'ServiceUnavailableException', messageOf(thrown)),
  );
}

function tell({ request, response, line }: ManagementExchange, managed: Managed, requestId: string): void {
  const headers = ['x-amzn-RequestId', requestId];
  switch (managed.is) {
    case 'done':
      if (request.method === 'DELETE') send(response, 204, headers, undefined);
      else paced(line, 'out', 0, () => send(response, 200, headers, ''));
      return;
    case 'seen':
      send(response, 200, [...headers, 'Content-Type', 'application/json'], JSON.stringify(shown(managed)));
      return;
    case 'full':
      fail(
        response,
        requestId,
        'LimitExceededException',
        'The client does not read what it was sent before.',
      );
      return;
    case 'gone':
    case 'unknown':
      fail(response, requestId, 'GoneException', 'There is no such connection, or none any more.');
  }
}

function shown({
  connectedAtMs,
  lastActiveAtMs,
  sourceIp,
  userAgent,
}: Extract<Managed, { is: 'seen' }>): object {
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
