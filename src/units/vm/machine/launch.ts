// Starts QEMU so that it outlives its starter, confined, and in its resource group before it runs. Owns the process's
// beginning: descriptors, namespaces, the group. What it is started with is arguments.ts, how it is spoken to is machine.ts.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, constants, openSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { BellowsError, messageOf } from '../../../base/errors.ts';
import { identify, sendSignal, type ProcessIdentity } from '../../../sys/process.ts';
import { fallocateFilter } from './fallocate-filter.ts';
import { sandboxed, type Confinement, type SandboxPaths } from './sandbox.ts';

/** Making namespaces and mounts takes some 10 ms; a machine under load takes longer. */
const launchTimeoutMs = 20_000;
/** The first of the descriptors that QEMU itself is given: those before it are bubblewrap's. */
export const firstPassedFd = 6;

export interface LaunchOptions {
  /** Given the numbers that the passed descriptors have in QEMU, its command line. */
  readonly qemu: readonly string[];
  readonly paths: SandboxPaths;
  readonly confinement: Confinement;
  /** Answers fallocate with "done": for a clone, see fallocate-filter.ts. */
  readonly keepHoles: boolean;
  /** Descriptors of ours that QEMU has as {@link firstPassedFd} and on. */
  readonly passed: readonly number[];
  /** What QEMU itself writes. */
  readonly logFile: string;
  /** Puts the processes into their group, before any of QEMU runs. */
  readonly admit: (pids: readonly number[]) => Promise<void>;
}

export interface LaunchedProcesses {
  readonly qemu: ProcessIdentity;
  /** Waits outside of the namespaces for QEMU's end, and is not needed for it; null without bubblewrap. */
  readonly monitor: ProcessIdentity | null;
}

/** @throws BellowsError StartFailed */
export async function launch(options: LaunchOptions): Promise<LaunchedProcesses> {
  if (options.keepHoles && options.confinement.kind === 'none')
    throw new BellowsError('NotSupportedHere', 'A clone needs bubblewrap around it, which is not there.');
  const opened: number[] = [];
  const open = (path: string, flags: number): number => {
    const fd = openSync(path, flags, 0o600);
    opened.push(fd);
    return fd;
  };
  try {
    const input = open('/dev/null', constants.O_RDONLY);
    const output = open(options.logFile, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND);
    if (options.confinement.kind === 'none') return await launchBare(options, input, output);
    let seccomp: number | null = null;
    if (options.keepHoles) {
      const file = join(options.paths.runDirectory, 'filter');
      writeFileSync(file, fallocateFilter(process.arch === 'arm64' ? 'arm64' : 'x64'), { mode: 0o600 });
      seccomp = open(file, constants.O_RDONLY);
    }
    const argv = sandboxed(options.qemu, options.paths, options.confinement, {
      info: 3,
      block: 4,
      seccomp: seccomp === null ? null : 5,
    });
    const child = start(argv, [
      input,
      output,
      output,
      'pipe',
      'pipe',
      seccomp ?? 'ignore',
      ...options.passed,
    ]);
    return await confined(child, options);
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

type Stdio = ('pipe' | 'ignore' | number)[];

function start(argv: readonly string[], stdio: Stdio): ChildProcess {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, {
    cwd: '/',
    detached: true,
    stdio,
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
  });
  child.unref();
  return child;
}

async function launchBare(options: LaunchOptions, input: number, output: number): Promise<LaunchedProcesses> {
  const child = start(options.qemu, [input, output, output, 'ignore', 'ignore', 'ignore', ...options.passed]);
  const failed = new Promise<never>((_, reject) => child.once('error', reject));
  failed.catch(() => undefined);
  const qemu = child.pid === undefined ? undefined : identify(child.pid);
  if (qemu === undefined) return failed.catch((thrown: unknown) => Promise.reject(startFailed(thrown)));
  await options.admit([qemu.pid]);
  return { qemu, monitor: null };
}

async function confined(child: ChildProcess, options: LaunchOptions): Promise<LaunchedProcesses> {
  const [info, block] = [child.stdio[3], child.stdio[4]] as [Socket, Socket];
  const ended = new Promise<never>((_, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`bubblewrap ended with ${code ?? 'a signal'}`)));
  });
  ended.catch(() => undefined);
  // A pipe breaks when bubblewrap ends early; that shows in what follows.
  for (const pipe of [info, block]) pipe.on('error', () => undefined);
  const timer = setTimeout(() => child.kill('SIGKILL'), launchTimeoutMs);
  let qemu: ProcessIdentity | undefined;
  try {
    qemu = identify(await Promise.race([readChildPid(info), ended]));
    const monitor = child.pid === undefined ? undefined : identify(child.pid);
    if (qemu === undefined || monitor === undefined) throw new Error('it ended while it was being set up');
    await options.admit([monitor.pid, qemu.pid]);
    block.end('1');
    return { qemu, monitor };
  } catch (thrown) {
    if (qemu !== undefined) sendSignal(qemu, 'SIGKILL');
    child.kill('SIGKILL');
    throw startFailed(thrown);
  } finally {
    clearTimeout(timer);
    info.destroy();
    block.destroySoon();
  }
}

function startFailed(thrown: unknown): BellowsError {
  if (thrown instanceof BellowsError) return thrown;
  return new BellowsError(
    'StartFailed',
    `QEMU could not be started: ${messageOf(thrown)}.`,
    'Run `bellows doctor`; what QEMU and bubblewrap said stands in the log.',
    { cause: thrown },
  );
}

/**
 * Reads `{"child-pid": 42, …}`: the number, outside, of the first process inside, which becomes QEMU. To the end, for
 * bubblewrap writes it in pieces, and would die of a pipe that was closed between them, and leave its child waiting.
 */
async function readChildPid(info: Socket): Promise<number> {
  let text = '';
  for await (const chunk of info.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    const pid = /"child-pid": (\d+)[^]*\}/.exec(text)?.[1];
    if (pid !== undefined) return Number(pid);
  }
  throw new Error('bubblewrap ended before it had begun');
}
