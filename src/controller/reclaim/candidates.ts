// From whom memory could be taken back, as the allocator sees them: what each holds of the host's memory, what of that is
// expected to be garbage, cache, or a claim's, and since when it idles. Pure: gathers from what is passed in.
import { headroomOf } from '../../allocator/demand/demand.ts';
import type { Candidate } from '../../allocator/reclaim/victims.ts';
import type { InstanceId, UnitId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type { UnitMeasure } from '../../protocol/unit.ts';
import type { Sample } from '../measures.ts';
import { seenOf, type Tracked } from '../state/actual.ts';
import { expectedGain, worthwhileBytes, type Left } from './expected-gain.ts';

/** A machine keeps up to this free when it is claimed (src/units/fleet/config.ts). */
const machineKeepsBytes = 64 * mib;
/** And less than this above it is not worth a claim. */
const worthwhileClaimBytes = 32 * mib;
/** What stays with an instance in any case: no Node process lives with less. */
const leastBytes = 12 * mib;

export interface Sources {
  readonly sample: Sample;
  readonly leftOf: (id: InstanceId) => Left | undefined;
  readonly shareOf: (id: InstanceId) => number;
  readonly busyAtMs: (id: InstanceId) => number | undefined;
  /** Functions that idle since before that may be ended; null: nobody. */
  readonly endIdleBeforeMs: number | null;
  /** Whether a machine may be put on disk, if who idles in it is alone there. */
  readonly mayRest: (unit: UnitId) => boolean;
  /** Named by its id: it is asked whatever it is expected to have. */
  readonly named: InstanceId | null;
}

/** Those of `instances` of which something is known; the rest has nothing to give yet. */
export function candidatesOf(instances: readonly Tracked[], sources: Sources): Candidate[] {
  const { sample } = sources;
  const usages = new Map(sample.instances.map(({ id, usage }) => [id, usage]));
  const units = new Map(sample.units.map((unit) => [unit.id, unit]));
  const usedIn = new Map<UnitId, number>();
  const residents = new Map<UnitId, number>();
  for (const tracked of instances) {
    const unit = seenOf(tracked)?.unit;
    const used = usages.get(tracked.spec.id)?.memoryBytes ?? 0;
    if (unit === undefined) continue;
    usedIn.set(unit, (usedIn.get(unit) ?? 0) + used);
    residents.set(unit, (residents.get(unit) ?? 0) + 1);
  }
  /** What is claimed of a unit is claimed once, with the first of its instances. */
  const claimed = new Set<UnitId>();
  return instances.flatMap((tracked): Candidate[] => {
    const { spec, life } = tracked;
    const usage = usages.get(spec.id);
    if (life.phase !== 'serving' || usage === undefined) return [];
    const { info } = life.known;
    const gain = expectedGain(usage, sources.leftOf(spec.id));
    const trimBytes = sources.named === spec.id ? Math.max(worthwhileBytes, gain.trimBytes) : gain.trimBytes;
    const unit = units.get(info.unit);
    const idleSinceMs = idleSince(tracked, sources.busyAtMs(spec.id));
    const isAlone = residents.get(info.unit) === 1;
    const common = {
      id: spec.id,
      tenant: spec.tenant,
      idleSinceMs,
      mayHibernate: isAlone && idleSinceMs !== null && sources.mayRest(info.unit),
      mayEnd: isEndable(tracked, sources.endIdleBeforeMs),
    };
    if (unit === undefined) {
      const grant = usage.memoryBytes;
      return [
        {
          ...common,
          grant,
          used: grant,
          floor: Math.min(grant, sources.named === spec.id ? 0 : leastBytes),
          garbage: trimBytes,
          cleanCache: gain.cacheBytes,
          windowUse: sources.shareOf(spec.id) * grant,
        },
      ];
    }
    // In a machine one call does it all: trims inside, and claims what nothing there has.
    const free = claimed.has(unit.id) ? 0 : claimable(unit, usedIn.get(unit.id) ?? 0);
    claimed.add(unit.id);
    const offer = Math.max(trimBytes, gain.cacheBytes) + free;
    const grant = usage.memoryBytes + free;
    return [
      {
        ...common,
        grant,
        used: offer === 0 ? grant : Math.max(0, grant - offer - headroomOf('memory', grant)),
        floor: Math.max(0, grant - offer),
        garbage: 0,
        cleanCache: 0,
        windowUse: sources.shareOf(spec.id) * grant,
      },
    ];
  });
}

/** What a virtual machine has left to its instances and they do not use, by the last figures, but for what it keeps. */
function claimable({ provisioned, claimed }: UnitMeasure, usedBytes: number): number {
  const free = provisioned.memory - claimed.memory - usedBytes - machineKeepsBytes;
  return free >= worthwhileClaimBytes ? free : 0;
}

/** A function's instance idles by the gateway's word, an app while it takes next to no processor time. */
function idleSince({ spec, idle, lastUsedMs, life }: Tracked, busyAtMs: number | undefined): number | null {
  if (spec.kind === 'function') return idle ? lastUsedMs : null;
  if (life.phase === 'serving' && life.known.info.state === 'frozen') return lastUsedMs;
  return busyAtMs ?? null;
}

/** A start makes another one like it, and nobody is connected to it. */
function isEndable({ spec, idle, lastUsedMs, life }: Tracked, idleBeforeMs: number | null): boolean {
  if (idleBeforeMs === null || !idle || lastUsedMs > idleBeforeMs) return false;
  return spec.kind === 'function' && life.phase === 'serving' && life.known.info.connections.open === 0;
}
