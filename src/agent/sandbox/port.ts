// The seam to how a process is kept apart from others: bubblewrap, or nothing but a session of its own.
// Owns the contract. Does not own resource groups (agent/cgroup), links to what runs inside, nor who runs.
import { BellowsError } from '../../base/errors.ts';
import type { NetworkMode } from '../../model/workload.ts';
import { isAlive, sendSignal, type ProcessIdentity } from '../../sys/process.ts';
import type { Slot } from '../slot.ts';

/** Paths as a program in the sandbox sees them. */
export interface InsidePaths {
  readonly run: string;
  readonly task: string;
  /** Private, writable, limited in size. */
  readonly temporary: string;
  readonly node: string;
  /** The directory of the staged runtime. */
  readonly runtime: string;
}

export interface SandboxCommand {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workingDirectory: string;
  readonly network: NetworkMode;
  /** Who runs it; null is a process that will become somebody once, by itself, and can do nothing else until then. */
  readonly uid: number | null;
}

/** What runs in a slot. */
export interface SandboxProcesses {
  /** Waits outside for the sandbox to end; null when there is none. */
  readonly monitor: ProcessIdentity | null;
  /** The first process inside: when it dies, everything inside dies. */
  readonly init: ProcessIdentity;
  /** The process that was asked for. */
  readonly main: ProcessIdentity;
}

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: string | null;
}

export interface Launched {
  readonly processes: SandboxProcesses;
  /** When the main process ended; others may still be there. */
  readonly exited: Promise<ProcessExit>;
}

export interface LaunchRequest {
  readonly slot: Slot;
  readonly command: SandboxCommand;
  /** The size of the temporary directory. */
  readonly storageBytes: number;
  /** A listening socket that the program inherits as descriptor 3; null for none. It stays the caller's to close. */
  readonly socket: number | null;
  /** Called when the slot's places are there, before the program runs: to put into them what it finds. */
  furnish(): Promise<void>;
  /**
   * Called after `furnish` with the first process, which has made no other and has not run a byte that someone else wrote:
   * to put it into a group.
   */
  admit(pid: number): Promise<void>;
  /**
   * For a program that is to start later, where {@link Sandbox.holdsPrograms}: called when all else is made, with the processes
   * so far. The program starts when it resolves.
   */
  hold?(pids: readonly number[]): Promise<void>;
}

/** Where what instances store temporarily is kept, and so what limits it. */
export type StorageKeeping =
  | { readonly on: 'disk' }
  /** It counts as the instance's memory. */
  | { readonly on: 'memory'; readonly why: string }
  /** Nothing limits it. */
  | { readonly on: 'anything' };

/** `deferred`: more is in use, and nothing was changed. */
export type StorageOutcome =
  { readonly is: 'applied' } | { readonly is: 'deferred' | 'infeasible'; readonly reason: string };

export interface StoredBytes {
  readonly usedBytes: number;
  readonly limitBytes: number;
}

/** A sandbox that could not be made, or ended before its program began: nobody's code ran, and another may be made. */
export class SandboxNotMade extends BellowsError {
  constructor(why: string, cause: unknown) {
    super(
      'StartFailed',
      `The sandbox could not be made: ${why}.`,
      'Run `bellows doctor`; what bubblewrap said stands in the log.',
      { cause },
    );
  }
}

export interface Sandbox {
  readonly name: 'bubblewrap' | 'none';
  /** Whether tenants run as different users of the machine, so that they can not reach each other's processes and files. */
  readonly separateUsers: boolean;
  /** Whether network `none` can be given. */
  readonly networkNone: boolean;
  /** Whether a sandbox can be made that its program is started in later. */
  readonly holdsPrograms: boolean;
  /** Known once it is open. */
  readonly storage: StorageKeeping;
  /** Makes what all sandboxes share; finds it again when an earlier agent made it. */
  open(): void;
  /** Ends what all sandboxes share. Every slot was cleared before. */
  close(): void;
  /** Slots that something is mounted for, also by an earlier agent. */
  leftovers(): string[];
  inside(slot: Slot, codeDirectory: string): InsidePaths;
  /**
   * Starts a program that outlives the agent. When anything fails, nothing runs, and the slot is to be cleared.
   * @throws BellowsError StartFailed, which is SandboxNotMade while the program has not begun; what `furnish` and `admit` throw
   */
  launch(request: LaunchRequest): Promise<Launched>;
  /** Makes code appear inside, read-only. */
  showCode(slot: Slot, codeDirectory: string): void;
  /** Shows the instance its own memory figures, read-only; null when there are none. */
  showMemory(slot: Slot, memoryDirectory: string | null): void;
  /** Tells of a slot that an earlier agent filled. */
  adopt(slot: Slot, codeDirectory: string): void;
  /** What the temporary directory may hold, by the kernel's word; null where nothing limits it. */
  storageBytes(slot: Slot): number | null;
  /** What is stored in the temporary directory and what it may hold, both read anew; null where that is not known. */
  storedBytes(slot: Slot): StoredBytes | null;
  /** The size of the temporary directory, live. */
  resizeStorage(slot: Slot, storageBytes: number): StorageOutcome;
  /** Gives the machine back what deleted files took. */
  trimStorage(slot: Slot): Promise<void>;
  /** SIGKILLs everything inside. */
  kill(processes: SandboxProcesses): void;
  /** Takes everything back that was made for the slot. Its processes have ended. */
  clear(slot: Slot): void;
}

export function anyAlive(processes: SandboxProcesses): boolean {
  const { monitor, init, main } = processes;
  return isAlive(init) || isAlive(main) || (monitor !== null && isAlive(monitor));
}

/**
 * SIGTERM to everything inside that did not leave the first process's process group: behind a shell line the server is not
 * the main process. The first process itself does not mind, being the init of its namespace.
 */
export function askToEnd(processes: SandboxProcesses): void {
  if (!isAlive(processes.init)) return;
  try {
    process.kill(-processes.init.pid, 'SIGTERM');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
    sendSignal(processes.main, 'SIGTERM');
  }
}

/** In the environment of a sandbox's own processes: finds those that no handle tells of. */
export const slotVariable = 'BELLOWS_SLOT_DIRECTORY';
