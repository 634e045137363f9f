// A minute that is an hour of the simulated day: the same functions, called sixty times as often, so that it can be lived through on
// a real machine beside the simulated one. What does not fit a small machine is bounded; what is done with it is the caller's matter.
import { mib } from '../../base/quantity.ts';
import { Calls, type Call, type SimulatedFunction } from './azure-day.ts';

export const minuteMs = 60_000;
/** An hour in a minute; then a keep-alive of ten minutes is one of ten seconds. */
export const speed = 60;

/**
 * Durations are not scaled, for a start takes as long as ever: the longest would last the minute. Memory is held for real, and
 * what an instance of Node needs for itself is part of it.
 */
const bounds = { mostDurationMs: 2_000, leastPeakBytes: 40 * mib, mostPeakBytes: 160 * mib } as const;
/** A real process may need more than it holds for its caller: its compiler, its stack, its garbage. */
const headroomBytes = 64 * mib;

export function scaled(functions: readonly SimulatedFunction[]): SimulatedFunction[] {
  return functions.map((of, index) => {
    const peakBytes = Math.min(Math.max(of.peakBytes, bounds.leastPeakBytes), bounds.mostPeakBytes);
    return {
      ...of,
      index,
      meanGapMs: of.meanGapMs / speed,
      meanDurationMs: Math.min(of.meanDurationMs, bounds.mostDurationMs),
      peakBytes,
      requestBytes: Math.ceil(peakBytes / headroomBytes + 1) * headroomBytes,
    };
  });
}

export interface TimedCall extends Call {
  readonly function: number;
}

/** All calls before a moment, in the order of their times: the very ones that the simulator draws with the same seed. */
export function callsBefore(
  untilMs: number,
  functions: readonly SimulatedFunction[],
  seed: number,
): TimedCall[] {
  return functions
    .flatMap((of) => {
      const calls = new Calls(of, seed);
      const own: TimedCall[] = [];
      for (let call = calls.next(); call.atMs < untilMs; call = calls.next())
        own.push({ ...call, function: of.index });
      return own;
    })
    .toSorted((a, b) => a.atMs - b.atMs);
}
