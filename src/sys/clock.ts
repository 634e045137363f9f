/**
 * Owns: setting the machine's clock. Needs CAP_SYS_TIME.
 * Does not own: when, and to what (a machine that was copied or stood still is behind).
 */
import { libc, SystemError } from './libc.ts';

const CLOCK_REALTIME = 0;
/** struct timespec on 64-bit machines: two 8-byte integers. */
const timespecBytes = 16;

export function setClock(nowMs: number): void {
  const timespec = Buffer.alloc(timespecBytes);
  const seconds = Math.floor(nowMs / 1000);
  timespec.writeBigInt64LE(BigInt(seconds), 0);
  timespec.writeBigInt64LE(BigInt(Math.floor((nowMs - seconds * 1000) * 1e6)), 8);
  const { call, addressOf, errno } = libc();
  if (call.clock_settime(CLOCK_REALTIME, addressOf(timespec)) !== 0)
    throw new SystemError('clock_settime', errno());
}
