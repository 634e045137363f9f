// Sandboxes made by bubblewrap as real root: own mount, pid, ipc, uts, cgroup and on demand network namespaces, a user per
// tenant, no capabilities, a system call filter. Owns starting and ending them. Mounts are mounts.ts, the command line is
// bubblewrap-arguments.ts.
import { closeSync, openSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BellowsError, messageOf } from '../../base/errors.ts';
import { childrenOf, identify, isAlive, sendSignal, type ProcessIdentity } from '../../sys/process.ts';
import type { Slot } from '../slot.ts';
import {
  bubblewrapArguments,
  bubblewrapInside,
  insideMemoryDirectory,
  withoutRights,
} from './bubblewrap-arguments.ts';
import { SandboxMounts } from './mounts.ts';
import { Scratch } from './scratch.ts';
import {
  SandboxNotMade,
  slotVariable,
  type InsidePaths,
  type Launched,
  type LaunchRequest,
  type ProcessExit,
  type Sandbox,
  type SandboxCommand,
  type SandboxProcesses,
  type StorageKeeping,
  type StorageOutcome,
  type StoredBytes,
} from './port.ts';
import { seccompProgram } from './seccomp.ts';
import { spawnDetached } from './spawn.ts';

// Descriptors that bubblewrap is given, and closes before the command runs. 3 is the command's own.
const infoFd = 4;
const seccompFd = 5;
const argsFd = 6;
const holdFd = 7;
/** Making namespaces and mounts takes some 10 ms; a machine under load takes longer. */
const launchTimeoutMs = 10_000;

export interface BubblewrapSandboxOptions {
  readonly runDirectory: string;
  /** For images of scratch space: on a disk. */
  readonly storageDirectory: string;
  /** Host path of the node program, and of the staged runtime. */
  readonly nodeBinary: string;
  readonly runtimeDirectory: string;
}

export class BubblewrapSandbox implements Sandbox {
  readonly name = 'bubblewrap';
  readonly separateUsers = true;
  readonly networkNone = true;
  readonly holdsPrograms = true;
  readonly #options: BubblewrapSandboxOptions;
  readonly #mounts: SandboxMounts;
  readonly #scratch: Scratch;
  readonly #filterFile: string;

  constructor(options: BubblewrapSandboxOptions) {
    this.#options = options;
    this.#mounts = new SandboxMounts(options.runDirectory);
    this.#scratch = new Scratch(this.#mounts.stage, options.storageDirectory);
    this.#filterFile = join(options.runDirectory, 'seccomp.bpf');
  }

