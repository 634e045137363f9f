/**
 * Owns: being told by this thread's event loop that a descriptor has urgent news (POLLPRI) or something to read, where no stream
 * of Node's shows that; kernel files such as /proc/pressure/memory tell of themselves so.
 * Does not own: the descriptor, and what the news is.
 */
import type * as FfiModule from 'node:ffi';

/** UV_POLL among libuv's handle types, and two of a poll handle's events (uv.h, stable since 1.14). */
const UV_POLL = 8;
const UV_READABLE = 1;
const UV_PRIORITIZED = 8;

const SIGNATURES = {
  uv_handle_size: { arguments: ['int32'], return: 'uint64' },
  uv_poll_init: { arguments: ['pointer', 'pointer', 'int32'], return: 'int32' },
  uv_poll_start: { arguments: ['pointer', 'int32', 'pointer'], return: 'int32' },
  uv_poll_stop: { arguments: ['pointer'], return: 'int32' },
} as const satisfies FfiModule.FunctionDefinitions;

/**
 * Handles that the loop knows are never freed: closing one is asynchronous, and there are few in a process's life.
 * Kept from the garbage collector here.
 */
const handles: Buffer[] = [];

export interface Watch {
  /** Nothing is told until it is started again. One that is stopped does not keep the process alive. */
  readonly stop: () => void;
  readonly start: () => void;
}

/** Calls `onNews` once for each piece of news until the function that it returns is called. Keeps the process alive. */
export function watchUrgent(fd: number, onNews: () => void): () => void {
  return watchEvents(fd, UV_PRIORITIZED, onNews).stop;
}

/** The same as long as there is something to read: `onNews` takes it, or is called again. */
export function watchReadable(fd: number, onNews: () => void): Watch {
  return watchEvents(fd, UV_READABLE, onNews);
}

function watchEvents(fd: number, events: number, onNews: () => void): Watch {
  const ffi = process.getBuiltinModule('node:ffi');
  // libuv is part of the node program, which exports it for addons.
  const { lib, functions } = ffi.dlopen(null, SIGNATURES);
  const handle = Buffer.alloc(Number(functions.uv_handle_size(UV_POLL)));
  const address = ffi.getRawPointer(handle);
  const callback = lib.registerCallback({ arguments: ['pointer', 'int32', 'int32'], return: 'void' }, () => {
    // Not on the loop's own stack: what throws there has nobody to catch it.
    setImmediate(onNews);
  });
  const check = (failed: number): void => {
    if (failed !== 0) throw new Error(`the event loop can not watch descriptor ${fd}: libuv error ${failed}`);
  };
  const start = (): void => check(functions.uv_poll_start(address, events, callback));
  check(functions.uv_poll_init(ffi.getCurrentEventLoop(), address, fd));
  // From here on the loop knows it.
  handles.push(handle);
  start();
  return { stop: () => void functions.uv_poll_stop(address), start };
}
