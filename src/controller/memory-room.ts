// How much memory may be granted in all. Pure.
import type { Tuning } from './config.ts';

export interface MemoryRoom {
  readonly capacityBytes: number;
  /** Grants may be this many times that together. */
  readonly oversubscription: number;
}

/** The unit's memory and how often it is granted, unless an operator says that it is to be less. */
export function memoryRoom(
  unitBytes: number,
  { oversubscription, grantableBytes }: Pick<Tuning, 'oversubscription' | 'grantableBytes'>,
): MemoryRoom {
  if (grantableBytes === null || unitBytes === 0 || grantableBytes >= unitBytes * oversubscription)
    return { capacityBytes: unitBytes, oversubscription };
  const capacityBytes = Math.min(unitBytes, grantableBytes);
  return { capacityBytes, oversubscription: grantableBytes / capacityBytes };
}
