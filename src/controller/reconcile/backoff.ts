// When a crashed app may start again. Pure.
import type { Tuning } from '../config.ts';

export interface Backoff {
  /** Crashes in a row, each soon after the start before it. */
  readonly failures: number;
  readonly notBeforeMs: number;
}

/** With why the last of them failed, for people. */
export interface Failing extends Backoff {
  readonly reason: string;
}

/** When an app that ended is started again. */
export interface NextStart {
  readonly inMs: number;
  /** In a row. */
  readonly failures: number;
}

export const noBackoff: Backoff = { failures: 0, notBeforeMs: 0 };

/** After an instance ended that should run: doubles the pause, or begins anew when the instance had run well. */
export function afterExit(
  backoff: Backoff,
  ranMs: number,
  nowMs: number,
  tuning: Pick<Tuning, 'restartFirstMs' | 'restartLongestMs' | 'restartForgetMs'>,
): Backoff {
  const failures = ranMs >= tuning.restartForgetMs ? 1 : backoff.failures + 1;
  // The exponent is bounded so that the power stays finite.
  const pauseMs = Math.min(tuning.restartFirstMs * 2 ** Math.min(failures - 1, 30), tuning.restartLongestMs);
  return { failures, notBeforeMs: nowMs + pauseMs };
}
