// Waiting with an end to it.

/** Resolves when `done` has, or when the time is up. */
export function within(timeMs: number, done: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, Math.max(0, timeMs));
    void done.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
