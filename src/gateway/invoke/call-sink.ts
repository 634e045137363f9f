// Who waits for the answer to a call of the Lambda API, whole or streamed: what both need, and how a call is refused.
// Owns refusals. Does not own the answer of a function that ran (invoke-sink.ts, stream-sink.ts).
import { LambdaError } from '../../protocol/lambda/errors.ts';
import { functionNotFound } from '../../protocol/lambda/names.ts';
import type { TenantRoute } from '../../protocol/routes.ts';
import type { Line } from '../bandwidth/line.ts';
import type { Answer } from '../exchange.ts';
import { sendLambdaError } from './call.ts';
import type { Meter } from '../meter.ts';
import type { FunctionPool } from './function-pool.ts';
import type { Throttled } from './concurrency.ts';
import type { Failure } from './invocation.ts';

export interface CallExchange {
  readonly response: Answer;
  readonly requestId: string;
  readonly pool: FunctionPool;
  readonly line: Line | undefined;
  readonly tenant: TenantRoute;
  readonly region: string;
  readonly meter: Meter;
}

export function countCall({ meter, pool }: CallExchange, kind: 'errors' | 'throttles'): void {
  meter.of(pool.route.key)[kind] += 1;
}

export function throttledError({ reason, message }: Throttled): LambdaError {
  return new LambdaError('TooManyRequestsException', message, { Reason: reason, retryAfterSeconds: '1' });
}

/** Answers a call that no instance has begun. */
export function refuseCall(
  exchange: CallExchange,
  failure: Exclude<Failure, { kind: 'functionError' }>,
): void {
  const { response, requestId, pool, tenant, region } = exchange;
  const refuse = (error: LambdaError): void => sendLambdaError(response, error, requestId);
  switch (failure.kind) {
    case 'throttled':
      countCall(exchange, 'throttles');
      refuse(throttledError(failure));
      return;
    case 'unavailable':
      countCall(exchange, 'errors');
      refuse(new LambdaError('ServiceUnavailableException', failure.message, { retryAfterSeconds: '1' }));
      return;
    case 'gone':
      refuse(functionNotFound(region, tenant.accountId, pool.route.name, null));
  }
}
