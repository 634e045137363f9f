// Keeps a guest's clock with the host's. A message may be seconds under way on a busy machine: so the guest is never told
// what time it is, but by how much it is off, which no delay makes wrong. Owns the rule; not when it is applied.
import type { GuestProtocol } from '../../protocol/guest.ts';
import type { Caller } from '../../protocol/rpc.ts';

/** Of so many the quickest answer says the most; the first one's code is often not translated yet. */
const mostSamples = 3;
/** An answer within this time says enough: to an idle guest it is usual. */
const quickMs = 20;

export interface ClockSample {
  readonly sentMs: number;
  /** The guest's clock, at some moment between the other two. */
  readonly guestMs: number;
  readonly receivedMs: number;
}

/** What the guest's clock is to be moved by: 0 when the sample does not show that it is off. */
export function clockShift({ sentMs, guestMs, receivedMs }: ClockSample): number {
  const leastMs = sentMs - guestMs;
  const mostMs = receivedMs - guestMs;
  return leastMs <= 0 && mostMs >= 0 ? 0 : (leastMs + mostMs) / 2;
}

/** @throws BellowsError of the link, also when one answer takes longer than the time-out. */
export async function keepClock(guest: Caller<GuestProtocol>, options: { timeoutMs: number }): Promise<void> {
  let best: ClockSample | undefined;
  for (let taken = 0; taken < mostSamples && (best === undefined || widthOf(best) > quickMs); taken += 1) {
    const sentMs = Date.now();
    const { nowMs } = await guest.call('readClock', {}, options);
    const sample = { sentMs, guestMs: nowMs, receivedMs: Date.now() };
    if (best === undefined || widthOf(sample) < widthOf(best)) best = sample;
  }
  const byMs = best === undefined ? 0 : clockShift(best);
  if (byMs !== 0) await guest.call('shiftClock', { byMs }, options);
}

function widthOf({ sentMs, receivedMs }: ClockSample): number {
  return receivedMs - sentMs;
}
