// How much of a unit is left to use: the arithmetic, and going there resource by resource. Owns that growth comes before
// shrinking, and that a shrink which the guest can not follow is taken back. Each resource's own way is the driver's.
import { BellowsError } from '../../base/errors.ts';
import { mib } from '../../base/quantity.ts';
import { performance } from 'node:perf_hooks';
import { formatResource, resourceKinds, type Resources } from '../../model/resources.ts';
import type { TrimStep } from '../../protocol/guest.ts';
import type { UnitCore } from './core.ts';
import type { MemoryClaim, VmDriver } from './port.ts';
import type { UnitView } from './view.ts';

/** Collecting heaps and dropping caches inside, emulated. */
const makeClaimableTimeoutMs = 60_000;

/** What is left after a claim (-1) or a release (1) of `amount`. */
export function usableAfter(unit: UnitView, amount: Partial<Resources>, sign: 1 | -1): Resources {
  const { provisioned, claimed } = unit;
  const left = (kind: keyof Resources): number =>
    Math.min(provisioned[kind], provisioned[kind] - claimed[kind] + sign * (amount[kind] ?? 0));
  return Object.fromEntries(resourceKinds.map((kind) => [kind, left(kind)])) as unknown as Resources;
}

/** @throws BellowsError Infeasible above what was provisioned, below nothing, or when the guest can not spare it. */
export async function resize(driver: VmDriver, unit: UnitView, size: Resources): Promise<void> {
  const { provisioned } = unit;
  for (const kind of resourceKinds) {
    if (size[kind] >= 0 && size[kind] <= provisioned[kind]) continue;
    throw new BellowsError(
      'Infeasible',
      `The unit ${unit.handle.id} can not have ${formatResource(kind, size[kind])} of ${kind}: it was provisioned with ${formatResource(kind, provisioned[kind])}.`,
    );
  }
  const usable = (kind: keyof Resources): number => provisioned[kind] - unit.claimed[kind];
  const wholeOrNull = (kind: keyof Resources): number | null =>
    size[kind] === provisioned[kind] ? null : size[kind];
  if (size.memory > usable('memory')) await driver.releaseMemory(unit, size.memory - usable('memory'));
  if (size.cpu !== usable('cpu')) await driver.setCpu(unit, wholeOrNull('cpu'));
  if (size.bandwidth !== usable('bandwidth')) await driver.setBandwidth(unit, wholeOrNull('bandwidth'));
  if (size.storage !== usable('storage')) {
    const { usableBytes } = await driver.setStorage(unit, size.storage);
    if (usableBytes > size.storage + storageSlackBytes)
      throw inUse(unit, 'storage', size.storage, usableBytes);
  }
  const wanted = usable('memory') - size.memory;
  if (wanted < pageBytes) return;
  const before = unit.claimed.memory;
  const { claimedBytes } = await driver.claimMemory(unit, wanted);
  const missing = before + wanted - claimedBytes;
  if (missing < pageBytes) return;
  await driver.releaseMemory(unit, Math.max(0, claimedBytes - before));
  throw inUse(unit, 'memory', size.memory, size.memory + missing);
}

/** A balloon takes whole pages. */
const pageBytes = 4096;
/** A claim is a file, and the file system gives whole blocks, and some for its own notes. */
const storageSlackBytes = mib;

function inUse(unit: UnitView, kind: keyof Resources, wanted: number, possible: number): BellowsError {
  return new BellowsError(
    'Infeasible',
    `The unit ${unit.handle.id} can not be left with ${formatResource(kind, wanted)} of ${kind} now: ${formatResource(kind, possible)} is needed inside.`,
  );
}

/** Takes what the guest's agent says can be taken, and no more. */
export async function claimMemory(core: UnitCore, bytes: number): Promise<MemoryClaim> {
  const startedMs = performance.now();
  let steps: readonly TrimStep[] = [];
  const { claimedBytes, stalled } = await core.balloon.claim(async () => {
    const answer = await core.link.call('makeClaimable', { bytes }, { timeoutMs: makeClaimableTimeoutMs });
    ({ steps } = answer);
    return Math.min(bytes, answer.claimableBytes);
  });
  return { claimedBytes, stalled, steps, durationMs: performance.now() - startedMs };
}
