// Lambda's Invoke and InvokeWithResponseStream: who runs what was asked for, and who is told.
// Reading what is asked is call.ts, answers are sinks. Who runs it is function-pool.ts; events that are to be stored go to the controller.
import { randomUUID } from 'node:crypto';
import { invokeFlag } from '../../protocol/instance.ts';
import { LambdaError } from '../../protocol/lambda/errors.ts';
import type { TenantRoute } from '../../protocol/routes.ts';
import type { SignatureVerifier } from '../../protocol/sigv4.ts';
import type { TenantId, WorkloadKey } from '../../base/ids.ts';
import type { BellowsError } from '../../base/errors.ts';
import type { Body, BodyOwner } from '../body.ts';
import { paced } from '../bandwidth/line.ts';
import type { Lines } from '../bandwidth/lines.ts';
import { payloadLimits } from '../config.ts';
import type { Answer, FunctionRequest } from '../exchange.ts';
import type { RequestRates } from '../limits/request-rate.ts';
import type { Meter } from '../meter.ts';
import { traceHeader } from '../url/event-headers.ts';
import {
  checkEvent,
  findFunction,
  readClientContext,
  readType,
  sendLambdaError,
  type InvocationType,
} from './call.ts';
import { throttledError, type CallExchange } from './call-sink.ts';
import type { Functions } from './functions.ts';
import { extraOf, Invocation } from './invocation.ts';
import { InvokeSink } from './invoke-sink.ts';
import { StreamSink } from './stream-sink.ts';

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

/** What is called, as in the path. */
export interface Called {
  /** Still percent-encoded. */
  readonly functionName: string;
  /** InvokeWithResponseStream. */
  readonly streamed: boolean;
}

const wholeTypes = ['RequestResponse', 'Event', 'DryRun'] as const;
const streamedTypes = ['RequestResponse', 'DryRun'] as const;

export function serveInvoke(
  request: FunctionRequest,
  response: Answer,
  called: Called,
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
  let owner: BodyOwner;
  try {
    if (request.method !== 'POST')
      throw new LambdaError('UnknownOperationException', `Invoke is a POST, not a ${request.method}.`);
    type = readType(request, called.streamed ? streamedTypes : wholeTypes);
    owner = ownerOf(request, called, type, services);
  } catch (thrown) {
    fail(thrown);
    return;
  }
  const limitBytes = type === 'Event' ? payloadLimits.eventBytes : payloadLimits.requestBytes;
  request.readBody(limitBytes, owner, (body) => {
    try {
      switch (body.kind) {
        case 'whole':
          invoke({ request, response, called, type, requestId, body, services, fail });
          return;
        case 'tooLarge':
          throw new LambdaError(
            'RequestTooLargeException',
            `Request must be smaller than ${limitBytes} bytes for the ${called.streamed ? 'InvokeWithResponseStream' : 'InvokeFunction'} operation`,
          );
        case 'noRoom':
          throw noRoom(body.error);
        case 'tooSlow':
          throw new LambdaError('RequestTimeoutException', body.error.message);
        case 'aborted':
      }
    } catch (thrown) {
      fail(thrown);
    }
  });
}

/**
 * Whom a body that still has to come is read for: who the head says it is, which the whole request proves where the head alone
 * does not. Whose it can not be, and what would be refused with it, is refused without it.
 * @throws LambdaError
 */
function ownerOf(
  request: FunctionRequest,
  { functionName }: Called,
  type: InvocationType,
  { functions, verifier, rates, meter }: InvokeServices,
): BodyOwner {
  if (request.isWhole) return nobody;
  const { credential, region, proven } = verifier.verifyHead({
    method: request.method,
    url: request.url,
    rawHeaders: request.headers.raw,
  });
  const rate = rates.of(credential.id);
  if (!rate.hasRoom) throw rate.lambdaRefusal();
  if (proven && request.waitsToSend && type === 'RequestResponse') {
    const pool = findFunction(request, functionName, functions, credential, region);
    const throttled = pool.refuses(Number(request.headers.get('content-length') ?? 0));
    if (throttled !== undefined) {
      const counter = meter.of(pool.route.key);
      counter.requests += 1;
      counter.throttles += 1;
      throw throttledError(throttled);
    }
  }
  return { tenant: credential.id, proven };
}
/** What is there already needs nobody's memory. */
const nobody: BodyOwner = { tenant: '' as TenantId, proven: true };

function noRoom({ message }: BellowsError): LambdaError {
  return new LambdaError('TooManyRequestsException', `Rate Exceeded. ${message}`, {
    Reason: 'CallerRateLimitExceeded',
    retryAfterSeconds: '1',
  });
}

interface Call {
  readonly request: FunctionRequest;
  readonly response: Answer;
  readonly called: Called;
  readonly type: InvocationType;
  readonly requestId: string;
  readonly body: Extract<Body, { kind: 'whole' }>;
  readonly services: InvokeServices;
  readonly fail: (thrown: unknown) => void;
}

function invoke(call: Call): void {
  const { request, response, called, type, requestId, body, services } = call;
  const { credential: tenant, region } = services.verifier.verify({
    method: 'POST',
    url: request.url,
    rawHeaders: request.headers.raw,
    body: body.bytes,
  });
  const full = body.belongs();
  if (full !== undefined) throw noRoom(full);
  const pool = findFunction(request, called.functionName, services.functions, tenant, region);
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
      const { meter, lines } = services;
      const line = lines.ofWorkload(key);
      const exchange = { response, requestId, pool, line, tenant, region, meter };
      const logFlag = request.headers.get('x-amz-log-type') === 'Tail' ? invokeFlag.logTail : 0;
      const extra = extraOf(clientContext, request.headers.get(traceHeader));
      meter.of(key).requests += 1;
      paced(line, 'in', event.length, () => {
        if (response.destroyed) return;
        if (called.streamed) {
          runStreamed(exchange, event, logFlag, extra);
          return;
        }
        const options = { requestId, flags: logFlag, extra };
        const invocation = new Invocation(event, new InvokeSink(exchange), options);
        if (pool.submit(invocation) === 'waiting') response.once('close', () => pool.cancel(invocation));
      });
    }
  }
}

function runStreamed(exchange: CallExchange, event: Buffer, logFlag: number, extra: string): void {
  const { response, pool, requestId } = exchange;
  const sink = new StreamSink(exchange, () => pool.abandon(invocation));
  const invocation = new Invocation(event, sink, { requestId, flags: logFlag | invokeFlag.stream, extra });
  response.once('close', () => sink.onClose());
  pool.submit(invocation);
}
