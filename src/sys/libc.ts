/**
 * Owns: the one binding to the C library of this process, and its errors.
 * Does not own: what the calls mean; each concept has its own file beside this one.
 *
 * Only libc functions are bound, no raw system call numbers, so that the same code serves
 * x86_64 and aarch64, glibc and musl; `syscall` is for what most C libraries have no function for.
 * Every call blocks the calling thread until it returns.
 */
import type * as FfiModule from 'node:ffi';
import { constants } from 'node:os';
import { getSystemErrorMessage } from 'node:util';

const SIGNATURES = {
  __errno_location: { arguments: [], return: 'pointer' },
  sendmsg: { arguments: ['int32', 'pointer', 'int32'], return: 'int64' },
  recvmsg: { arguments: ['int32', 'pointer', 'int32'], return: 'int64' },
  getsockopt: { arguments: ['int32', 'int32', 'int32', 'pointer', 'pointer'], return: 'int32' },
  setsockopt: { arguments: ['int32', 'int32', 'int32', 'pointer', 'uint32'], return: 'int32' },
  memfd_create: { arguments: ['string', 'uint32'], return: 'int32' },
  mount: { arguments: ['pointer', 'string', 'pointer', 'uint64', 'pointer'], return: 'int32' },
  umount2: { arguments: ['string', 'int32'], return: 'int32' },
  mkfifo: { arguments: ['string', 'uint32'], return: 'int32' },
  // Variadic in C; a third integer is passed alike on both machines' Linux calling conventions.
  fcntl: { arguments: ['int32', 'int32', 'int32'], return: 'int32' },
  socket: { arguments: ['int32', 'int32', 'int32'], return: 'int32' },
  socketpair: { arguments: ['int32', 'int32', 'int32', 'pointer'], return: 'int32' },
  bind: { arguments: ['int32', 'pointer', 'uint32'], return: 'int32' },
  listen: { arguments: ['int32', 'int32'], return: 'int32' },
  flock: { arguments: ['int32', 'int32'], return: 'int32' },
  // Variadic in C as well; every request that is made here takes a pointer.
  ioctl: { arguments: ['int32', 'uint64', 'pointer'], return: 'int32' },
  fallocate: { arguments: ['int32', 'int32', 'int64', 'int64'], return: 'int32' },
  posix_fadvise: { arguments: ['int32', 'int64', 'int64', 'int32'], return: 'int32' },
  lseek: { arguments: ['int32', 'int64', 'int32'], return: 'int64' },
  // Variadic in C, too. A number differs from machine to machine: see who calls it.
  syscall: { arguments: ['int64', 'int64', 'pointer', 'int64'], return: 'int64' },
  eventfd: { arguments: ['uint32', 'int32'], return: 'int32' },
  epoll_create1: { arguments: ['int32'], return: 'int32' },
  epoll_ctl: { arguments: ['int32', 'int32', 'int32', 'pointer'], return: 'int32' },
  epoll_wait: { arguments: ['int32', 'pointer', 'int32', 'int32'], return: 'int32' },
  clock_settime: { arguments: ['int32', 'pointer'], return: 'int32' },
} as const satisfies FfiModule.FunctionDefinitions;

type Functions = ReturnType<typeof FfiModule.dlopen<typeof SIGNATURES>>['functions'];

export interface Libc {
  readonly call: Functions;
  /** Address of the memory behind a buffer; valid only as long as the caller keeps the buffer. */
  readonly addressOf: (buffer: NodeJS.ArrayBufferView) => bigint;
  /**
   * The positive errno of the call made just before. Nothing else may be called in between: the
   * runtime itself makes system calls.
   */
  readonly errno: () => number;
}

let loaded: Libc | undefined;

/** Loads on first use, so that a process which never needs a system call pays nothing for it. */
export function libc(): Libc {
  loaded ??= load();
  return loaded;
}

function load(): Libc {
  const ffi = process.getBuiltinModule('node:ffi') as typeof FfiModule | undefined;
  if (ffi === undefined) {
    throw new Error('node:ffi is missing: Node 26.1 or later is needed, without --no-experimental-ffi');
  }
  // No path: the C library is already part of this process, under whatever name it has here.
  const { functions } = ffi.dlopen(null, SIGNATURES);
  // errno lives at one address per thread, and a module instance belongs to one thread.
  const errnoAddress = functions.__errno_location();
  return {
    call: functions,
    addressOf: ffi.getRawPointer,
    errno: () => ffi.getInt32(errnoAddress),
  };
}

/** The same shape as Node's own system errors: `errno` is negative, `code` is the name. */
export class SystemError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  constructor(syscall: string, positiveErrno: number, detail?: string) {
    const code = errnoName(positiveErrno);
    const text = getSystemErrorMessage(-positiveErrno) ?? 'system error';
    super(`${code}: ${text}, ${syscall}${detail === undefined ? '' : ` ${detail}`}`);
    this.name = 'SystemError';
    this.code = code;
    this.errno = -positiveErrno;
    this.syscall = syscall;
  }
}

// Linux errors that these calls return and Node has no constant for.
export const ETOOMANYREFS = 109;

let names: Map<number, string> | undefined;

function errnoName(positiveErrno: number): string {
  if (names === undefined) {
    names = new Map([[ETOOMANYREFS, 'ETOOMANYREFS']]);
    for (const [name, value] of Object.entries(constants.errno)) {
      // EWOULDBLOCK and EOPNOTSUPP come second to the names people search for.
      if (!names.has(value)) names.set(value, name);
    }
  }
  return names.get(positiveErrno) ?? `errno ${positiveErrno}`;
}
