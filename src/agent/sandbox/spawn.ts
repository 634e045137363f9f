// Starts a process that outlives the agent: detached, its output in a FIFO that it holds open itself, no pipe to us.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { setPipeSize } from '../../sys/descriptors.ts';
import type { ProcessExit } from './port.ts';

/** What output is kept while no agent reads: the most that the kernel gives without further rights. */
const logPipeBytes = 1024 * 1024;

export interface SpawnOptions {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly logFifo: string;
  /** Descriptors 3 and on. */
  readonly extra: readonly ('pipe' | 'ignore' | number)[];
}

export interface Spawned {
  readonly child: ChildProcess;
  readonly exited: Promise<ProcessExit>;
  /** Why the kernel made no process; undefined when it made one. */
  readonly refused: () => Error | undefined;
}

export function spawnDetached(options: SpawnOptions): Spawned {
  const [program, ...args] = options.argv;
  if (program === undefined) throw new TypeError('an empty command');
  const input = openSync('/dev/null', 'r');
  // Read and write: opening does not wait for a reader, and a dead agent does not break the pipe.
  const output = openSync(options.logFifo, constants.O_RDWR);
  try {
    setPipeSize(output, logPipeBytes);
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...options.env },
      detached: true,
      stdio: [input, output, output, ...options.extra],
    });
    let refusal: Error | undefined;
    const exited = new Promise<ProcessExit>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
      child.once('error', (error) => {
        refusal = error;
        resolve({ code: null, signal: null });
      });
    });
    child.unref();
    return { child, exited, refused: () => refusal };
  } finally {
    closeSync(input);
    closeSync(output);
  }
}
