// The lines that Lambda's log has where an invocation was broken off and the runtime inside could not write them. Pure.
// When and where they are written is instances/broken-invocations.ts; those of a regular end are the runtime's own.
import type { BrokenInvocation } from '../../protocol/agent.ts';

/** How every START line begins. */
export const startPrefix = 'START RequestId: ';
const mib = 1024 * 1024;

export interface BrokenFacts {
  readonly version: string;
  /** What the function was granted at its end. */
  readonly memoryBytes: number;
  /** The highest charge of its group; 0 when nobody has measured it. */
  readonly memoryPeakBytes: number;
  /** The instance's last START line, if it wrote any: an invocation that never let go of its thread could not. */
  readonly lastStart: string | undefined;
}

/** @param atMs wall-clock time when it broke off */
export function brokenLines(
  { requestId, durationMs, cause }: BrokenInvocation,
  facts: BrokenFacts,
  atMs: number,
): string[] {
  const start = `${startPrefix}${requestId} Version: ${facts.version}`;
  const used =
    facts.memoryPeakBytes > 0 ? `Max Memory Used: ${Math.ceil(facts.memoryPeakBytes / mib)} MB\t` : '';
  return [
    ...(facts.lastStart === start ? [] : [start]),
    ...(cause.kind === 'timedOut'
      ? [
          `${new Date(atMs).toISOString()} ${requestId} Task timed out after ${(cause.timeoutMs / 1000).toFixed(2)} seconds`,
        ]
      : [`RequestId: ${requestId} Error: ${cause.message}`, cause.errorType]),
    `END RequestId: ${requestId}`,
    `REPORT RequestId: ${requestId}\tDuration: ${durationMs.toFixed(2)} ms\tBilled Duration: ${Math.ceil(durationMs)} ms\t` +
      `Memory Size: ${Math.round(facts.memoryBytes / mib)} MB\t${used}` +
      (cause.kind === 'timedOut' ? 'Status: timeout' : `Status: error\tError Type: ${cause.errorType}`),
  ];
}
