// Runs an event that the controller has queued: what was accepted from an asynchronous caller before. Owns what its outcome is
// called. Queueing and trying again are the controller's.
import type { GatewayProtocol } from '../../protocol/routes.ts';
import type { Params, ResultOf } from '../../protocol/rpc.ts';
import { outcome } from '../../protocol/instance.ts';
import type { Meter } from '../meter.ts';
import type { FunctionPool } from './function-pool.ts';
import { extraOf, Invocation, type Failure } from './invocation.ts';

type Method = GatewayProtocol['methods']['invoke'];
type Outcome = ResultOf<Method>;

/** @param pool undefined when there is no such function */
export function invokeEvent(
  pool: FunctionPool | undefined,
  meter: Meter,
  { workload, requestId, event, clientContext }: Params<Method>,
): Promise<Outcome> {
  if (pool === undefined)
    return Promise.resolve({ outcome: 'unavailable', payload: `There is no function ${workload}.` });
  const counter = meter.of(workload);
  counter.requests += 1;
  counter.bytesIn += Buffer.byteLength(event);
  return new Promise((resolve) => {
    const sink = {
      onResult: ({ outcome: how, body }: { outcome: number; body: Buffer }): void => {
        if (how !== outcome.ok) meter.of(workload).errors += 1;
        resolve({ outcome: how === outcome.ok ? 'ok' : 'functionError', payload: body.toString('utf8') });
      },
      onFailure: (failure: Failure): void => {
        meter.of(workload)[failure.kind === 'throttled' ? 'throttles' : 'errors'] += 1;
        resolve(outcomeOf(failure));
      },
    };
    pool.submit(new Invocation(event, sink, { requestId, extra: extraOf(clientContext, undefined) }));
  });
}

function outcomeOf(failure: Failure): Outcome {
  switch (failure.kind) {
    case 'throttled':
      return { outcome: 'throttled', payload: failure.message };
    case 'functionError':
      return { outcome: 'functionError', payload: failure.payload };
    case 'unavailable':
      return { outcome: 'unavailable', payload: failure.message };
    case 'gone':
      return { outcome: 'unavailable', payload: 'The function was deleted.' };
  }
}
