/**
 * Owns: the space that files take: reserving blocks, finding which parts of a file are not holes, giving back what is free,
 * and ending a file system's writing.
 * Does not own: how large anything should be.
 */
import { constants } from 'node:os';
import { libc, SystemError } from './libc.ts';

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** _IOWR('X', 121, struct fstrim_range), linux/fs.h: start, length and the least piece, 8 bytes each. */
const FITRIM = 0xc018_5879n;
const FSTRIM_RANGE_BYTES = 24;
/** _IOR('X', 125, __u32), fs/ext4/ext4.h */
const EXT4_IOC_SHUTDOWN = 0x8004_587dn;
const EXT4_GOING_FLAGS_NOLOGFLUSH = 2;

/** Takes blocks for the whole file up to `bytes`, without writing them. False when there is no room; some may be taken then. */
export function reserveBlocks(fd: number, bytes: number): boolean {
  const { call, errno } = libc();
  if (call.fallocate(fd, 0, 0n, BigInt(bytes)) === 0) return true;
  const error = errno();
  if (error === constants.errno.ENOSPC) return false;
  throw new SystemError('fallocate', error);
}

export interface Extent {
  readonly at: number;
  readonly bytes: number;
}

/** The parts of a file that are not holes. */
export function dataExtents(fd: number, fileBytes: number): Extent[] {
  const { call, errno } = libc();
  const extents: Extent[] = [];
  for (let at = 0; at < fileBytes;) {
    const from = Number(call.lseek(fd, BigInt(at), SEEK_DATA));
    if (from < 0) {
      const error = errno();
      if (error === constants.errno.ENXIO) break;
      throw new SystemError('lseek', error);
    }
    const to = Number(call.lseek(fd, BigInt(from), SEEK_HOLE));
    if (to < 0) throw new SystemError('lseek', errno());
    extents.push({ at: from, bytes: to - from });
    at = to;
  }
  return extents;
}

/** Tells the device below a mounted file system which blocks hold nothing; waits until it has been told. */
export function trimFileSystem(fd: number): void {
  const { call, errno, addressOf } = libc();
  const range = Buffer.alloc(FSTRIM_RANGE_BYTES);
  // From the start, all of it, the smallest pieces too.
  range.writeBigUInt64LE(0xffff_ffff_ffff_ffffn, 8);
  if (call.ioctl(fd, FITRIM, addressOf(range)) !== 0) throw new SystemError('ioctl', errno(), 'FITRIM');
}

/** Ends all writing of a mounted ext4, for good: what is not on its device yet never comes there. */
export function shutDownFileSystem(fd: number): void {
  const { call, errno, addressOf } = libc();
  const flags = Buffer.alloc(4);
  flags.writeUInt32LE(EXT4_GOING_FLAGS_NOLOGFLUSH);
  if (call.ioctl(fd, EXT4_IOC_SHUTDOWN, addressOf(flags)) !== 0)
    throw new SystemError('ioctl', errno(), 'EXT4_IOC_SHUTDOWN');
}
