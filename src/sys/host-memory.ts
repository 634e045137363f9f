// A machine's memory by its kernel's word, and how short it is. Reads, decides nothing.
import { readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';

export const memoryPressureFile = '/proc/pressure/memory';

export interface HostMemory {
  readonly memoryAvailableBytes: number;
  readonly memoryTotalBytes: number;
  /** Of the last ten seconds, in which some task waited for memory; null where the kernel does not say. */
  readonly memoryPressurePercent: number | null;
}

export function hostMemory(): HostMemory {
  const available = /^MemAvailable:\s+(\d+) kB$/m.exec(textOf('/proc/meminfo'))?.[1];
  return {
    // Without Linux the rougher figure, which leaves out what caches could give back.
    memoryAvailableBytes: available === undefined ? freemem() : Number(available) * 1024,
    memoryTotalBytes: totalmem(),
    memoryPressurePercent: somePercent(textOf(memoryPressureFile)),
  };
}

/** `some avg10=0.00 avg60=0.00 avg300=0.00 total=415010`: the first; null when there is none. */
export function somePercent(text: string): number | null {
  const percent = /^some avg10=([\d.]+) /m.exec(text)?.[1];
  return percent === undefined ? null : Number(percent);
}

/** Empty where there is no such file, or none that may be read. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
