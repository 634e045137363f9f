/**
 * Owns: making a block device of a file (loop(4)). The kernel lets the device go by itself when its last user has: a mount
 * keeps it, so that after an unmount, whoever makes it, nothing is left.
 * Does not own: the file, and mounting the device.
 */
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import { libc, SystemError } from './libc.ts';

// linux/loop.h
const LOOP_CTL_GET_FREE = 0x4c82n;
const LOOP_CONFIGURE = 0x4c0an;
const LO_FLAGS_AUTOCLEAR = 4;
const LO_FLAGS_DIRECT_IO = 16;
/** struct loop_config: descriptor, block size, struct loop_info64 (232), reserved (64). */
const CONFIG_BYTES = 304;
const FLAGS_AT = 8 + 52;

/** Another process may take the free device before we do; this often in a row it is something else. */
const attempts = 16;

export interface LoopDevice {
  /** Such as `/dev/loop7`. */
  readonly path: string;
  /** To be closed once it is mounted. */
  readonly fd: number;
}

/** Reads and writes go past the page cache of the file where its file system can: the device's own pages are enough. */
export function attachLoopDevice(fileFd: number): LoopDevice {
  const { call, errno, addressOf } = libc();
  const config = Buffer.alloc(CONFIG_BYTES);
  config.writeUInt32LE(fileFd, 0);
  config.writeUInt32LE(LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO, FLAGS_AT);
  const control = openSync('/dev/loop-control', 'r+');
  try {
    for (let attempt = 1; ; attempt += 1) {
      const number = call.ioctl(control, LOOP_CTL_GET_FREE, null);
      if (number < 0) throw new SystemError('ioctl', errno(), 'LOOP_CTL_GET_FREE');
      const path = `/dev/loop${number}`;
      const fd = openSync(path, 'r+');
      if (call.ioctl(fd, LOOP_CONFIGURE, addressOf(config)) === 0) return { path, fd };
      const error = errno();
      closeSync(fd);
      if (error !== constants.errno.EBUSY || attempt === attempts)
        throw new SystemError('ioctl', error, `LOOP_CONFIGURE ${path}`);
    }
  } finally {
    closeSync(control);
  }
}
