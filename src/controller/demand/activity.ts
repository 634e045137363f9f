// Whether an instance works, idles or stands still, as far as the controller knows. Pure.
import type { Activity } from '../../allocator/demand/demand.ts';
import { seenOf, type Tracked } from '../state/actual.ts';

/** A function's instance idles by the gateway's word; what is not known to idle may be about to work. */
export function activityOf(tracked: Tracked): Activity {
  if (tracked.life.phase !== 'serving') return 'active';
  if (seenOf(tracked)?.state === 'frozen') return 'frozen';
  return tracked.spec.kind === 'function' && tracked.idle ? 'idle' : 'active';
}
