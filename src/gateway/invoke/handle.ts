// Lambda's Invoke: who may, what is asked for, and the answer in AWS's shape.
// Owns the exchange with the client. Who runs it is function-pool.ts; events that are to be stored go to the controller.
import { randomUUID } from 'node:crypto';
import { functionArn, latestVersion } from '../../model/lambda.ts';
import { invokeFlag, outcome, type Result } from '../../protocol/instance.ts';
import { LambdaError, lambdaErrorAnswer } from '../../protocol/lambda/errors.ts';
import { functionNotFound, parseFunctionName } from '../../protocol/lambda/names.ts';
import type { TenantRoute } from '../../protocol/routes.ts';
import type { SignatureVerifier } from '../../protocol/sigv4.ts';
import { workloadKey, type WorkloadKey } from '../../base/ids.ts';
import type { Body } from '../body.ts';
import { paced, type Line } from '../bandwidth/line.ts';
import type { Lines } from '../bandwidth/lines.ts';
import { payloadLimits } from '../config.ts';
import type { Answer, FunctionRequest } from '../exchange.ts';
import type { RequestRates } from '../limits/request-rate.ts';
import type { Meter } from '../meter.ts';
import { traceHeader } from '../url/event-headers.ts';
import type { FunctionPool } from './function-pool.ts';
import type { Functions } from './functions.ts';
import { extraOf, Invocation, type Failure, type Sink } from './invocation.ts';
import { responseTooLargePayload } from './payloads.ts';

export interface InvokeServices {
  readonly functions: Functions;
  readonly verifier: SignatureVerifier<TenantRoute>;
  readonly meter: Meter;
  readonly rates: RequestRates;
  /** What functions' traffic goes over. */
  readonly lines: Lines;
  enqueue(workload: WorkloadKey, requestId: string, event: string, clientContext: string): Promise<void>;
  /** Told of what is nobody's fault but ours. */
  onDefect(error: unknown): void;
}

const invocationTypes = ['RequestResponse', 'Event', 'DryRun'] as const;
type InvocationType = (typeof invocationTypes)[number];

/** @param functionName the path's part, still percent-encoded */
export function serveInvoke(
  request: FunctionRequest,
  response: Answer,
  functionName: string,
  services: InvokeServices,
): void {
  const requestId = randomUUID();
  const fail = (thrown: unknown): void => {
    if (!(thrown instanceof LambdaError)) services.onDefect(thrown);
    sendLambdaError(
      response,
      thrown instanceof LambdaError
        ? thrown
        : new LambdaError('ServiceException', 'Bellows failed to do this; the details are in its log.'),
      requestId,
    );
  };
  let type: InvocationType;
  try {
    if (request.method !== 'POST')
      throw new LambdaError('UnknownOperationException', `Invoke is a POST, not a ${request.method}.`);
    type = readType(request);
  } catch (thrown) {
    fail(thrown);
    return;
  }
  const limitBytes = type === 'Event' ? payloadLimits.eventBytes : payloadLimits.requestBytes;
  request.readBody(limitBytes, (body) => {
    try {
      if (body.kind === 'aborted') return;
      if (body.kind === 'tooLarge') {
        throw new LambdaError(
          'RequestTooLargeException',
          `Request must be smaller than ${limitBytes} bytes for the InvokeFunction operation`,
        );
      }
      invoke({ request, response, functionName, type, requestId, body, services, fail });
    } catch (thrown) {
      fail(thrown);
    }
  });
}

interface Call {
  readonly request: FunctionRequest;
  readonly response: Answer;
  readonly functionName: string;
  readonly type: InvocationType;
  readonly requestId: string;
  readonly body: Extract<Body, { kind: 'whole' }>;
  readonly services: InvokeServices;
  readonly fail: (thrown: unknown) => void;
}

