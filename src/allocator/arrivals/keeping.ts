// How long a function's idle instance stays, and when one is to be there before it is called: the one rule of the live
// controller and of the simulator. Pure; what is known of the calls is ./function-arrivals.ts. That an idle instance is ended
// sooner because its memory is needed is ../reclaim.
//
//   last call ends ──▶ resting ──▶ away ──▶ expected ──▶ over
//                      kept        ended    one is kept, or started ahead   ended
//
// Only the instance that is used next can be away: to have others ready for more calls at once is not worth a start.
import { defaultVictimPolicy } from '../reclaim/victims.ts';
import { defaultWindowPolicy, type Windows } from './windows.ts';

/** Idle for less nobody goes: it costs little by then (frozen after two seconds), and who calls twice calls soon. */
const restMs = defaultVictimPolicy.idleThresholdMs;
/** So long before its window an instance is started: on the host it takes a tenth of a second, in an emulated machine ten. */
const leadMs = 10_000;
/**
 * That nothing comes for longer than was ever seen is only believed of a function that was watched for so long: ten calls
 * within a minute say nothing of the next hour.
 */
const watchedFirstMs = 100 * 60_000;

/** How long an idle instance stays. */
export type KeepAlive =
  /** Somebody has said so, and it is all that counts. */
  | { readonly type: 'fixed'; readonly keptMs: number }
  /** As its calls come; these times hold while too little is known of them. */
  | {
      readonly type: 'learned';
      /** The one that is used next. */
      readonly firstMs: number;
      /** Those beyond it: a burst that came once may never come again, and all that it left would be kept. */
      readonly furtherMs: number;
    };

/** As long as other platforms keep theirs; Lambda 5 to 15 minutes. */
export const usualKeepAliveMs = 10 * 60_000;
/**
 * Where instances run on this machine itself: a frozen one runs nothing, what it does not use is lent, what it does not need is
 * trimmed, and it is ended for whoever needs its memory. So it is kept for as long as the histogram looks back.
 */
export const hostKeepAlive: KeepAlive = {
  type: 'learned',
  firstMs: defaultWindowPolicy.fixedKeepAliveMs,
  furtherMs: usualKeepAliveMs,
};
/**
 * Where they run in virtual machines: one that idles costs the host a process, the memory of a kernel that nobody can take back, and
 * processor time for its timers.
 */
export const virtualKeepAlive: KeepAlive = {
  type: 'learned',
  firstMs: usualKeepAliveMs,
  furtherMs: usualKeepAliveMs,
};

/** What is known of when one instance of a function is needed next. */
export interface Expectation {
  readonly windows: Windows;
  /** When a call last ended on the instance that is used next; null when none is known. */
  readonly lastEndedMs: number | null;
  /** Since when the function is watched. */
  readonly knownSinceMs: number;
}

export interface IdleInstance {
  readonly idleSinceMs: number;
  /** 1 for the one that is used next, 2 for the one after it. */
  readonly depth: number;
  /** Whether its function has no other. */
  readonly isOnly: boolean;
}

/** From when on an idle instance may be ended, if nothing is called until then: now at the earliest. */
export function mayEndAtMs(
  { idleSinceMs, depth, isOnly }: IdleInstance,
  expectation: Expectation | undefined,
  keepAlive: KeepAlive,
  nowMs: number,
): number {
  if (keepAlive.type === 'fixed') return Math.max(nowMs, idleSinceMs + keepAlive.keptMs);
  const keptUntilMs = idleSinceMs + (depth === 1 ? keepAlive.firstMs : keepAlive.furtherMs);
  if (expectation === undefined || expectation.windows.from === 'fixed') return Math.max(nowMs, keptUntilMs);
  // One that was started ahead has served nothing: its window is that of the call before.
  const lastMs = depth === 1 ? (expectation.lastEndedMs ?? idleSinceMs) : idleSinceMs;
  const { opensMs, closesMs } = windowAfter(lastMs, expectation.windows);
  const believedFromMs = expectation.knownSinceMs + watchedFirstMs;
  const awayFromMs = Math.max(nowMs, idleSinceMs + restMs, believedFromMs);
  if (isOnly && awayFromMs < opensMs) return awayFromMs;
  const restedMs = Math.max(idleSinceMs + restMs, Math.min(keptUntilMs, believedFromMs));
  return Math.max(nowMs, restedMs, closesMs);
}

/**
 * When one is to be started for a function that has none, since its call is expected, if nothing is called until then: now at the
 * earliest; null when none is to be.
 */
export function dueAtMs(
  expectation: Expectation | undefined,
  keepAlive: KeepAlive,
  nowMs: number,
): number | null {
  if (keepAlive.type === 'fixed' || expectation === undefined || expectation.lastEndedMs === null)
    return null;
  const { windows, lastEndedMs } = expectation;
  // With nothing between the call and the window, it was kept, and was ended because its room was needed.
  if (windows.from === 'fixed' || windows.prewarmAfterMs === 0) return null;
  const { opensMs, closesMs } = windowAfter(lastEndedMs, windows);
  return nowMs < closesMs ? Math.max(nowMs, opensMs) : null;
}

function windowAfter(
  lastMs: number,
  { prewarmAfterMs, keepAliveMs }: Windows,
): { readonly opensMs: number; readonly closesMs: number } {
  return {
    opensMs: lastMs + prewarmAfterMs - leadMs,
    closesMs: lastMs + prewarmAfterMs + keepAliveMs,
  };
}
