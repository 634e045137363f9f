// How long a function's idle instance stays, and when one is to be there before it is called. Pure; what is known of the calls
// is src/allocator/arrivals, and keep-alive is what counts while that is little.
//
//   last call ends ──▶ resting ──▶ away ──▶ expected ──▶ over
//                      kept        ended    one is kept, or started ahead   ended
//
// Only the instance that is used next can be away: to have others ready for more calls at once is not worth a start.
import { defaultVictimPolicy } from '../../allocator/reclaim/victims.ts';
import type { Expectation } from '../demand/call-times.ts';

/** Idle for less nobody goes: it costs little by then (frozen after two seconds), and who calls twice calls soon. */
const restMs = defaultVictimPolicy.idleThresholdMs;
/** So long before its window an instance is started: on the host it takes a tenth of a second, in an emulated machine ten. */
const leadMs = 10_000;
/**
 * That nothing comes for longer than was ever seen is only believed when it was watched for several times as long as
 * an instance would stay anyway: ten calls within a minute say nothing of the next hour.
 */
const watchedKeepAlives = 10;

export interface KeepPolicy {
  readonly nowMs: number;
  /** How long an instance stays while too little is known. */
  readonly keepAliveMs: number;
  /** Whether {@link keepAliveMs} is all that counts: somebody has said so. */
  readonly isFixed: boolean;
}

/** Whether an instance that idles may be ended. @param depth 1 for the one that is used next, 2 for the one after it */
export function mayEnd(
  { idleSinceMs, depth }: { readonly idleSinceMs: number; readonly depth: number },
  expectation: Expectation | undefined,
  { nowMs, keepAliveMs, isFixed }: KeepPolicy,
): boolean {
  const idleMs = nowMs - idleSinceMs;
  if (isFixed || expectation === undefined || expectation.windows.from === 'fixed')
    return idleMs >= keepAliveMs;
  // One that was started ahead has served nothing: its window is that of the call before.
  const lastMs = depth === 1 ? (expectation.lastEndedMs ?? idleSinceMs) : idleSinceMs;
  const when = whenOf(expectation, lastMs, nowMs);
  if (nowMs - expectation.knownSinceMs < watchedKeepAlives * keepAliveMs)
    return when === 'over' && idleMs >= keepAliveMs;
  return idleMs >= restMs && (when === 'over' || (depth === 1 && when === 'away'));
}

/** Whether one is to be started now for a function that has none, since its call is expected. */
export function isDue(expectation: Expectation | undefined, { nowMs, isFixed }: KeepPolicy): boolean {
  if (isFixed || expectation === undefined || expectation.lastEndedMs === null) return false;
  const { windows, lastEndedMs } = expectation;
  // With nothing between the call and the window, it was kept, and was ended because its room was needed.
  if (windows.from === 'fixed' || windows.prewarmAfterMs === 0) return false;
  return whenOf(expectation, lastEndedMs, nowMs) === 'expected';
}

function whenOf({ windows }: Expectation, lastMs: number, nowMs: number): 'away' | 'expected' | 'over' {
  const sinceMs = nowMs - lastMs;
  if (sinceMs < windows.prewarmAfterMs - leadMs) return 'away';
  return sinceMs < windows.prewarmAfterMs + windows.keepAliveMs ? 'expected' : 'over';
}
