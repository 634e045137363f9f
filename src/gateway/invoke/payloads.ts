// Lambda's payloads for what the runtime can not answer itself any more: timed out, exited, too large. Pure.
import { answerTooLargeMessage } from '../../protocol/instance.ts';

/** As AWS words it: whole seconds with two decimals, the limit that was set and not the time it took. */
export function timedOutPayload(requestId: string, timeoutMs: number): string {
  return JSON.stringify({
    errorType: 'Sandbox.Timedout',
    errorMessage: `RequestId: ${requestId} Error: Task timed out after ${(timeoutMs / 1000).toFixed(2)} seconds`,
  });
}

export interface Death {
  /** The agent's words; `exit status 1` or `signal: killed` is looked for in it. */
  readonly reason: string;
  readonly oomKilled: boolean;
}

export interface ExitWords {
  readonly errorType: 'Runtime.OutOfMemory' | 'Runtime.ExitError';
  readonly message: string;
}

/** A process that ended while it had work: by itself, by a signal, or because it had no memory left. */
export function exitWords({ reason, oomKilled }: Death): ExitWords {
  const how = oomKilled
    ? 'signal: killed'
    : (/exit status \d+|signal: [a-z ]+/.exec(reason)?.[0] ?? 'signal: killed');
  return {
    errorType: oomKilled ? 'Runtime.OutOfMemory' : 'Runtime.ExitError',
    message:
      how === 'exit status 0'
        ? 'Runtime exited without providing a reason'
        : `Runtime exited with error: ${how}`,
  };
}

export function exitedPayload(requestId: string, { errorType, message }: ExitWords): string {
  return JSON.stringify({ errorType, errorMessage: `RequestId: ${requestId} Error: ${message}` });
}

export function responseTooLargePayload(limitBytes: number): string {
  return JSON.stringify({
    errorType: 'Function.ResponseSizeTooLarge',
    errorMessage: answerTooLargeMessage(limitBytes),
  });
}
