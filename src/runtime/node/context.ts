// The context object that a handler gets. Owns its fields as Lambda documents them. Does not own the invocation's end.
import type { FunctionIdentity, Invoke } from '../../protocol/instance.ts';
import { monotonicMs, parseJson } from './primordials.ts';

export type Callback = (error?: unknown, result?: unknown) => void;

export interface Context {
  callbackWaitsForEmptyEventLoop: boolean;
  readonly functionName: string;
  readonly functionVersion: string;
  readonly invokedFunctionArn: string;
  /** A string, as on Lambda; follows live resizes from one invocation to the next. */
  readonly memoryLimitInMB: string;
  readonly awsRequestId: string;
  readonly logGroupName: string;
  readonly logStreamName: string;
  readonly identity?: unknown;
  readonly clientContext?: unknown;
  getRemainingTimeInMillis(): number;
  done(error?: unknown, result?: unknown): void;
  succeed(result?: unknown): void;
  fail(error?: unknown): void;
}

export interface InvokeExtra {
  readonly clientContext?: unknown;
  readonly identity?: unknown;
  readonly traceId?: string;
}

/** What came with the event besides it; nothing when it is not what it should be. */
export function parseExtra(extra: string): InvokeExtra {
  if (extra === '') return {};
  try {
    const parsed = parseJson(extra) as InvokeExtra | null;
    return typeof parsed === 'object' && parsed !== null ? parsed : {};
  } catch {
    return {};
  }
}

/** @param startedMs monotonic */
export function makeContext(
  identity: FunctionIdentity,
  memoryMb: number,
  invoke: Invoke,
  startedMs: number,
  extra: InvokeExtra,
  callback: Callback,
): Context {
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: identity.name,
    functionVersion: identity.version,
    invokedFunctionArn: identity.arn,
    memoryLimitInMB: String(memoryMb),
    awsRequestId: invoke.requestId,
    logGroupName: identity.logGroup,
    logStreamName: identity.logStream,
    identity: extra.identity,
    clientContext: extra.clientContext,
    getRemainingTimeInMillis: () => Math.max(0, Math.floor(startedMs + invoke.timeoutMs - monotonicMs())),
    done: callback,
    succeed: (result) => callback(null, result),
    // A failure without a reason is still one.
    fail: (error) => callback(error ?? 'handled'),
  };
}
