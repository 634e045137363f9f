// What APIs show of instances and units: the agent's word, the kernel's figures and what follows from them. Pure.
import type { InstanceId, UnitId } from '../base/ids.ts';
import type { Bytes, BytesPerSecond, Millicores } from '../base/quantity.ts';
import type { InstanceInfo, InstanceUsage } from '../model/instance.ts';
import type { Resources } from '../model/resources.ts';
import type { InstanceView, StrainView } from './control-plane.ts';
import { seenOf, type Tracked } from './state/actual.ts';

export interface Figures {
  readonly usage: (id: InstanceId) => InstanceUsage | undefined;
  /** Millicores used lately. */
  readonly cpuRate: (id: InstanceId) => number;
  readonly storageBytes: (id: InstanceId) => number;
  readonly demand: (tracked: Tracked) => Resources;
  /** Bytes taken back by a reclaim and not used again since. */
  readonly claimedBytes: (id: InstanceId) => number;
  readonly strain: (id: InstanceId) => StrainView | undefined;
  /** Null for this machine. */
  readonly unitPid: (id: UnitId) => number | null;
}

export const noUsage: InstanceUsage = {
  memoryBytes: 0,
  workingSetBytes: 0,
  memoryPeakBytes: 0,
  cpuUsageMicros: 0,
  cpuThrottledMicros: 0,
  pids: 0,
  ioReadBytes: 0,
  ioWriteBytes: 0,
  oomKills: 0,
};

export function resourcesOf(memory: number, cpu: number, storage = 0, bandwidth = 0): Resources {
  return {
    memory: memory as Bytes,
    cpu: cpu as Millicores,
    storage: storage as Bytes,
    bandwidth: bandwidth as BytesPerSecond,
  };
}

/** Undefined for one that has no process yet. */
export function instanceView(tracked: Tracked, figures: Figures): InstanceView | undefined {
  const info = seenOf(tracked);
  if (info === undefined) return undefined;
  const usage = figures.usage(info.id) ?? noUsage;
  const cpu = figures.cpuRate(info.id);
  const storage = figures.storageBytes(info.id);
  const strain = figures.strain(info.id);
  return {
    ...withPhase(info, tracked),
    usage,
    demand: figures.demand(tracked),
    used: resourcesOf(usage.memoryBytes, cpu, storage),
    claimed: resourcesOf(figures.claimedBytes(info.id), 0),
    unitPid: figures.unitPid(info.unit),
    ...(strain === undefined ? {} : { strain }),
  };
}

/** What the controller has decided shows before the agent has done it. */
function withPhase(info: InstanceInfo, { life, idle }: Tracked): InstanceInfo {
  if (life.phase === 'stopping') return { ...info, state: 'stopping' };
  // The agent is not on the way of requests: that a function's instance is in use is the gateway's word.
  if (info.kind === 'function' && info.state === 'idle' && !idle) return { ...info, state: 'busy' };
  return info;
}
