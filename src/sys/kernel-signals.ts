/**
 * Owns: being told of what the kernel signals through event descriptors (eventfd), any number of them, by this thread's event loop.
 * Does not own: what a signal is about; who has the kernel signal is given the descriptor.
 *
 * The loop watches one descriptor, an epoll set that holds the others, for a handle of libuv's lasts as long as the process.
 */
import { closeSync } from 'node:fs';
import { arch } from 'node:os';
import { libc, SystemError } from './libc.ts';
import { watchReadable, type Watch } from './poll.ts';

/** From <sys/eventfd.h> and <sys/epoll.h>; the same on all architectures that Node runs on. */
const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;
const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
/** Told once for each signal: nobody reads the count. */
const EPOLLET = 2 ** 31;

/** `struct epoll_event` is packed on x86-64 alone. */
const dataAt = arch() === 'x64' ? 4 : 8;
const eventBytes = dataAt + 8;
/** More than these at once are told in the loop's next round. */
const eventsAtOnce = 64;

export interface KernelSignal {
  /** An eventfd: to be named to the kernel. */
  readonly fd: number;
  /** Ends it; the kernel forgets whom it would have told. */
  readonly close: () => void;
}

/** Made once, watched while there is a listener. */
let set: { readonly fd: number; readonly watch: Watch } | undefined;
const listeners = new Map<number, () => void>();

/** Makes a descriptor; `onSignal` is called after each signal, or once for several. @throws SystemError */
export function openKernelSignal(onSignal: () => void): KernelSignal {
  const { call, errno, addressOf } = libc();
  const fd = call.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) throw new SystemError('eventfd', errno());
  try {
    set ??= openSet();
    const event = Buffer.alloc(eventBytes);
    event.writeUInt32LE(EPOLLIN + EPOLLET, 0);
    event.writeInt32LE(fd, dataAt);
    if (call.epoll_ctl(set.fd, EPOLL_CTL_ADD, fd, addressOf(event)) !== 0)
      throw new SystemError('epoll_ctl', errno());
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  listeners.set(fd, onSignal);
  if (listeners.size === 1) set.watch.start();
  return { fd, close: () => closeSignal(fd) };
}

function closeSignal(fd: number): void {
  if (!listeners.delete(fd)) return;
  // It leaves the set by being closed.
  closeSync(fd);
  if (listeners.size === 0) set?.watch.stop();
}

function openSet(): { readonly fd: number; readonly watch: Watch } {
  const { call, errno } = libc();
  const fd = call.epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) throw new SystemError('epoll_create1', errno());
  return { fd, watch: watchReadable(fd, tell) };
}

function tell(): void {
  if (set === undefined) return;
  const { call, addressOf } = libc();
  const events = Buffer.alloc(eventBytes * eventsAtOnce);
  const count = call.epoll_wait(set.fd, addressOf(events), eventsAtOnce, 0);
  for (let index = 0; index < count; index += 1)
    listeners.get(events.readInt32LE(index * eventBytes + dataAt))?.();
}
