/**
 * Owns: telling processes apart by number and start time, so that a reused number is never taken
 * for the process that had it before.
 * Does not own: starting processes, or waiting for them.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** Can be stored, and compared for as long as the machine is not booted anew. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Start in clock ticks since boot, as in /proc. */
  readonly startTicks: number;
}

interface Stat {
  readonly parentPid: number;
  readonly session: number;
  readonly startTicks: number;
  /** Ended, and only waiting for its parent to notice. */
  readonly ended: boolean;
}

/** Undefined when nothing runs under this number; a zombie no longer runs. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid);
  return stat === undefined || stat.ended ? undefined : { pid, startTicks: stat.startTicks };
}

export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startTicks === identity.startTicks;
}

/**
 * Signals the process only if it is still the one meant. Between the check and the signal lie
 * some microseconds, in which the number would have to be freed and come round again.
 */
export function sendSignal(identity: ProcessIdentity, signal: NodeJS.Signals): 'sent' | 'gone' {
  if (!isAlive(identity)) return 'gone';
  try {
    process.kill(identity.pid, signal);
    return 'sent';
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return 'gone';
    throw error;
  }
}

/** Whether this process is the first of its session, as one that was started detached is. */
export function leadsSession(): boolean {
  return readStat(process.pid)?.session === process.pid;
}

/** The running children of all threads of a process. One that is started meanwhile may be missing. */
export function childrenOf(pid: number): ProcessIdentity[] {
  const children: ProcessIdentity[] = [];
  for (const childPid of childPids(pid)) {
    const stat = readStat(childPid);
    // The parent is checked again, for the number may have changed hands since it was listed.
    if (stat !== undefined && !stat.ended && stat.parentPid === pid) {
      children.push({ pid: childPid, startTicks: stat.startTicks });
    }
  }
  return children;
}

function childPids(pid: number): number[] {
  const pids: number[] = [];
  for (const thread of list(`/proc/${pid}/task`)) {
    const text = read(`/proc/${pid}/task/${thread}/children`);
    // A kernel without this file, or a thread that just ended: looking at everybody covers both.
    if (text === undefined) return numbers(list('/proc'));
    pids.push(...numbers(text.split(' ')));
  }
  return pids;
}

function readStat(pid: number): Stat | undefined {
  const text = read(`/proc/${pid}/stat`);
  return text === undefined ? undefined : parseStat(text);
}

/** Exported for its test: real processes with hostile names are hard to make everywhere. */
export function parseStat(text: string): Stat {
  // The second field is the program's name in parentheses, and may itself have spaces, parentheses
  // and line breaks: only the last parenthesis is certain.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const threads = Number(fields[17]);
  const startTicks = Number(fields[19]);
  if (state === undefined || !Number.isSafeInteger(startTicks))
    throw new Error('unexpected format of /proc/PID/stat');
  return {
    parentPid: Number(fields[1]),
    session: Number(fields[3]),
    startTicks,
    // A main thread that ended before the others looks like a zombie, but the process runs.
    ended: (state === 'Z' || state === 'X' || state === 'x') && threads <= 1,
  };
}

function numbers(names: readonly string[]): number[] {
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}

function read(path: string): string | undefined {
  return unlessGone(() => readFileSync(path, 'utf8'));
}

function list(path: string): string[] {
  return unlessGone(() => readdirSync(path)) ?? [];
}

function unlessGone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    // ESRCH: the process ended between open and read.
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ESRCH')) return undefined;
    throw error;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
