// Takes up a unit that nobody in this process holds: one that runs goes on, one that rests runs again. Owns the order of steps, so
// that a guest goes on from its snapshot once, whenever its owner is killed: what it did would be done twice otherwise, and its
// connections would be at two places at once. What each step is, is snapshot.ts's and start-core.ts's.
//
//   rests ──clear, restore──▶ rests, and a process that has run nothing ──mark──▶ runs ──run, greet──▶ runs
//     ▲                                       │                                     │
//     └──── failed, or its owner was killed ──┘         failed, or its process is gone ──▶ lost, with its snapshot
import { BellowsError, messageOf } from '../../base/errors.ts';
import type { UnitId } from '../../base/ids.ts';

export interface TakeUpSteps<Core> {
  readonly id: UnitId;
  /** By what is written down, whoever wrote it. */
  readonly rests: () => boolean;
  /** The process that runs; one that stands still goes on. @throws BellowsError NotFound when it is gone */
  readonly attach: () => Promise<Core>;
  /** Ends a process that an owner left before the guest ran. */
  readonly clear: () => Promise<void>;
  /** A process that has the guest's memory and devices, and does not run. */
  readonly restore: () => Promise<Core>;
  /** Nothing is left of what {@link restore} began, also where it failed. */
  readonly undo: () => Promise<void>;
  /** Writes down that it runs, before its guest's first instruction: from here on nobody restores it. */
  readonly mark: (core: Core) => void;
  readonly run: (core: Core) => Promise<void>;
  /** Until its agent answers. */
  readonly greet: (core: Core) => Promise<void>;
  /** The snapshot is of no use any more. */
  readonly discard: () => void;
  /** Ends what is left of it, and its snapshot. @param core of one that woke */
  readonly remove: (core?: Core) => Promise<void>;
}

/**
 * @throws BellowsError UnitLost when it ran and can not go on, and nothing of it is left then; NotFound, the same, when it was gone
 * before; NoRoom, StartFailed: it rests on, and can be tried again
 */
export async function takeUp<Core>(steps: TakeUpSteps<Core>): Promise<Core> {
  return steps.rests() ? wake(steps) : goOn(steps);
}

async function goOn<Core>({ attach, discard, remove }: TakeUpSteps<Core>): Promise<Core> {
  try {
    const core = await attach();
    // Its owner may have been killed just when it had woken it.
    discard();
    return core;
  } catch (thrown) {
    if (thrown instanceof BellowsError && thrown.code === 'NotFound') await remove();
    throw thrown;
  }
}

async function wake<Core>(steps: TakeUpSteps<Core>): Promise<Core> {
  const { id, clear, restore, undo, mark, run, greet, discard, remove } = steps;
  await clear();
  let core: Core;
  try {
    core = await restore();
    mark(core);
  } catch (thrown) {
    await undo();
    throw thrown;
  }
  try {
    await run(core);
    await greet(core);
  } catch (thrown) {
    await remove(core);
    throw new BellowsError(
      'UnitLost',
      `The unit ${id} woke and can not go on: ${messageOf(thrown)}`,
      'It can not be woken again, since what it had done by then would be done twice.',
      { cause: thrown },
    );
  }
  discard();
  return core;
}
