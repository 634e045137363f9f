/**
 * Owns: moving what a process has in memory, and only it, to the machine's swap, from outside and without its help.
 * Does not own: when that is worth it, and the swap, which belongs to the machine. What the process uses again the kernel
 * brings back page by page.
 */
import type * as FfiModule from 'node:ffi';
import { closeSync, readFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';

// The same numbers on every machine: system calls since Linux 5.1 are numbered alike.
const SYS_pidfd_open = 434n;
const SYS_process_madvise = 440n;
// linux/mman.h
const MADV_PAGEOUT = 21n;
const SIGNATURES = {
  // Variadic in C; six words are passed alike on both machines' Linux calling conventions.
  syscall: { arguments: ['int64', 'int64', 'pointer', 'int64', 'int64', 'int64'], return: 'int64' },
} as const satisfies FfiModule.FunctionDefinitions;

/** To compress as much takes up to a millisecond, in which this thread does nothing else. */
const chunkBytes = 1024n * 1024n;

/** Whether there is somewhere to move to. */
export function hasSwap(): boolean {
  // The first line is a heading; without support for swap the file is not there.
  return textOf('/proc/swaps').trimEnd().split('\n').length > 1;
}

/**
 * For a process that stands still; one that runs takes it back as it goes. Does nothing to a process that is gone, or that we have no
 * right to (root has). @param goOn asked after each step of a millisecond at most
 */
export async function pageOut(pid: number, goOn: () => boolean): Promise<void> {
  const ffi = process.getBuiltinModule('node:ffi') as typeof FfiModule | undefined;
  if (ffi === undefined) return;
  const { syscall } = ffi.dlopen(null, SIGNATURES).functions;
  const pidFd = Number(syscall(SYS_pidfd_open, BigInt(pid), null, 0n, 0n, 0n));
  if (pidFd < 0) return;
  try {
    // struct iovec: address and length, two words.
    const range = new BigUint64Array(2);
    const rangeAddress = ffi.getRawPointer(range);
    for (const { start, end } of ownRanges(textOf(`/proc/${pid}/maps`))) {
      for (let at = start; at < end; at += chunkBytes) {
        range[0] = at;
        range[1] = end - at < chunkBytes ? end - at : chunkBytes;
        // What is refused (locked, unmapped meanwhile) stays where it is.
        syscall(SYS_process_madvise, BigInt(pidFd), rangeAddress, 1n, MADV_PAGEOUT, 0n);
        await nextTurn();
        if (!goOn()) return;
      }
    }
  } finally {
    closeSync(pidFd);
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/** Of a process's map, what is its own: private, accessible, and of no file. Neighbours are joined. */
export function ownRanges(maps: string): readonly Range[] {
  const ranges: Range[] = [];
  for (const [, start = '', end = '', mode = '', name = ''] of maps.matchAll(
    /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ 0 *(.*)$/gm,
  )) {
    if (!mode.endsWith('p') || mode === '---p' || name.startsWith('[v')) continue;
    const range = { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) };
    const last = ranges.at(-1);
    if (last?.end === range.start) ranges[ranges.length - 1] = { start: last.start, end: range.end };
    else ranges.push(range);
  }
  return ranges;
}
