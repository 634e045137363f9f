// Whether an instance works, idles or stands still, as far as the controller knows. Pure.
import type { Activity } from '../../allocator/demand/demand.ts';
import { defaultVictimPolicy } from '../../allocator/reclaim/victims.ts';
import { seenOf, standsStill, type Tracked } from '../state/actual.ts';

/** Garbage collection and timers of an idle Node process were measured at up to half of this. */
const quietMillicores = 10;

/** Nothing went through it and it hardly ran, between two samples. */
export function isQuiet(used: { readonly cpu: number; readonly bandwidth: number }): boolean {
  return used.cpu < quietMillicores && used.bandwidth === 0;
}

/**
 * A function's instance idles by the gateway's word, an app's when it was quiet for as long as makes an instance worth
 * trimming; what is not known to idle may be about to work.
 * @param quietMs for how long it was quiet
 */
export function activityOf(tracked: Tracked, quietMs: number): Activity {
  if (tracked.life.phase !== 'serving') return 'active';
  const seen = seenOf(tracked);
  if (seen !== undefined && standsStill(seen)) return 'frozen';
  const isIdle =
    tracked.spec.kind === 'function' ? tracked.idle : quietMs >= defaultVictimPolicy.idleThresholdMs;
  return isIdle ? 'idle' : 'active';
}
