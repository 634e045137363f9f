// One running copy of a workload in a unit: its states and what is known of it.
//
//   warm ──bind──▶ bound ──ready──▶ idle ◀──▶ busy
//    │               │               │ ▲        │
//    │               │         freeze▼ │thaw    │
//    │               │             frozen       │
//    ▼               ▼               ▼          ▼
//   gone ◀───────────┴──── stopping ◀┴──────────┘
//
//   With its virtual machine each of idle, busy and frozen becomes hibernated, and afterwards what it was.
import type { InstanceId, TenantId, UnitId, WorkloadKey } from '../base/ids.ts';
import type { Resources } from './resources.ts';

export const instanceStates = [
  'warm',
  'bound',
  'idle',
  'busy',
  'frozen',
  'hibernated',
  'stopping',
  'gone',
] as const;
export type InstanceState = (typeof instanceStates)[number];

/** Counts since the instance started; a difference of two samples tells what happened between them. */
export interface ConnectionCounts {
  /** Open now. */
  readonly open: number;
  /** Ended because the client ended them. */
  readonly closedByClient: number;
  /** Ended because the application, or an error, ended them. */
  readonly closedByServer: number;
}

/** What the kernel says of an instance's groups, in base units. */
export interface InstanceUsage {
  /** Everything charged to the instance, caches included. */
  readonly memoryBytes: number;
  /** What can not be dropped without swapping or killing: charged less inactive file cache. */
  readonly workingSetBytes: number;
  /** The highest charge so far. */
  readonly memoryPeakBytes: number;
  readonly cpuUsageMicros: number;
  readonly cpuThrottledMicros: number;
  readonly pids: number;
  readonly ioReadBytes: number;
  readonly ioWriteBytes: number;
  readonly oomKills: number;
}

export interface InstanceInfo {
  readonly id: InstanceId;
  readonly tenant: TenantId;
  readonly workload: WorkloadKey;
  readonly generation: string;
  readonly kind: 'app' | 'function';
  readonly unit: UnitId;
  readonly state: InstanceState;
  /** The host's number of the process that runs user code. */
  readonly pid: number;
  readonly startedAtMs: number;
  /** What it may use now, as the kernel enforces it. */
  readonly grant: Resources;
  /** What it is to be given as soon as it is safe; equals `grant` when nothing is deferred. */
  readonly desired: Resources;
  /** More than `grant` while a part of its memory is lent: what it is given back at once when it needs it. Absent otherwise. */
  readonly promised?: Pick<Resources, 'memory'> | undefined;
  readonly connections: ConnectionCounts;
}
