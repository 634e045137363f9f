// From whom something is taken back, in order. Pure. How much, and how, is ./ladder.ts.
//
//   idle longer than the threshold, longest first  ─▶  used least within the window, compared with their neighbours
//   and in each of both: tenants who lend to others last
import type { InstanceId, TenantId } from '../../base/ids.ts';

/** One instance as reclaim sees it, in base units of one resource. */
export interface Candidate {
  readonly id: InstanceId;
  readonly tenant: TenantId;
  readonly grant: number;
  readonly used: number;
  /** What it keeps in any case while it lives. */
  readonly floor: number;
  /** Part of `used` that is expected to be garbage of a managed heap. */
  readonly garbage: number;
  /** Part of `used` that is clean cache. */
  readonly cleanCache: number;
  /** null while it runs code. */
  readonly idleSinceMs: number | null;
  /** What it used on average within the window. */
  readonly windowUse: number;
  /** Its state can be kept while it has nothing: only where the unit can do that. */
  readonly mayHibernate: boolean;
  /** A start makes another one like it: functions, not apps. */
  readonly mayEnd: boolean;
}

export interface VictimPolicy {
  /** Idle for less is a pause between two calls. */
  readonly idleThresholdMs: number;
  /** Of those in use, the part that used least of what it has may be asked. */
  readonly leastUsedShare: number;
}

/** What asks for another call within ten seconds mostly does so at once: reclaim would only be undone. */
export const defaultVictimPolicy: VictimPolicy = { idleThresholdMs: 10_000, leastUsedShare: 0.5 };

export interface Victim {
  readonly candidate: Candidate;
  /** Only what is idle may be hibernated or ended. */
  readonly idle: boolean;
}

/** @param lenders tenants that have credit and hold no more than their own share */
export function victimOrder(
  candidates: readonly Candidate[],
  lenders: ReadonlySet<TenantId>,
  nowMs: number,
  policy: VictimPolicy = defaultVictimPolicy,
): Victim[] {
  const lends = ({ tenant }: Candidate): number => (lenders.has(tenant) ? 1 : 0);
  const isIdle = ({ idleSinceMs }: Candidate): boolean =>
    idleSinceMs !== null && nowMs - idleSinceMs >= policy.idleThresholdMs;
  const idle = candidates
    .filter(isIdle)
    .sort((a, b) => lends(a) - lends(b) || (a.idleSinceMs ?? 0) - (b.idleSinceMs ?? 0) || byId(a, b));
  const inUse = candidates
    .filter((candidate) => !isIdle(candidate))
    .sort((a, b) => useOf(a) - useOf(b) || byId(a, b));
  const least = inUse
    .slice(0, Math.ceil(inUse.length * policy.leastUsedShare))
    .sort((a, b) => lends(a) - lends(b));
  return [
    ...idle.map((candidate) => ({ candidate, idle: true })),
    ...least.map((candidate) => ({ candidate, idle: false })),
  ];
}

/** The part of its grant that it used within the window. */
function useOf({ grant, windowUse }: Candidate): number {
  return grant === 0 ? 1 : windowUse / grant;
}

function byId(a: Candidate, b: Candidate): number {
  return a.id < b.id ? -1 : 1;
}
