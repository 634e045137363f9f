// Whether one more instance may start, and who must go first. Pure: sums come in, a verdict goes out.
import { humanBytes, mib } from '../base/quantity.ts';
import type { InstanceId, TenantId } from '../base/ids.ts';

export interface Occupant {
  readonly id: InstanceId;
  readonly tenant: TenantId;
  /** What it is granted. */
  readonly memoryBytes: number;
  /** Function instances that serve nothing now may be ended for others; null for those that may not. */
  readonly idleSinceMs: number | null;
  /** It is being ended: its memory is there soon. */
  readonly leaving: boolean;
}

export interface Room {
  /** The unit's memory. */
  readonly capacityBytes: number;
  readonly oversubscription: number;
  /** What the host could give now, by the kernel's figure; null when it is not known. */
  readonly hostAvailableBytes: number | null;
  readonly hostReserveBytes: number;
  readonly tenantLimitBytes: number | null;
}

export type Verdict =
  /** It may start with this much: what it asks for, or less when its tenant's limit leaves no more. */
  | { readonly verdict: 'fits'; readonly grantBytes: number }
  /** It may once others' grants are lowered to what they demand; it may be given less all the same, where many want it. */
  | { readonly verdict: 'afterLending'; readonly grantBytes: number }
  /** Ending these makes room, beside lending. */
  | { readonly verdict: 'afterEnding'; readonly ids: readonly InstanceId[] }
  /** Not before others end or shrink by themselves. */
  | { readonly verdict: 'wait'; readonly code: 'NoRoom' | 'LimitReached'; readonly reason: string }
  /** Not even alone. */
  | { readonly verdict: 'never'; readonly code: 'NoRoom' | 'LimitReached'; readonly reason: string };

/** Below this a Node process does not get through its start: it stands at 45 to 60 MiB once it has served. */
const leastStartBytes = 64 * mib;

/** The least that an instance is started with, of what it asks for. */
export function leastToStart(askedBytes: number): number {
  return Math.min(askedBytes, leastStartBytes);
}

/**
 * Judges a start of `askedBytes` for `tenant` beside `occupants`. The tenant's own limit comes first: neither lending nor ending of
 * another tenant's can help it. What others do not demand is lent before anybody is ended; of idle ones the least recently
 * used are ended first, and no more than needed; while some are being ended already, their room is waited for rather than ending more.
 * @param keptBytes what lending leaves an occupant; asked only where there is no room without
 */
export function judgeStart(
  askedBytes: number,
  tenant: TenantId,
  occupants: readonly Occupant[],
  room: Room,
  keptBytes: (occupant: Occupant) => number,
): Verdict {
  const staying = occupants.map((occupant) => ({ ...occupant, idleSinceMs: null }));
  const now = judge(askedBytes, tenant, staying, room, ({ memoryBytes }) => memoryBytes);
  if (now.verdict === 'never' || (now.verdict === 'fits' && now.grantBytes === askedBytes)) return now;
  const kept = new Map(occupants.map((occupant) => [occupant.id, keptBytes(occupant)]));
  const left = ({ id, memoryBytes }: Occupant): number => kept.get(id) ?? memoryBytes;
  const lent = judge(askedBytes, tenant, staying, room, left);
  if (lent.verdict === 'fits' && lent.grantBytes === askedBytes) return { ...lent, verdict: 'afterLending' };
  const remaining = occupants.filter(({ leaving }) => !leaving);
  const soon = judge(askedBytes, tenant, remaining, room, left);
  if (soon.verdict !== 'fits') return soon;
  const isMore = lent.verdict === 'fits' && lent.grantBytes > (now.verdict === 'fits' ? now.grantBytes : 0);
  return isMore ? { ...lent, verdict: 'afterLending' } : now;
}

function judge(
  askedBytes: number,
  tenant: TenantId,
  occupants: readonly Occupant[],
  room: Room,
  bytesOf: (occupant: Occupant) => number,
): Verdict {
  const most = Math.floor(room.capacityBytes * room.oversubscription);
  const limit = room.tenantLimitBytes ?? Number.POSITIVE_INFINITY;
  const leastBytes = leastToStart(askedBytes);
  const sum = (some: readonly Occupant[]): number =>
    some.reduce((total, occupant) => total + bytesOf(occupant), 0);
  if (leastBytes > limit) {
    return {
      verdict: 'never',
      code: 'LimitReached',
      reason: `it needs ${humanBytes(leastBytes)} of memory to start and its tenant's limit is ${humanBytes(limit)}`,
    };
  }
  if (leastBytes > most) {
    return {
      verdict: 'never',
      code: 'NoRoom',
      reason: `it needs ${humanBytes(leastBytes)} of memory to start and all that can be granted is ${humanBytes(most)}`,
    };
  }

  const ended = new Set<InstanceId>();
  const own = occupants.filter((occupant) => occupant.tenant === tenant);
  end(own, sum(own) + askedBytes - limit, ended, bytesOf);
  const grantBytes = Math.min(askedBytes, limit - sum(without(own, ended)));
  if (grantBytes < leastBytes) {
    return {
      verdict: 'wait',
      code: 'LimitReached',
      reason: `the tenant's instances hold ${humanBytes(granted(own))} of at most ${humanBytes(limit)} of memory`,
    };
  }
  end(without(occupants, ended), sum(without(occupants, ended)) + grantBytes - most, ended, bytesOf);
  if (sum(without(occupants, ended)) + grantBytes > most) {
    return {
      verdict: 'wait',
      code: 'NoRoom',
      reason: `${humanBytes(granted(occupants))} of memory are granted of at most ${humanBytes(most)}`,
    };
  }
  if (room.hostAvailableBytes !== null) {
    // A grant is a ceiling that is rarely reached by all at once: half of it is what is expected of each.
    const missing = (): number =>
      room.hostReserveBytes +
      grantBytes / 2 -
      (room.hostAvailableBytes ?? 0) -
      (granted(occupants) - granted(without(occupants, ended))) / 2;
    end(without(occupants, ended), 2 * missing(), ended, ({ memoryBytes }) => memoryBytes);
    if (missing() > 0) {
      return {
        verdict: 'wait',
        code: 'NoRoom',
        reason: `only ${humanBytes(room.hostAvailableBytes)} of memory are available on the host`,
      };
    }
  }
  return ended.size === 0 ? { verdict: 'fits', grantBytes } : { verdict: 'afterEnding', ids: [...ended] };
}

function without(occupants: readonly Occupant[], ended: ReadonlySet<InstanceId>): Occupant[] {
  return occupants.filter((occupant) => !ended.has(occupant.id));
}

function granted(occupants: readonly Occupant[]): number {
  return occupants.reduce((total, { memoryBytes }) => total + memoryBytes, 0);
}

/** Marks idle instances, longest idle first, until `needBytes` are covered or none is left. */
function end(
  occupants: readonly Occupant[],
  needBytes: number,
  ended: Set<InstanceId>,
  bytesOf: (occupant: Occupant) => number,
): void {
  let missing = needBytes;
  const idle = occupants
    .filter((occupant) => occupant.idleSinceMs !== null)
    .sort((a, b) => (a.idleSinceMs ?? 0) - (b.idleSinceMs ?? 0));
  for (const occupant of idle) {
    if (missing <= 0) return;
    ended.add(occupant.id);
    missing -= bytesOf(occupant);
  }
}
