// Lambda's Invoke and InvokeWithResponseStream: who runs what was asked for, and who is told.
// Reading what is asked is call.ts, answers are sinks. Who runs it is function-pool.ts; events that are to be stored go to the controller.
import { randomUUID } from 'node:crypto';
import { invokeFlag } from '../../protocol/instance.ts';
import { LambdaError } from '../../protocol/lambda/errors.ts';
import type { TenantRoute } from '../../protocol/routes.ts';
import type { SignatureVerifier } from '../../protocol/sigv4.ts';
import type { TenantId, WorkloadKey } from '../../base/ids.ts';
import type { Body } from '../body.ts';
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
import type { CallExchange } from './call-sink.ts';
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
  let claimed: TenantId;
  try {
    if (request.method !== 'POST')
      throw new LambdaError('UnknownOperationException', `Invoke is a POST, not a ${request.method}.`);
    type = readType(request, called.streamed ? streamedTypes : wholeTypes);
    claimed = claimedTenant(request, services);
  } catch (thrown) {
    fail(thrown);
    return;
  }
  const limitBytes = type === 'Event' ? payloadLimits.eventBytes : payloadLimits.requestBytes;
  request.readBody(limitBytes, claimed, (body) => {
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
          throw new LambdaError('TooManyRequestsException', `Rate Exceeded. ${body.error.message}`, {
            Reason: 'CallerRateLimitExceeded',
            retryAfterSeconds: '1',
          });
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
 * Whom a body that still has to come is read for: who the head says it is, which only the whole request proves. Whose it
 * can not be, or who sends too often already, is refused without it.
 * @throws LambdaError
 */
function claimedTenant(request: FunctionRequest, { verifier, rates }: InvokeServices): TenantId {
  if (request.isWhole) return nobody;
  const { id } = verifier.claimed({ url: request.url, rawHeaders: request.headers.raw });
  const rate = rates.of(id);
  if (!rate.hasRoom) throw rate.lambdaRefusal();
  return id;
}
/** What is there already needs nobody's memory. */
const nobody = '' as TenantId;

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