function invoke(call: Call): void {
  const { request, response, type, requestId, body, services } = call;
  const { credential: tenant, region } = services.verifier.verify({
    method: 'POST',
    url: request.url,
    rawHeaders: request.headers.raw,
    body: body.bytes,
  });
  const pool = findFunction(call, tenant, region);
  const rate = services.rates.of(tenant.id);
  if (!rate.enter()) {
    const counter = services.meter.of(pool.route.key);
    counter.requests += 1;
    counter.throttles += 1;
    throw rate.lambdaRefusal();
  }
  const event = checkEvent(body.bytes);
  const clientContext = readClientContext(request);
  switch (type) {
    case 'DryRun':
      response.writeHead(204, ['x-amzn-RequestId', requestId]);
      response.end();
      return;
    case 'Event':
      services.enqueue(pool.route.key, requestId, event.toString('utf8'), clientContext).then(() => {
        if (response.destroyed) return;
        response.writeHead(202, ['x-amzn-RequestId', requestId, 'Content-Length', '0']);
        response.end();
      }, call.fail);
      return;
    case 'RequestResponse': {
      const { key } = pool.route;
      const line = services.lines.ofWorkload(key);
      const wantsLog = request.headers.get('x-amz-log-type') === 'Tail';
      const sink = new InvokeSink(
        response,
        requestId,
        pool,
        line,
        tenant,
        region,
        (kind) => (services.meter.of(key)[kind] += 1),
      );
      const extra = extraOf(clientContext, request.headers.get(traceHeader));
      const invocation = new Invocation(event, sink, {
        requestId,
        flags: wantsLog ? invokeFlag.logTail : 0,
        extra,
      });
      services.meter.of(key).requests += 1;
      paced(line, 'in', event.length, () => {
        if (response.destroyed) return;
        if (pool.submit(invocation) === 'waiting') response.once('close', () => pool.cancel(invocation));
      });
    }
  }
}

function readType(request: FunctionRequest): InvocationType {
  const given = request.headers.get('x-amz-invocation-type') ?? 'RequestResponse';
  const type = invocationTypes.find((known) => known === given);
  if (type === undefined) {
    throw new LambdaError(
      'InvalidParameterValueException',
      `Unsupported invocation type ${JSON.stringify(given)}; use ${invocationTypes.join(', ')}.`,
    );
  }
  return type;
}

function findFunction(
  { request, functionName, services }: Call,
  tenant: TenantRoute,
  region: string,
): FunctionPool {
  const queryAt = request.url.indexOf('?');
  // Rare enough that the common call does not pay for a parser of queries.
  const given = queryAt < 0 ? null : new URLSearchParams(request.url.slice(queryAt + 1)).get('Qualifier');
  let decoded = functionName;
  try {
    decoded = decodeURIComponent(functionName);
  } catch {
    // Not valid: it then fits no name either.
  }
  const { name, accountId, qualifier } = parseFunctionName(decoded, given);
  if (accountId !== null && accountId !== tenant.accountId) {
    throw new LambdaError(
      'AccessDeniedException',
      `User: arn:aws:iam::${tenant.accountId}:root is not authorized to perform: lambda:InvokeFunction on resource: ` +
        `${functionArn(region, accountId, name)} because no resource-based policy allows the lambda:InvokeFunction action`,
    );
  }
  const pool = services.functions.pool(workloadKey(tenant.id, name));
  if (pool === undefined || (qualifier !== null && qualifier !== latestVersion)) {
    throw functionNotFound(region, tenant.accountId, name, qualifier);
  }
  return pool;
}

/** The event as it is sent on; nothing becomes an empty object, as AWS does. */
function checkEvent(bytes: Buffer): Buffer {
  if (bytes.length === 0) return emptyEvent;
  try {
    JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new LambdaError(
      'InvalidRequestContentException',
      `Could not parse request body into json: ${error instanceof Error ? error.message : ''}`,
    );
  }
  return bytes;
}
const emptyEvent = Buffer.from('{}');

