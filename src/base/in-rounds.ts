// Something that many ask for and that is done for all of them at once.

/**
 * Whoever asks while it is done may have come too late for it: the next round is theirs, and that of all who come until it begins.
 * @param round never rejects
 */
export function inRounds(round: () => Promise<void>): () => Promise<void> {
  let running = Promise.resolve();
  let next: Promise<void> | undefined;
  return () =>
    (next ??= running.then(() => {
      next = undefined;
      running = round();
      return running;
    }));
}
