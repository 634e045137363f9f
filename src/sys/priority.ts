/**
 * Owns: how soon this process gets a processor beside others, and how much of it; and how soon another does.
 * Does not own: who deserves it. What a process starts gets none of it.
 *
 * - *Sooner*: the kernel's time slice is 1.4 ms with two processors, and until it is over, who runs is not interrupted. A
 *   request that passes through several processes waits that long at each. One that asks for a short slice is let in
 *   at once, and gets not a microsecond more (EEVDF, Linux 6.12; older ones take no notice). Nobody is refused it.
 *   Who carries messages, or answers them, has the shortest; who changes things behind them a longer one, and is interrupted.
 * - *More*: a higher weight, for which a right is needed. Where the kernel groups processes by session (autogroup), a
 *   thread's niceness counts inside its session only, and the session has one of its own.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';
import { libc } from './libc.ts';
import { leadsSession } from './process.ts';

/**
 * Three times the weight of an ordinary process (3,121 to 1,024), so that all instances together keep a quarter of a
 * processor that one of ours takes all it can of; and it has one thread that works. With -10 it would be a tenth.
 */
export const raisedNiceness = -5;
/** `carries`: messages pass through it. `changes`: it starts, resizes and decides, which takes milliseconds at a time. */
export type Part = 'carries' | 'changes';
/**
 * The kernel takes none shorter than 0.1 ms. Divided by the weight it is what the kernel goes by, so the longer one counts as a third
 * of it: more than an instance's, also where that one's weight is split over two processors, and less than the 1.4 ms
 * and more of everybody else. With 0.5 ms messages waited as often as with 0.1.
 */
const sliceNs: Readonly<Record<Part, bigint>> = { carries: 100_000n, changes: 1_000_000n };

const attributesBytes = 48;
const resetOnFork = 1n;
/** `sched_setattr`, which glibc has a function for only since 2.41. */
const setAttributesCall: Partial<Record<NodeJS.Architecture, bigint>> = { x64: 314n, arm64: 274n };

/**
 * Lets the calling thread run sooner, and where there is the right, more. What it starts from then on, processes and
 * threads, has neither. Changes nothing where none of it is possible.
 * @returns whether the right was there
 */
export function raiseOwnPriority(part: Part): boolean {
  if (process.platform !== 'linux') return false;
  const present = getPriority();
  // Who was started with less than others is not to have more.
  if (present > 0) {
    setAttributes(ownThread, present, part);
    return false;
  }
  const mayHaveMore = setAttributes(ownThread, Math.min(present, raisedNiceness), part);
  if (!mayHaveMore) setAttributes(ownThread, present, part);
  else if (leadsSession()) raiseSession();
  return mayHaveMore;
}

/**
 * Lets the first thread of a process that is ours run sooner, and not a moment more: whoever waits for it waits no longer for a
 * whole slice of somebody who computes, loads code, compiles or collects. Its other threads, and what it starts, stay as they
 * are. Nothing where that is not possible, or the process is gone.
 */
export function letRunSooner(pid: number): void {
  if (process.platform !== 'linux') return;
  try {
    setAttributes(pid, getPriority(pid), 'carries');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SYSTEM_ERROR') throw error;
  }
}

/** Whether this process may have more than others. Tries it, and goes back. */
export function mayRaisePriority(): boolean {
  const present = getPriority();
  if (present <= raisedNiceness) return true;
  try {
    setPriority(0, raisedNiceness);
    setPriority(0, present);
    return true;
  } catch {
    return false;
  }
}

/** To the kernel, whoever asks. */
const ownThread = 0;

/** @returns false when the kernel does not allow it, or does not know the call */
function setAttributes(pid: number, niceness: number, part: Part): boolean {
  const number = setAttributesCall[process.arch];
  if (number === undefined) return false;
  const { call, addressOf } = libc();
  // struct sched_attr: size, policy (0: the ordinary one), flags, nice, and what the ordinary one takes as its slice.
  const attributes = Buffer.alloc(attributesBytes);
  attributes.writeUInt32LE(attributesBytes, 0);
  attributes.writeBigUInt64LE(resetOnFork, 8);
  attributes.writeInt32LE(niceness, 16);
  attributes.writeBigUInt64LE(sliceNs[part], 24);
  return call.syscall(number, BigInt(pid), addressOf(attributes), 0n) === 0n;
}

/** A kernel that does not group by session has no such file. */
function raiseSession(): void {
  const file = '/proc/self/autogroup';
  try {
    if (Number(/nice (-?\d+)/.exec(readFileSync(file, 'latin1'))?.[1]) > raisedNiceness)
      writeFileSync(file, String(raisedNiceness));
  } catch (error) {
    if (!passing.has((error as NodeJS.ErrnoException).errno ?? 0)) throw error;
  }
}
/** No such file; not allowed; changed too often within a moment. */
const { ENOENT, EPERM, EACCES, EAGAIN } = constants.errno;
const passing: ReadonlySet<number> = new Set([-ENOENT, -EPERM, -EACCES, -EAGAIN]);