/** JSON, or empty when there is none. */
function readClientContext(request: FunctionRequest): string {
  const header = request.headers.get('x-amz-client-context');
  if (header === undefined) return '';
  if (header.length > payloadLimits.clientContextBytes) {
    throw new LambdaError(
      'InvalidRequestContentException',
      `Client context must be at most ${payloadLimits.clientContextBytes} bytes.`,
    );
  }
  const text = Buffer.from(header, 'base64').toString('utf8');
  try {
    const context: unknown = JSON.parse(text);
    if (typeof context === 'object' && context !== null) return text;
  } catch {
    // Answered below.
  }
  throw new LambdaError(
    'InvalidRequestContentException',
    'Client context must be a valid Base64-encoded JSON object.',
  );
}

function sendLambdaError(response: Answer, error: LambdaError, requestId: string): void {
  if (response.destroyed || response.headersSent) return;
  const { status, headers, body } = lambdaErrorAnswer(error, requestId);
  // A body that was not read to its end would be taken for the next request.
  const closing = error.type === 'RequestTooLargeException' ? ['Connection', 'close'] : [];
  response.writeHead(status, [
    ...Object.entries(headers).flat(),
    ...closing,
    'Content-Length',
    String(Buffer.byteLength(body)),
  ]);
  response.end(body);
}

class InvokeSink implements Sink {
  readonly #response: Answer;
  readonly #requestId: string;
  readonly #pool: FunctionPool;
  readonly #line: Line | undefined;
  readonly #tenant: TenantRoute;
  readonly #region: string;
  readonly #count: (kind: 'errors' | 'throttles') => void;

  constructor(
    response: Answer,
    requestId: string,
    pool: FunctionPool,
    line: Line | undefined,
    tenant: TenantRoute,
    region: string,
    count: (kind: 'errors' | 'throttles') => void,
  ) {
    this.#response = response;
    this.#requestId = requestId;
    this.#pool = pool;
    this.#line = line;
    this.#tenant = tenant;
    this.#region = region;
    this.#count = count;
  }

  onResult({ outcome: how, logTail, body }: Result): void {
    if (body.length > payloadLimits.responseBytes) this.#answer(true, responseTooLargePayload(), logTail);
    else this.#answer(how !== outcome.ok, body, logTail);
  }

  onFailure(failure: Failure): void {
    switch (failure.kind) {
      case 'functionError':
        if (failure.logTail === undefined) this.#answer(true, failure.payload, undefined);
        else void failure.logTail.then((tail) => this.#answer(true, failure.payload, tail));
        return;
      case 'throttled':
        this.#count('throttles');
        this.#refuse(
          new LambdaError('TooManyRequestsException', failure.message, {
            Reason: failure.reason,
            retryAfterSeconds: '1',
          }),
        );
        return;
      case 'unavailable':
        this.#count('errors');
        this.#refuse(
          new LambdaError('ServiceUnavailableException', failure.message, { retryAfterSeconds: '1' }),
        );
        return;
      case 'gone':
        this.#refuse(functionNotFound(this.#region, this.#tenant.accountId, this.#pool.route.name, null));
    }
  }

  #refuse(error: LambdaError): void {
    sendLambdaError(this.#response, error, this.#requestId);
  }

  /** AWS marks every failure in a function `Unhandled` since it left the first runtimes behind. */
  #answer(failed: boolean, payload: string | Buffer, logTail: Buffer | undefined): void {
    if (failed) this.#count('errors');
    const bytes = typeof payload === 'string' ? Buffer.byteLength(payload) : payload.length;
    const headers = [
      'Content-Type',
      'application/json',
      'Content-Length',
      String(bytes),
      'x-amzn-RequestId',
      this.#requestId,
      'X-Amz-Executed-Version',
      latestVersion,
    ];
    if (failed) headers.push('X-Amz-Function-Error', 'Unhandled');
    if (logTail !== undefined && logTail.length > 0)
      headers.push('X-Amz-Log-Result', logTail.toString('base64'));
    paced(this.#line, 'out', bytes, () => {
      if (this.#response.destroyed) return;
      this.#response.writeHead(200, headers);
      // One string goes out with the head in one write; large ones are better left as they are.
      this.#response.end(
        typeof payload === 'string' || payload.length > 16_384 ? payload : payload.toString('utf8'),
      );
    });
  }
}