  open(): void {
    this.#mounts.open();
    this.#scratch.open();
    writeFileSync(this.#filterFile, seccompProgram(process.arch === 'arm64' ? 'arm64' : 'x64'), {
      mode: 0o600,
    });
  }

  close(): void {
    this.#scratch.close();
    this.#mounts.close();
    rmSync(this.#filterFile, { force: true });
  }

  leftovers(): string[] {
    return [...new Set([...this.#mounts.slots(), ...this.#scratch.slots()])];
  }

  inside(): InsidePaths {
    return bubblewrapInside;
  }

  /**
   * Starting a program takes some milliseconds before it reads its arguments. It is given them last: until then it has no
   * child, and everything else is done meanwhile. If they never come it has nothing to show its command, and ends.
   * A program that is held starts when one byte is written, or when this agent dies: then it waits, bound to nobody, and is
   * the next agent's to end.
   */
  async launch(request: LaunchRequest): Promise<Launched> {
    const { slot, command, storageBytes, furnish, admit, hold } = request;
    const { child, exited, refused } = this.#spawn(request);
    const pipes = [infoFd, argsFd, holdFd].map((fd) => child.stdio[fd] as Socket);
    const [info, args, gate] = pipes as [Socket, Socket, Socket];
    // A pipe breaks when bubblewrap ends early; that shows in what follows.
    for (const pipe of pipes) pipe.on('error', () => {});
    let init: ProcessIdentity | undefined;
    let mayHaveBegun = false;
    try {
      const monitor = child.pid === undefined ? undefined : identify(child.pid);
      if (monitor === undefined) throw new Error('it ended while it was being set up');
      this.#mounts.prepare(slot.name);
      this.#scratch.prepare(slot.name, storageBytes);
      // One name for the figures, whatever sandbox it is: the run directory's `memory`.
      symlinkSync(insideMemoryDirectory, join(slot.runDirectory, 'memory'));
      await furnish();
      // What it makes from now on is born in its group.
      await admit(monitor.pid);
      args.end(`${this.#arguments(slot, command).join('\0')}\0`);
      init = identify(await readChildPid(info, AbortSignal.timeout(launchTimeoutMs)));
      if (init === undefined) throw new Error('it ended while it was being set up');
      if (hold !== undefined) await Promise.race([hold([monitor.pid, init.pid]), endedEarly(exited)]);
      gate.end('.');
      mayHaveBegun = true;
      const main = await firstChild(init, exited, AbortSignal.timeout(launchTimeoutMs));
      return { processes: { monitor, init, main }, exited: exited.then(signalOf) };
    } catch (thrown) {
      if (init !== undefined) sendSignal(init, 'SIGKILL');
      child.kill('SIGKILL');
      const how = howItEnded(await exited, refused());
      // It is not our child, and its group can not go before it.
      if (init !== undefined) await endOf(init);
      if (thrown instanceof BellowsError) throw thrown;
      const why = `${messageOf(thrown)}${how}`;
      if (!mayHaveBegun) throw new SandboxNotMade(why, thrown);
      throw new BellowsError(
        'StartFailed',
        `The program in the sandbox could not be started, or ended at once: ${why}.`,
        'Look into the log of the workload; what bubblewrap said stands there too.',
        { cause: thrown },
      );
    } finally {
      for (const pipe of pipes) pipe.destroy();
    }
  }

  showCode(slot: Slot, codeDirectory: string): void {
    this.#mounts.showCode(slot.name, codeDirectory);
  }

  showMemory(slot: Slot, memoryDirectory: string | null): void {
    if (memoryDirectory !== null) this.#mounts.showMemory(slot.name, memoryDirectory);
  }

  adopt(slot: Slot, codeDirectory: string): void {
    this.#mounts.adopt(slot.name, codeDirectory);
  }

  get storage(): StorageKeeping {
    return this.#scratch.keeping;
  }

  storageBytes(slot: Slot): number {
    return this.#scratch.grantedBytes(slot.name);
  }

  storedBytes(slot: Slot): StoredBytes {
    return this.#scratch.storedBytes(slot.name);
  }

  resizeStorage(slot: Slot, storageBytes: number): StorageOutcome {
    return this.#scratch.resize(slot.name, storageBytes);
  }

  trimStorage(slot: Slot): Promise<void> {
    return this.#scratch.trim(slot.name);
  }

  kill(processes: SandboxProcesses): void {
    // The kernel kills a pid namespace with its first process, which nothing inside can outrun.
    sendSignal(processes.init, 'SIGKILL');
  }

  clear(slot: Slot): void {
    this.#scratch.clear(slot.name);
    this.#mounts.clear(slot.name);
  }

  #spawn({ slot, command, socket }: LaunchRequest): ReturnType<typeof spawnDetached> {
    const filter = openSync(this.#filterFile, 'r');
    try {
      return spawnDetached({
        argv: [
          'bwrap',
          '--args',
          String(argsFd),
          '--info-fd',
          String(infoFd),
          '--seccomp',
          String(seccompFd),
          '--block-fd',
          String(holdFd),
          '--',
          ...withoutRights(command.argv, command.uid),
        ],
        env: {
          PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
          [slotVariable]: slot.runDirectory,
        },
        cwd: '/',
        logFifo: slot.logFifo,
        extra: [socket ?? 'ignore', 'pipe', filter, 'pipe', 'pipe'],
      });
    } finally {
      closeSync(filter);
    }
  }

  #arguments(slot: Slot, command: SandboxCommand): string[] {
    return bubblewrapArguments({
      network: command.network,
      env: command.env,
      workingDirectory: command.workingDirectory,
      nodeBinary: this.#options.nodeBinary,
      runtimeDirectory: this.#options.runtimeDirectory,
      runDirectory: slot.runDirectory,
      sharedDirectory: this.#mounts.shared(slot.name),
      temporaryDirectory: this.#scratch.shown(slot.name),
    });
  }
}

/** Reads `{"child-pid": 42, …}`: the number, outside, of the first process inside. */
async function readChildPid(info: Socket, deadline: AbortSignal): Promise<number> {
  let text = '';
  const abort = (): void => void info.destroy(new Error('it took too long'));
  deadline.addEventListener('abort', abort, { once: true });
  try {
    for await (const chunk of info.iterator({ destroyOnReturn: false })) {
      text += String(chunk);
      const pid = /"child-pid": (\d+)/.exec(text)?.[1];
      if (pid !== undefined) return Number(pid);
    }
  } finally {
    deadline.removeEventListener('abort', abort);
  }
  throw new Error('bubblewrap ended before it had begun');
}

/** A process that we have just killed ended by that, as a rule. */
function howItEnded({ code, signal }: ProcessExit, refused: Error | undefined): string {
  if (refused !== undefined) return ` (the kernel: ${refused.message})`;
  if (code !== null) return ` (exit code ${code})`;
  return signal === null || signal === 'SIGKILL' ? '' : ` (${signal})`;
}

async function endedEarly(exited: Promise<unknown>): Promise<never> {
  await exited;
  throw new Error('it ended before its program was started');
}

/** Resolves when a process that was killed is gone, or the kernel takes too long for it. */
async function endOf(killed: ProcessIdentity): Promise<void> {
  const deadline = AbortSignal.timeout(launchTimeoutMs);
  while (isAlive(killed) && !deadline.aborted) await sleep(1);
}

/** The first process makes one child: the command. */
async function firstChild(
  init: ProcessIdentity,
  exited: Promise<unknown>,
  deadline: AbortSignal,
): Promise<ProcessIdentity> {
  let ended = false;
  void exited.then(() => (ended = true));
  for (;;) {
    const child = childrenOf(init.pid)[0];
    if (child !== undefined) return child;
    if (ended) throw new Error('it ended');
    if (deadline.aborted) throw new Error('it took too long');
    await sleep(1);
  }
}

/** Some numbers have two names; the first is the one that people know (SIGABRT, not SIGIOT). */
const signalNames = new Map<number, string>(
  Object.entries(constants.signals)
    .map(([name, number]): [number, string] => [number, name])
    .reverse(),
);

/** Bubblewrap tells of a signal as a shell does, with 128 and its number. */
function signalOf(exit: ProcessExit): ProcessExit {
  if (exit.code === null || exit.code <= 128) return exit;
  const signal = signalNames.get(exit.code - 128);
  return signal === undefined ? exit : { code: null, signal };
}
