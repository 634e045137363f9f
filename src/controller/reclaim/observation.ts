// What the host's memory looks like to the rule that decides whether to reclaim (src/allocator/reclaim/need.ts). Pure.
//
//   available by the kernel ─ reserve ─▶ unallocated      starts that wait, grants below demand ─▶ unmet
//                                                         demand beyond what is used, starts under way ─▶ coming
import type { HostObservation } from '../../allocator/reclaim/need.ts';
import type { Resources } from '../../model/resources.ts';
import type { Sample } from '../measures.ts';
import { knownOf, type Tracked } from '../state/actual.ts';

export interface HostSources {
  readonly sample: Sample;
  readonly instances: readonly Tracked[];
  readonly capacityBytes: number;
  /** See Tuning. */
  readonly reserveBytes: number;
  readonly demandOf: (tracked: Tracked) => Resources;
  /** What starts that found no room ask for. */
  readonly waitingBytes: number;
}

/**
 * A grant is a ceiling that is rarely reached by all at once: half of what an instance demands beyond its use is expected to
 * come, as a start is judged (../capacity.ts).
 */
const comingShare = 0.5;

export function observeHost(sources: HostSources): HostObservation {
  const { sample, instances, capacityBytes, reserveBytes, demandOf, waitingBytes } = sources;
  const used = new Map(sample.instances.map(({ id, usage }) => [id, usage.memoryBytes]));
  let coming = 0;
  let unmet = waitingBytes;
  for (const tracked of instances) {
    const { phase } = tracked.life;
    if (phase !== 'starting' && phase !== 'serving') continue;
    const demand = demandOf(tracked).memory;
    const known = knownOf(tracked);
    coming += Math.max(0, demand - (used.get(tracked.spec.id) ?? 0)) * comingShare;
    if (known !== null) unmet += Math.max(0, demand - known.info.grant.memory);
  }
  return {
    capacity: capacityBytes,
    unallocated: Math.max(0, sample.host.memoryAvailableBytes - reserveBytes),
    coming: Math.floor(coming),
    unmet,
    pressurePercent: sample.host.memoryPressurePercent ?? 0,
  };
}
