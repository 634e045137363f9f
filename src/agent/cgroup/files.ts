// How files of a cgroup mount are read and written, and what their text means. Owns formats that v1 and v2 share.
// Calls are synchronous: the kernel answers them out of memory in microseconds, less than handing them to a thread costs.
import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmdirSync,
  write,
  writeSync,
} from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { StandingMove } from './port.ts';

/** Whether what was thrown is a system error with one of these codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return (
    error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code)
  );
}

/** Longer than every file but the process list of a large group. */
const buffer = Buffer.allocUnsafe(16_384);

/**
 * A file's text without the final line break. Costs 7 µs where `readFileSync` takes 15: a resize of many instances reads
 * hundreds. @throws the system error
 */
export function readText(path: string): string {
  const descriptor = openSync(path, 'r');
  try {
    const length = readSync(descriptor, buffer, 0, buffer.length, null);
    // The kernel hands out whole lines: a file of several pieces is read from its beginning by one who asks until its end.
    const isWhole = length < buffer.length && readSync(descriptor, buffer, length, 1, null) === 0;
    if (isWhole) return buffer.toString('latin1', 0, length).trimEnd();
  } finally {
    closeSync(descriptor);
  }
  return readFileSync(path, 'latin1').trimEnd();
}

/** Undefined when the group or the file is not there: a group may end at any moment, an older kernel lacks some files. */
export function readTextIfThere(path: string): string | undefined {
  try {
    return readText(path);
  } catch (error) {
    // ENODEV: the group was removed between open and read.
    if (hasCode(error, 'ENOENT', 'ENODEV', 'ENOTDIR')) return undefined;
    throw error;
  }
}

/** A file that holds one number; 0 when it is not there. */
export function readNumber(path: string): number {
  return Number(readTextIfThere(path) ?? 0);
}

/** Without O_CREAT: nothing is ever made by mistake. */
const existingFile = constants.O_WRONLY | constants.O_TRUNC;

/** Writes to a file that is there. @throws the kernel's refusal */
export function writeText(path: string, text: string): void {
  const descriptor = openSync(path, existingFile);
  try {
    writeSync(descriptor, text);
  } finally {
    closeSync(descriptor);
  }
}

/** The same for a write that the kernel may take milliseconds to answer: on a thread. */
export async function writeTextOnThread(path: string, text: string): Promise<void> {
  await using file = await open(path, existingFile);
  await file.write(text);
}

/** The number behind `key` in lines of `key number`, as in memory.stat, cpu.stat and memory.events. */
export function flatField(text: string, key: string): number | undefined {
  const needle = `${key} `;
  let at = text.startsWith(needle) ? 0 : text.indexOf(`\n${needle}`);
  if (at < 0) return undefined;
  if (at > 0) at += 1;
  const end = text.indexOf('\n', at);
  const value = Number(text.slice(at + needle.length, end < 0 ? undefined : end));
  return Number.isFinite(value) ? value : undefined;
}

/** Names of the groups directly below a group's directory. Empty when it is not there. */
export function subgroups(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENODEV', 'ENOTDIR')) return [];
    throw error;
  }
}

/** Removes a group's directory; true when it is gone, false while something is in it. */
export function removeDirectory(directory: string): boolean {
  try {
    rmdirSync(directory);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return true;
    if (hasCode(error, 'EBUSY')) return false;
    throw error;
  }
}

/** Process numbers of a cgroup.procs file; 0 stands for a process that this pid namespace can not see. */
export function readPids(path: string): number[] {
  const pids: number[] = [];
  for (const line of (readTextIfThere(path) ?? '').split('\n')) {
    const pid = Number(line);
    if (Number.isSafeInteger(pid) && pid > 0) pids.push(pid);
  }
  return pids;
}

/** SIGKILLs what may have ended meanwhile. */
export function killProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}

/** Asks again, at first after 1 ms and at last every 50 ms, until `done` or the time is over; true when done. */
export async function until(done: () => boolean, timeoutMs: number): Promise<boolean> {
  const startedMs = performance.now();
  for (let pauseMs = 1; !done(); pauseMs = Math.min(pauseMs * 2, 50)) {
    if (performance.now() - startedMs > timeoutMs) return false;
    await sleep(pauseMs);
  }
  return true;
}

/** Writes each number to the files one after another: the first on a thread, since only that one is slow. */
export async function writePids(files: readonly string[], pids: readonly number[]): Promise<void> {
  let first = true;
  for (const pid of pids) {
    for (const file of files) {
      try {
        if (first) await writeFile(file, String(pid), { flag: existingFile });
        else writeText(file, String(pid));
      } catch (error) {
        // It ended meanwhile.
        if (!hasCode(error, 'ESRCH')) throw error;
      }
      first = false;
    }
  }
}

const writeOnThread = promisify(write);

/**
 * Writes the first process of a cgroup.procs file into the same file: it stays where it is. On a thread, since the kernel may take
 * milliseconds. The file stays open, for to find it and to read it take longer than all the rest. Once the process has ended the
 * kernel refuses it, and its number is not another's before that is noticed: numbers are given out in turn, and whoever
 * repeats this does so many times a second.
 */
export class StandingWrite implements StandingMove {
  readonly #descriptor: number;
  readonly #pid: Buffer;

  private constructor(descriptor: number, pid: number) {
    this.#descriptor = descriptor;
    this.#pid = Buffer.from(String(pid));
  }

  /** @returns null without a process. @throws the system error, when there is no such file */
  static open(path: string): StandingWrite | null {
    const [pid] = readPids(path);
    return pid === undefined ? null : new StandingWrite(openSync(path, existingFile), pid);
  }

  async repeat(): Promise<boolean> {
    try {
      await writeOnThread(this.#descriptor, this.#pid, 0, this.#pid.length);
      return true;
    } catch (error) {
      // The process has ended, or the group was removed.
      if (hasCode(error, 'ESRCH', 'ENODEV')) return false;
      throw error;
    }
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}
