// The host's memory by its kernel's word. Reads, decides nothing.
import { readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';

export interface HostMemory {
  readonly memoryAvailableBytes: number;
  readonly memoryTotalBytes: number;
}

export function hostMemory(): HostMemory {
  const text = readFileSync('/proc/meminfo', 'latin1');
  const kibibytes = (name: string): number | undefined => {
    const value = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1];
    return value === undefined ? undefined : Number(value);
  };
  const available = kibibytes('MemAvailable');
  return {
    memoryAvailableBytes: available === undefined ? freemem() : available * 1024,
    memoryTotalBytes: totalmem(),
  };
}
