/**
 * Owns: files that are memory and have no name, and sealing one, so that nobody who has it can change it any more.
 * Does not own: what is in them. Closing is node:fs's.
 */
import { libc, SystemError } from './libc.ts';

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
// Its seals can not change, its size neither, and nothing can be written or mapped to be written, shared.
const F_SEAL_SEAL = 1;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;
const F_SEAL_WRITE = 8;

/** An empty file; `name` shows in /proc/PID/fd as `/memfd:NAME`. */
export function makeMemoryFile(name: string): number {
  if (name.includes('\0')) throw new TypeError('NUL character in the name of a memory file');
  const { call, errno } = libc();
  const fd = call.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) throw new SystemError('memfd_create', errno(), `'${name}'`);
  return fd;
}

/** For good, and for everyone. Private mappings may still be written: each has copies of its own. @throws SystemError EBUSY while one is mapped to be written */
export function sealMemoryFile(fd: number): void {
  const { call, errno } = libc();
  const seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (call.fcntl(fd, F_ADD_SEALS, seals) !== 0) throw new SystemError('fcntl', errno(), 'F_ADD_SEALS');
}
