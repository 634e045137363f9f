// Ends all that a bench has started, last first: when it is done, when it fails, and when it is interrupted.

/** Takes note of what was started, and of how it is ended. */
export type Started = <T>(starting: Promise<T>, end: (one: T) => Promise<unknown>) => Promise<T>;

const signals = ['SIGINT', 'SIGTERM'] as const;

/** @throws Error when it is interrupted, after everything was ended */
export async function untilInterrupted<T>(run: (started: Started) => Promise<T>): Promise<T> {
  const ends: (() => Promise<unknown>)[] = [];
  const started: Started = async (starting, end) => {
    // Before it is there, so that one that is still being started is ended too.
    ends.push(() => starting.then(end, () => undefined));
    return starting;
  };
  const interruption = Promise.withResolvers<never>();
  const interrupt = (signal: NodeJS.Signals): void =>
    interruption.reject(new Error(`interrupted: ${signal}`));
  for (const signal of signals) process.once(signal, interrupt);
  const running = run(started);
  // After an interruption it fails of what was ended, and nobody hears it.
  running.catch(() => undefined);
  try {
    return await Promise.race([running, interruption.promise]);
  } finally {
    for (const end of ends.toReversed()) await end();
    for (const signal of signals) process.off(signal, interrupt);
  }
}
