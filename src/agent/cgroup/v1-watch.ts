// How cgroup v1 tells that a group's memory has come near its limit: through an eventfd, when the charge passes a threshold,
// while cache has to make room at the limit, and when a process stands still because out-of-memory is held. Owns registering
// them; closing the eventfd ends them all.
// Documented in the kernel's Documentation/admin-guide/cgroup-v1/memory.rst, "Memory thresholds", "OOM Control" and "Memory
// Pressure".
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { openKernelSignal } from '../../sys/kernel-signals.ts';
import { hasCode, writeText, writeTextOnThread } from './files.ts';
import type { MemoryWatch } from './port.ts';

/**
 * The kernel takes some 10 ms for a threshold, for every processor has to notice. So that happens on a thread, and for one group
 * after another: whoever else needs a thread finds one.
 */
let lastThreshold: Promise<unknown> = Promise.resolve();

/** @param nearBytes null: only of a process that stands still */
export function watchV1Memory(directory: string, nearBytes: number | null, onNear: () => void): MemoryWatch {
  let stopped = false;
  const signal = openKernelSignal(() => {
    if (!stopped) onNear();
  });
  const isStopped = (): boolean => stopped;
  const tells = register(directory, signal.fd, nearBytes, isStopped).catch((error: unknown) => {
    // The group is gone, or the kernel was built without notices.
    if (hasCode(error, 'ENOENT', 'ENODEV', 'EINVAL', 'EOPNOTSUPP')) return false;
    throw error;
  });
  const stop = (): void => {
    stopped = true;
    // Its number must not become another's while the kernel is still being told of it.
    void tells.catch(() => undefined).finally(signal.close);
  };
  return { tells, stop };
}

async function register(
  directory: string,
  eventFd: number,
  nearBytes: number | null,
  isStopped: () => boolean,
): Promise<boolean> {
  const control = join(directory, 'cgroup.event_control');
  withFile(join(directory, 'memory.oom_control'), (fd) => writeText(control, `${eventFd} ${fd}`));
  if (nearBytes === null) return true;
  tellOfPressure(directory, eventFd);
  const earlier = lastThreshold;
  const registered = earlier.then(async () => {
    if (isStopped()) return;
    // The file need not stay open afterwards: the kernel keeps the group and the eventfd.
    const fd = openSync(join(directory, 'memory.usage_in_bytes'), 'r');
    try {
      await writeTextOnThread(control, `${eventFd} ${fd} ${Math.max(0, Math.floor(nearBytes))}`);
    } finally {
      closeSync(fd);
    }
  });
  lastThreshold = registered.catch(() => undefined);
  await registered;
  return true;
}

/**
 * Once cache fills the group up to its limit, no threshold is passed any more. Reclaim is told of about every 4 MiB that are
 * charged then: time enough to see whether what comes is cache again, or can not be dropped.
 */
function tellOfPressure(directory: string, eventFd: number): void {
  try {
    withFile(join(directory, 'memory.pressure_level'), (fd) =>
      writeText(join(directory, 'cgroup.event_control'), `${eventFd} ${fd} low`),
    );
  } catch (error) {
    // Kernels are built without it; then it is looked at now and then.
    if (!hasCode(error, 'ENOENT', 'ENODEV', 'EINVAL', 'EOPNOTSUPP')) throw error;
  }
}

function withFile(path: string, use: (fd: number) => void): void {
  const fd = openSync(path, 'r');
  try {
    use(fd);
  } finally {
    closeSync(fd);
  }
}
