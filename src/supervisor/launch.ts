// Starts one process, detached from the terminal, and says how it ended. Owns what it inherits. Whether it is started again
// is child.ts's, what it says when it is ready upgrade.ts's.
import { spawn, type ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import { identify, type ProcessIdentity } from '../sys/process.ts';

export interface LaunchSpec {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** An open file that standard output and error are appended to: it outlives us, as the child may. */
  readonly outputFd: number;
  /** Listening sockets, for gateways; they also have a pipe for a word of theirs (processes.ts). */
  readonly listening?: readonly number[] | undefined;
}

export interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Launched {
  readonly process: ChildProcess;
  /** Undefined when it could not be started, or has ended already. */
  readonly identity: ProcessIdentity | undefined;
  readonly ended: Promise<End>;
}

export function launch({ command, args, env, outputFd, listening }: LaunchSpec): Launched {
  // A group and session of its own: Ctrl-C in the terminal reaches the supervisor alone, which stops it in order.
  const child = spawn(command, args, {
    env,
    stdio: [
      'ignore',
      outputFd,
      outputFd,
      ...(listening === undefined ? [] : ['pipe' as const, ...listening]),
    ],
    detached: true,
  });
  const ended = new Promise<End>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', () => {
      // It could not even be started; there will be no 'exit'.
      if (child.pid === undefined) resolve({ code: null, signal: null });
    });
  });
  wordPipeOf(child)
    ?.on('error', () => undefined)
    .resume();
  return { process: child, identity: child.pid === undefined ? undefined : identify(child.pid), ended };
}

/** What a gateway says that it is ready on, and that it leaves. */
export function wordPipeOf({ stdio }: ChildProcess): Readable | undefined {
  return (stdio[3] as Readable | null | undefined) ?? undefined;
}
