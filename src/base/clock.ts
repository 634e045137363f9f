// Time as a value that is passed in, so that decisions can be tested and simulated. Owns no timer.

/** Where the present moment comes from. */
export interface Clock {
  /** Wall-clock time, milliseconds since the epoch: for people and for signatures, may jump. */
  nowMs(): number;
  /** Milliseconds from an arbitrary origin that never go backwards: for durations. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};
