// How it is taken back: rung by rung, each over all victims before the next, until there is enough. Pure: the plan for
// `--plan` and for the real thing; what a rung really brings is measured by whoever climbs it, and planned again.
//
//   trim (a heap) ─▶ cache (clean) ─▶ claim (what is granted and free) ─▶ hibernate ─▶ terminate
//   └────────────── it goes on, with no less than its floor ──────────┘   └── idle ones alone ──┘
import type { InstanceId, TenantId } from '../../base/ids.ts';
import { headroomOf } from '../demand/demand.ts';
import type { ResourceKind } from '../../model/resources.ts';
import type { Candidate, Victim } from './victims.ts';

export const rungs = ['trim', 'cache', 'claim', 'hibernate', 'terminate'] as const;
export type Rung = (typeof rungs)[number];

export interface ReclaimStep {
  readonly id: InstanceId;
  readonly tenant: TenantId;
  readonly rung: Rung;
  /** What it is expected to bring. */
  readonly amount: number;
  /** What the instance is granted afterwards. */
  readonly leaves: number;
}

export interface ReclaimPlan {
  /** In the order to take them. */
  readonly steps: readonly ReclaimStep[];
  /** What they bring together. */
  readonly amount: number;
  /** What nobody has to give; 0 when there is enough. */
  readonly missing: number;
}

export interface LadderOptions {
  readonly resource: ResourceKind;
  readonly wanted: number;
  /** In order. */
  readonly victims: readonly Victim[];
  /** Less is not worth asking an instance for, as long as it goes on. */
  readonly worthwhile: number;
}

export function planReclaim({ resource, wanted, victims, worthwhile }: LadderOptions): ReclaimPlan {
  const left = new Map(victims.map(({ candidate }) => [candidate.id, candidate.grant]));
  const steps: ReclaimStep[] = [];
  let missing = wanted;
  for (const rung of rungs) {
    for (const victim of victims) {
      if (missing <= 0) break;
      const { candidate } = victim;
      const has = left.get(candidate.id) ?? 0;
      const amount = Math.min(
        offer(rung, victim, has, resource),
        divisible(rung) ? missing : Number.POSITIVE_INFINITY,
      );
      // The last bit of what is wanted is worth asking for, however small.
      if (amount <= 0 || (amount < Math.min(worthwhile, missing) && !endsIt(rung))) continue;
      left.set(candidate.id, has - amount);
      missing -= amount;
      steps.push({ id: candidate.id, tenant: candidate.tenant, rung, amount, leaves: has - amount });
    }
  }
  return { steps: withoutVain(steps), amount: wanted - missing, missing: Math.max(0, missing) };
}

/** What a rung can bring of an instance that has `has`. */
function offer(rung: Rung, { candidate, idle }: Victim, has: number, resource: ResourceKind): number {
  const above = Math.max(0, has - candidate.floor);
  switch (rung) {
    case 'trim':
      return Math.min(candidate.garbage, above);
    case 'cache':
      return Math.min(candidate.cleanCache, above);
    case 'claim':
      return Math.min(freeOf(candidate, resource), above);
    case 'hibernate':
      return idle && candidate.mayHibernate ? has : 0;
    case 'terminate':
      return idle && candidate.mayEnd ? has : 0;
  }
}

/** What it was granted and does not use, but for the room that it needs to grow in. */
function freeOf({ grant, used }: Candidate, resource: ResourceKind): number {
  return Math.max(0, grant - used - headroomOf(resource, used));
}

/** Whether a part of what a rung offers can be taken. A collection of garbage is whole or not at all. */
function divisible(rung: Rung): boolean {
  return rung === 'cache' || rung === 'claim';
}

function endsIt(rung: Rung): boolean {
  return rung === 'hibernate' || rung === 'terminate';
}

/** Who is to leave need not be trimmed before: what it would have brought comes with its leaving. */
function withoutVain(steps: readonly ReclaimStep[]): ReclaimStep[] {
  const before = new Map<InstanceId, number>();
  const leaving = new Set(steps.filter(({ rung }) => endsIt(rung)).map(({ id }) => id));
  for (const { id, rung, amount } of steps)
    if (leaving.has(id) && !endsIt(rung)) before.set(id, (before.get(id) ?? 0) + amount);
  return steps
    .filter(({ id, rung }) => !leaving.has(id) || endsIt(rung))
    .map((step) =>
      endsIt(step.rung) ? { ...step, amount: step.amount + (before.get(step.id) ?? 0) } : step,
    );
}
