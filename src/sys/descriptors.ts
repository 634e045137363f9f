/**
 * Owns: named pipes, the size of a pipe, and which of our descriptors a program that we start inherits.
 * Does not own: reading and writing (node:fs, node:net).
 */
import { readdirSync } from 'node:fs';
import { libc, SystemError } from './libc.ts';

const F_GETFD = 1;
const F_SETFD = 2;
const F_SETPIPE_SZ = 1031;
const FD_CLOEXEC = 1;
/** Standard input, output and error: meant to be inherited. */
const firstOwnDescriptor = 3;

/** Makes a named pipe (FIFO). `mode` is cut by the umask. */
export function makeFifo(path: string, mode: number): void {
  if (path.includes('\0')) throw new TypeError('NUL character in the path of a named pipe');
  const { call, errno } = libc();
  if (call.mkfifo(path, mode) !== 0) throw new SystemError('mkfifo', errno(), `'${path}'`);
}

/** Asks for a pipe that holds at least `bytes`; returns what the kernel gave, or undefined when it refused. */
export function setPipeSize(fd: number, bytes: number): number | undefined {
  const given = libc().call.fcntl(fd, F_SETPIPE_SZ, bytes);
  return given < 0 ? undefined : given;
}

/**
 * Marks every descriptor that is open now, but for the standard three, as not to be inherited. What Node opens later is
 * marked by Node; this is for what our own starter left open, which a sandbox must not receive.
 */
export function keepDescriptorsFromChildren(): void {
  const { call } = libc();
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    if (fd < firstOwnDescriptor) continue;
    const flags = call.fcntl(fd, F_GETFD, 0);
    // Closed meanwhile, such as the descriptor of the listing itself.
    if (flags < 0) continue;
    call.fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
  }
}
