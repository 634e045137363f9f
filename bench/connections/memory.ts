// What the kernel says of a process's memory, and of a group's.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export function residentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** Of the processes in it and below it, bytes; 0 when there is no such group. */
export function groupBytes(directory: string): number {
  const file = ['memory.usage_in_bytes', 'memory.current']
    .map((name) => join(directory, name))
    .find(existsSync);
  return file === undefined ? 0 : Number(readFileSync(file, 'utf8'));
}
