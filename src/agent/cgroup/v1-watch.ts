// How cgroup v1 tells that a group's memory has come near its limit: through an eventfd, when the charge passes a threshold,
// and when a process stands still because out-of-memory is held. Owns registering both; closing the eventfd ends both.
// Documented in the kernel's Documentation/admin-guide/cgroup-v1/memory.rst, "Memory thresholds" and "OOM Control".
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { openKernelSignal } from '../../sys/kernel-signals.ts';
import { hasCode, writeText } from './files.ts';

/** Null when the group is gone, or the kernel gives no notice (event_control can be left out of it). */
export function watchV1Memory(directory: string, nearBytes: number, onNear: () => void): (() => void) | null {
  const signal = openKernelSignal(onNear);
  try {
    // The threshold is told of in both directions; whoever is told looks.
    register(directory, signal.fd, 'memory.usage_in_bytes', String(Math.max(0, nearBytes)));
    register(directory, signal.fd, 'memory.oom_control', '');
    return signal.close;
  } catch (error) {
    signal.close();
    if (hasCode(error, 'ENOENT', 'ENODEV', 'EOPNOTSUPP')) return null;
    throw error;
  }
}

/** The file need not stay open: the kernel keeps the group and the eventfd. */
function register(directory: string, eventFd: number, file: string, argument: string): void {
  const fd = openSync(join(directory, file), 'r');
  try {
    writeText(join(directory, 'cgroup.event_control'), `${eventFd} ${fd} ${argument}`.trimEnd());
  } finally {
    closeSync(fd);
  }
}
