// What to do about one workload: desired against actual. Pure, and the same whatever happened before: it is asked
// after every event, so that a lost event costs nothing.
import type { InstanceId } from '../../base/ids.ts';
import type { Workload } from '../../model/workload.ts';
import { generationElsewhere } from '../deployment.ts';
import { isLive, type Tracked } from '../state/actual.ts';
import type { WorkloadRecord } from '../state/records.ts';
import type { Backoff } from './backoff.ts';

/** Connections into an app that was moved stay where they are for so long: both places have its memory meanwhile. */
const movedStayMs = 3_600_000;

export interface WorkloadPlan {
  /** One entry for every instance to start. */
  readonly start: readonly Workload[];
  /** Instances that may not serve any more: end them once nothing of theirs is in flight. */
  readonly retire: readonly { readonly id: InstanceId; readonly why: string }[];
  /** A serving instance of the candidate's generation: the candidate becomes what clients see. */
  readonly promote: boolean;
  /** When to look again though nothing happens. */
  readonly wakeAtMs: number | null;
}

/** @param instances every tracked instance of the workload */
export function planWorkload(
  record: WorkloadRecord | undefined,
  instances: readonly Tracked[],
  backoff: Backoff,
  nowMs: number,
): WorkloadPlan {
  const live = instances.filter(isLive);
  const current = record?.current ?? null;
  const candidate = record?.candidate ?? null;
  if (candidate === null) return planCurrent(current, live, backoff, nowMs);

  const fresh = live.filter(({ spec }) => spec.generation === candidate.generation);
  if (fresh.some(({ life }) => life.phase === 'serving'))
    return { start: [], retire: [], promote: true, wakeAtMs: null };
  // The old generation is kept up, and one instance tries whether the new one listens at all.
  const rest = planCurrent(
    current,
    live.filter((tracked) => !fresh.includes(tracked)),
    backoff,
    nowMs,
  );
  return fresh.length > 0 ? rest : { ...rest, start: [...rest.start, candidate] };
}

function planCurrent(
  current: Workload | null,
  live: readonly Tracked[],
  backoff: Backoff,
  nowMs: number,
): WorkloadPlan {
  if (current === null) return retireAll(live, 'no deployment wants it');
  if (current.kind === 'app') return planApp(current.scale, current, live, backoff, nowMs);
  return retireAll(
    live.filter(({ spec }) => spec.generation !== current.generation),
    'a newer deployment replaced it',
  );
}

function planApp(
  scale: number,
  wanted: Workload,
  live: readonly Tracked[],
  backoff: Backoff,
  nowMs: number,
): WorkloadPlan {
  const present = live.filter(({ spec }) => spec.generation === wanted.generation);
  const old = live.filter(({ spec }) => spec.generation !== wanted.generation);
  const serving = present.filter(({ life }) => life.phase === 'serving').length;
  const missing = Math.max(0, scale - present.length);
  const held = missing > 0 && nowMs < backoff.notBeforeMs;
  // Those that do not serve yet go first, then those with the fewest connections to lose.
  const surplus = [...present]
    .sort((a, b) => cost(a) - cost(b))
    .slice(0, Math.max(0, present.length - scale));
  // As many old ones stay as new ones are still missing: the sum of those that serve never falls below the scale.
  const replaceable = old.slice(0, Math.max(0, old.length - Math.max(0, scale - serving)));
  // What was moved is the same code: connections into it may stay until they end, and new ones do not come to it.
  const stayUntilMs = wanted.modifiedAtMs + movedStayMs;
  const elsewhere = generationElsewhere(wanted);
  const stays = (tracked: Tracked): boolean =>
    nowMs < stayUntilMs && tracked.spec.generation === elsewhere && connectionsOf(tracked) > 0;
  const replaced = replaceable.filter((tracked) => !stays(tracked));
  const lookAgainAtMs = [
    ...(held ? [backoff.notBeforeMs] : []),
    ...(replaced.length < replaceable.length ? [stayUntilMs] : []),
  ];
  return {
    start: held ? [] : Array.from({ length: missing }, () => wanted),
    retire: [
      ...surplus.map(({ spec }) => ({ id: spec.id, why: 'fewer instances are wanted' })),
      ...replaced.map(({ spec }) => ({
        id: spec.id,
        why: spec.generation === elsewhere ? 'it was moved' : 'a newer deployment replaced it',
      })),
    ],
    promote: false,
    wakeAtMs: lookAgainAtMs.length === 0 ? null : Math.min(...lookAgainAtMs),
  };
}

function cost(tracked: Tracked): number {
  return tracked.life.phase === 'serving' ? 1 + connectionsOf(tracked) : 0;
}

function connectionsOf({ life }: Tracked): number {
  return life.phase === 'serving' ? life.known.info.connections.open : 0;
}

function retireAll(instances: readonly Tracked[], why: string): WorkloadPlan {
  return {
    start: [],
    retire: instances.map(({ spec }) => ({ id: spec.id, why })),
    promote: false,
    wakeAtMs: null,
  };
}
