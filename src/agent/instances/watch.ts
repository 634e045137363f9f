// Notices the end of processes that are not our children: those that an earlier agent started.
import { isAlive, type ProcessIdentity } from '../../sys/process.ts';

/** A new start is due at most this much later; looking at a hundred processes takes 2 ms. */
const lookEveryMs = 100;

const watched = new Map<ProcessIdentity, () => void>();
let timer: NodeJS.Timeout | undefined;

/** Resolves when the process has ended. */
export function endOf(identity: ProcessIdentity): Promise<void> {
  return new Promise((resolve) => {
    watched.set(identity, resolve);
    timer ??= setInterval(look, lookEveryMs);
  });
}

/** Also called by whoever knows that one has just ended. */
export function look(): void {
  for (const [identity, resolve] of watched) {
    if (isAlive(identity)) continue;
    watched.delete(identity);
    resolve();
  }
  stopWhenIdle();
}

function stopWhenIdle(): void {
  if (watched.size > 0) return;
  clearInterval(timer);
  timer = undefined;
}
