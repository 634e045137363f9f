/**
 * Owns: a lock on a file that the kernel holds for as long as this process lives and lets go with it, however it ends.
 * Does not own: what is written in the file.
 */
import { closeSync, openSync } from 'node:fs';
import { libc, SystemError } from './libc.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;
/** EAGAIN, which Linux gives for a lock that somebody else holds. */
const EWOULDBLOCK = 11;

export interface FileLock {
  readonly fd: number;
  release(): void;
}

/** Undefined when another process holds it. Makes the file; it stays, since removing it would let two hold "the" lock. */
export function tryLockFile(path: string): FileLock | undefined {
  // 'a': made when missing, never cut. Node opens with O_CLOEXEC, so that no child inherits the lock.
  const fd = openSync(path, 'a', 0o600);
  const { call, errno } = libc();
  if (call.flock(fd, LOCK_EX | LOCK_NB) === 0) return { fd, release: () => closeSync(fd) };
  const code = errno();
  closeSync(fd);
  if (code === EWOULDBLOCK) return undefined;
  throw new SystemError('flock', code, `'${path}'`);
}
