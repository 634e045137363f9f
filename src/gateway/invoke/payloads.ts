// Lambda's payloads for what the runtime can not answer itself any more: timed out, exited, too large. Pure.
import { payloadLimits } from '../config.ts';

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

/** A process that ended while it had work: by itself, by a signal, or because it had no memory left. */
export function exitedPayload(requestId: string, { reason, oomKilled }: Death): string {
  const how = oomKilled
    ? 'signal: killed'
    : (/exit status \d+|signal: [a-z ]+/.exec(reason)?.[0] ?? 'signal: killed');
  const withWord =
    how === 'exit status 0'
      ? 'Runtime exited without providing a reason'
      : `Runtime exited with error: ${how}`;
  return JSON.stringify({
    errorType: oomKilled ? 'Runtime.OutOfMemory' : 'Runtime.ExitError',
    errorMessage: `RequestId: ${requestId} Error: ${withWord}`,
  });
}

export function responseTooLargePayload(): string {
  return JSON.stringify({
    errorType: 'Function.ResponseSizeTooLarge',
    errorMessage: `Response payload size exceeded maximum allowed payload size (${payloadLimits.responseBytes} bytes).`,
  });
}
