// What a process has used of the processors, by the kernel's account: it is shifted less than times are by whoever else is busy.
import { readdirSync, readFileSync } from 'node:fs';

/** All threads that it has now, µs. */
export function processorMicros(pid: number): number {
  const directory = `/proc/${pid}/task`;
  return readdirSync(directory)
    .map((thread) => Number(readFileSync(`${directory}/${thread}/schedstat`, 'utf8').split(' ')[0]))
    .reduce((sum, nanoseconds) => sum + nanoseconds / 1000, 0);
}
