// How the processes of a group are made to stand still or to end, as far as v1 and v2 do it alike: what is tried, how long,
// and what is said when it does not happen. Owns no file: callers pass what to write and what to ask.
import { BellowsError } from '../../base/errors.ts';
import { until } from './files.ts';
import type { GroupPath } from './port.ts';

/** A process that waits for a disk freezes when the disk answers; longer than this and something is wrong with it. */
export const freezeTimeoutMs = 10_000;
/** A killed process leaves its group when its memory is given back: 10 GiB take about a second. */
export const emptyTimeoutMs = 10_000;
/** How long one round of killing waits for its parts before it begins anew: rounds are what makes it certain. */
export const killRoundMs = 200;

/** @throws BellowsError Unavailable when they did not stand still in time; they go on then */
export async function standStill(
  group: GroupPath,
  { freeze, isFrozen, thaw }: { freeze: () => void; isFrozen: () => boolean; thaw: () => void },
): Promise<void> {
  freeze();
  if (await until(isFrozen, freezeTimeoutMs)) return;
  thaw();
  throw new BellowsError(
    'Unavailable',
    `Processes of ${group.join('/')} did not stand still within ${freezeTimeoutMs} ms, so they were let go on.`,
  );
}

/** What killing needs to know and to do of a kernel's version. */
export interface Killing {
  /** The group and all below it, as they are now: some may be made meanwhile. */
  readonly subtree: () => readonly GroupPath[];
  readonly processes: (group: GroupPath) => readonly number[];
  /** Sends SIGKILL to all of these groups. */
  readonly strike: (groups: readonly GroupPath[]) => Promise<void>;
}

/** Strikes until none is left. @throws BellowsError Unavailable when some do not end */
export async function killAll(group: GroupPath, { subtree, processes, strike }: Killing): Promise<void> {
  const startedMs = performance.now();
  do {
    const groups = subtree();
    await strike(groups);
    if (await until(() => groups.every((each) => processes(each).length === 0), killRoundMs)) return;
  } while (performance.now() - startedMs <= emptyTimeoutMs);
  throw new BellowsError(
    'Unavailable',
    `Processes of ${group.join('/')} did not end within ${emptyTimeoutMs} ms of SIGKILL.`,
  );
}
