// How hard it is for an instance that has less memory than was asked for it: by what it uses, and where its limit is. Pure.
import { mib } from '../../base/quantity.ts';
import { strainEdgeBytes } from './loan.ts';

/** `near`: it will soon need more. `waiting`: it stands at its limit, stopped or slowed down, but for system calls on cgroup v1. */
export type Strain = 'easy' | 'near' | 'waiting';

export interface Strained {
  readonly strain: Strain;
  /** What the kernel holds it to. */
  readonly limitBytes: number;
  readonly requestedBytes: number;
}

/** The kernel charges in batches for each CPU, and who waits tries again now and then. */
const standsBytes = 4 * mib;

/**
 * @param isStopped whether the kernel says that a process stands still at the limit
 * @param standsStill whether all of it is frozen: then it needs nothing until it goes on
 */
export function judgeStrain(
  { workingSetBytes, isStopped, standsStill }: StrainFigures,
  limitBytes: number,
): Strain {
  if (standsStill) return 'easy';
  // Cache may fill a group up to its limit and is dropped again: only what can not be dropped counts.
  if (isStopped || workingSetBytes >= limitBytes - standsBytes) return 'waiting';
  return workingSetBytes >= strainEdgeBytes(limitBytes) ? 'near' : 'easy';
}

export interface StrainFigures {
  readonly workingSetBytes: number;
  readonly isStopped: boolean;
  readonly standsStill: boolean;
}

const order: readonly Strain[] = ['easy', 'near', 'waiting'];

/** So long a change for the better has to last before it is told, and so often it is told again what lasts. */
export const tellAgainMs = 1_000;

/** Whether to tell of what is seen: at once when it became worse, after a while when it is better or lasts. */
export function isToBeTold(told: Strain, seen: Strain, sinceToldMs: number): boolean {
  if (order.indexOf(seen) > order.indexOf(told)) return true;
  return sinceToldMs >= tellAgainMs && !(told === 'easy' && seen === 'easy');
}
