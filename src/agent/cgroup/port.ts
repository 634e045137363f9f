// The seam to the kernel's resource groups: what Bellows asks of cgroup v1, v2, or of nothing at all.
// Owns the contract that every implementation keeps (contract.ts beside it is its test). No policy: who gets how much
// is decided elsewhere; whether a lower limit is safe is decided by src/agent/resize, which asks here for figures.
import type { InstanceUsage } from '../../model/instance.ts';

/** A group's place below Bellows' root group: `['tenants', 'acme', 'i-…']`. Each part is a file name. */
export type GroupPath = readonly string[];

export interface CgroupCapabilities {
  readonly version: 'v1' | 'v2' | 'none';
  readonly memoryLimit: boolean;
  readonly cpuLimit: boolean;
  readonly pidsLimit: boolean;
  readonly freeze: boolean;
  /** Whether figures come from the kernel's groups; without, they are summed over processes and are approximate. */
  readonly exactUsage: boolean;
}

/** What is enforced on a group; null is "no limit of its own". Only the fields that are given are written. */
export interface GroupLimits {
  readonly memoryBytes?: number | null;
  readonly cpuMillicores?: number | null;
  /** Relative weight when CPUs are contended, 1 to 10,000; 100 is the default of the kernel's v2. */
  readonly cpuWeight?: number;
  readonly pids?: number | null;
}

/** What the kernel's files say is enforced now. */
export interface EnforcedLimits {
  readonly memoryBytes: number | null;
  readonly cpuMillicores: number | null;
  readonly pids: number | null;
}

/** How a memory limit's write ended. `busy`: the kernel could not get usage below it; the old limit stands and nothing was killed. */
export type LimitOutcome = 'applied' | 'busy';

export interface MemoryStrain {
  readonly memoryBytes: number;
  readonly limitBytes: number | null;
  /** How often an allocation has run into the limit, cache included: a difference of two samples tells. */
  readonly limitHits: number;
  /** A process stands still at the limit because of a hold. v2 has no such state: it slows down. */
  readonly waiting: boolean;
  /** Whether out-of-memory is held: see `holdOutOfMemory`. */
  readonly held: boolean;
}

export interface MemoryWatch {
  /** Whether the kernel tells from now on; what happened before it did not. False: `memoryStrain` has to be looked at. */
  readonly tells: Promise<boolean>;
  readonly stop: () => void;
}

/** Where there is no limit to come near to, or no kernel that tells. */
export const nobodyTells: MemoryWatch = { tells: Promise.resolve(false), stop: () => undefined };

/** "Moves" a process of a group to where it is: the next real move, within some 15 ms, is then a quick one. */
export interface StandingMove {
  /** @returns false once the process has ended */
  repeat(): Promise<boolean>;
  close(): void;
}

export interface Cgroup {
  readonly capabilities: CgroupCapabilities;
  /** Makes the group and its parents, idempotently. */
  create(group: GroupPath): void;
  /** Removes an empty group and its empty children; a group that is not there is no error. @throws when processes are left. */
  remove(group: GroupPath): Promise<void>;
  /** Groups directly below. Empty when the group is not there. */
  children(group: GroupPath): string[];
  /** Moves a process, all its threads, into the group. */
  attach(group: GroupPath, pid: number): void;
  /**
   * Moves several processes without holding up this thread: when the kernel has moved none for a while, the first takes it
   * some 10 ms, for every CPU has to notice. Those that have ended are left out.
   */
  move(group: GroupPath, pids: readonly number[]): Promise<void>;
  /** Null without a process in the group, and where no move is slow. */
  standingMove(group: GroupPath): StandingMove | null;
  /** Processes of the group itself, not of its children. */
  processes(group: GroupPath): number[];
  limits(group: GroupPath): EnforcedLimits;
  /** Writes memory last. Never lets the kernel kill for it: a memory limit below use answers `busy` and changes nothing. */
  setLimits(group: GroupPath, limits: GroupLimits): Promise<LimitOutcome>;
  usage(group: GroupPath): InstanceUsage;
  /** Starts `memoryPeakBytes` anew. */
  resetPeak(group: GroupPath): void;
  /**
   * While held, a process that runs into this group's own memory limit is not killed: it waits (v1) or is slowed down, the more
   * the further it goes above the limit (v2), so that whoever lowered the limit can take that back. Without a memory
   * limit the one that is set next is held. Meanwhile a system call that needs a page may end short or with EFAULT on v1, where it would have killed. Not for long: a waiting process stands still until the limit rises or the hold ends.
   */
  holdOutOfMemory(group: GroupPath, held: boolean): void;
  /** How near to its limit the group has come. Cheap: some small files. */
  memoryStrain(group: GroupPath): MemoryStrain;
  /**
   * Calls `onNear` when what a group with a limit is charged passes `nearBytes` from below (v2: when a held group comes to its
   * limit, whatever `nearBytes`; null: not), while cache makes room at the limit (v1), and when a process comes to stand
   * still at the limit. By the kernel's own notice: costs nothing while nothing happens, and may come without need.
   */
  watchMemory(group: GroupPath, nearBytes: number | null, onNear: () => void): MemoryWatch;
  /** Drops clean cache charged to the group; returns the bytes that were freed. */
  dropCache(group: GroupPath): Promise<number>;
  /** Returns when every process of the group stands still. */
  freeze(group: GroupPath): Promise<void>;
  thaw(group: GroupPath): Promise<void>;
  isFrozen(group: GroupPath): boolean;
  /** Kills every process of the group and of its children, also frozen ones, until none is left. */
  kill(group: GroupPath): Promise<void>;
  /** The group's directory that holds memory figures, to be shown inside a sandbox; null when there is none. */
  memoryDirectory(group: GroupPath): string | null;
}
