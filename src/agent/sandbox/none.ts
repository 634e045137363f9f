// No sandbox: a plain process in a session of its own, for machines where Bellows has no rights. Everything runs as the
// user who started Bellows and can read what that user can; `bellows doctor` says so.
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { BellowsError } from '../../base/errors.ts';
import { identify, isAlive } from '../../sys/process.ts';
import type { Slot } from '../slot.ts';
import {
  slotVariable,
  type InsidePaths,
  type Launched,
  type LaunchRequest,
  type Sandbox,
  type SandboxProcesses,
  type StorageOutcome,
} from './port.ts';
import { spawnDetached } from './spawn.ts';

export interface NoSandboxOptions {
  readonly nodeBinary: string;
  readonly runtimeDirectory: string;
}

export class NoSandbox implements Sandbox {
  readonly name = 'none';
  readonly separateUsers = false;
  readonly networkNone = false;
  readonly holdsPrograms = false;
  readonly storage = { on: 'anything' } as const;
  readonly #options: NoSandboxOptions;

  constructor(options: NoSandboxOptions) {
    this.#options = options;
  }

  open(): void {}

  close(): void {}

  leftovers(): string[] {
    return [];
  }

  inside(slot: Slot, codeDirectory: string): InsidePaths {
    return {
      run: slot.runDirectory,
      task: codeDirectory,
      temporary: temporaryOf(slot),
      node: this.#options.nodeBinary,
      runtime: this.#options.runtimeDirectory,
    };
  }

  async launch({ slot, command, socket, furnish, admit }: LaunchRequest): Promise<Launched> {
    mkdirSync(temporaryOf(slot), { mode: 0o700 });
    await furnish();
    const { child, exited } = spawnDetached({
      argv: command.argv,
      env: { ...command.env, [slotVariable]: slot.runDirectory },
      cwd: command.workingDirectory,
      logFifo: slot.logFifo,
      extra: socket === null ? [] : [socket],
    });
    const main = child.pid === undefined ? undefined : identify(child.pid);
    if (main === undefined) {
      await exited;
      throw new BellowsError('StartFailed', `${command.argv[0]} could not be started, or ended at once.`);
    }
    const processes = { monitor: null, init: main, main };
    try {
      await admit(main.pid);
    } catch (thrown) {
      this.kill(processes);
      await exited;
      throw thrown;
    }
    return { processes, exited };
  }

  showCode(): void {}

  showMemory(slot: Slot, memoryDirectory: string | null): void {
    if (memoryDirectory !== null) symlinkSync(memoryDirectory, join(slot.runDirectory, 'memory'));
  }

  adopt(): void {}

  storageBytes(): null {
    return null;
  }

  storedBytes(): null {
    return null;
  }

  resizeStorage(): StorageOutcome {
    return { is: 'applied' };
  }

  async trimStorage(): Promise<void> {}

  kill(processes: SandboxProcesses): void {
    if (!isAlive(processes.init)) return;
    try {
      // It leads a process group of its own, with what it has started.
      process.kill(-processes.init.pid, 'SIGKILL');
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
    }
  }

  clear(slot: Slot): void {
    rmSync(temporaryOf(slot), { recursive: true, force: true });
  }
}

function temporaryOf(slot: Slot): string {
  return join(slot.runDirectory, 'tmp');
}
