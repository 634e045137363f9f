// What this instance's memory is, read cheaply: its group's highest charge, and the process's own anonymous memory.
// Owns kept-open descriptors of kernel files. Does not own what is done about it (governor.ts).
import { Buffer } from 'node:buffer';
import { openSync, readSync } from 'node:fs';
import process from 'node:process';
import type { Proceed } from '../../protocol/instance.ts';

/** A number and a line break, or the one line of statm. */
const textBytes = 128;
const pageBytes = 4096;
const readAt = readSync;

/** A file of numbers whose descriptor stays open: a read is one system call. */
class NumberFile {
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafe(textBytes);

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The text, or '' when the file can no longer be read. */
  read(): string {
    try {
      const bytes = readAt(this.#fd, this.#buffer, 0, textBytes, 0);
      return this.#buffer.toString('latin1', 0, bytes);
    } catch {
      return '';
    }
  }
}

function open(path: string): NumberFile | undefined {
  try {
    return new NumberFile(openSync(path, 'r'));
  } catch {
    return undefined;
  }
}

let peakFile: NumberFile | undefined;
/** What the group's figure leaves out. */
let beforeBytes = 0;
let processFile: NumberFile | undefined;

/** Opens the files, once they are those of the instance's own group. Anybody may read them. */
export function openMemoryFiles(runDirectory: string, { chargedBeforeBytes }: Proceed): void {
  beforeBytes = chargedBeforeBytes;
  const folder = `${runDirectory}/memory`;
  peakFile = open(`${folder}/memory.max_usage_in_bytes`) ?? open(`${folder}/memory.peak`);
  processFile = open('/proc/self/statm');
}

/** Reading the peak costs 2 µs, as much as all else around a short invocation: in this time it is read once. */
const peakStaleMs = 5;
let peak = { kib: 0, readAtMs: Number.NEGATIVE_INFINITY };

/**
 * The instance's highest memory charge so far in KiB, some milliseconds old at most; the process's own highest where
 * there is no group. @param atMs monotonic: now
 */
export function peakKib(atMs: number): number {
  if (atMs - peak.readAtMs >= peakStaleMs) peak = { kib: readPeakKib(), readAtMs: atMs };
  return peak.kib;
}

function readPeakKib(): number {
  const bytes = Number.parseInt(peakFile?.read() ?? '', 10);
  return Number.isFinite(bytes) ? Math.ceil((bytes + beforeBytes) / 1024) : process.resourceUsage().maxRSS;
}

/** Anonymous memory of the process in bytes: what a collection may shrink, without shared code and file cache. */
export function anonymousBytes(): number {
  const fields = processFile?.read().split(' ') ?? [];
  const pages = Number(fields[1]) - Number(fields[2]);
  return Number.isFinite(pages) ? pages * pageBytes : process.memoryUsage.rss();
}
