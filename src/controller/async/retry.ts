// What becomes of an asynchronous invocation after an attempt. Pure.
//
//   due ──attempt──▶ ok ──────────────────────▶ done
//    ▲                 functionError, retries left ─▶ later     (counts)
//    └──────────────── throttled, unavailable ──────▶ later     (does not count, until too old)
//                      functionError, none left ────▶ failed
import type { Tuning } from '../config.ts';

export type Outcome = 'ok' | 'functionError' | 'throttled' | 'unavailable';

export interface Progress {
  readonly enqueuedAtMs: number;
  /** Attempts that ran user code and failed. */
  readonly failures: number;
  /** Attempts in a row that found no instance; they only lengthen the pause. */
  readonly throttles: number;
}

export type Next =
  | { readonly next: 'done' }
  | { readonly next: 'later'; readonly progress: Progress; readonly notBeforeMs: number }
  | { readonly next: 'failed'; readonly reason: string };

export function afterAttempt(
  progress: Progress,
  outcome: Outcome,
  maxRetries: number,
  nowMs: number,
  tuning: Pick<Tuning, 'asyncRetryMs' | 'asyncThrottleFirstMs' | 'asyncThrottleLongestMs' | 'asyncMaxAgeMs'>,
): Next {
  if (outcome === 'ok') return { next: 'done' };
  if (outcome === 'functionError') {
    const failures = progress.failures + 1;
    if (failures > maxRetries) return { next: 'failed', reason: `the function failed ${failures} times` };
    const pauseMs = tuning.asyncRetryMs[failures - 1] ?? tuning.asyncRetryMs.at(-1) ?? 0;
    return { next: 'later', progress: { ...progress, failures, throttles: 0 }, notBeforeMs: nowMs + pauseMs };
  }
  const throttles = progress.throttles + 1;
  const pauseMs = Math.min(
    tuning.asyncThrottleFirstMs * 2 ** Math.min(throttles - 1, 30),
    tuning.asyncThrottleLongestMs,
  );
  if (nowMs + pauseMs - progress.enqueuedAtMs > tuning.asyncMaxAgeMs) {
    return {
      next: 'failed',
      reason: `it found no instance for ${Math.round((nowMs - progress.enqueuedAtMs) / 1000)} s`,
    };
  }
  return { next: 'later', progress: { ...progress, throttles }, notBeforeMs: nowMs + pauseMs };
}
