/**
 * Owns: how fast the kernel sends what is written to a TCP socket (SO_MAX_PACING_RATE), which holds for whoever has the
 * socket, until one of them sets it again. What comes in is not paced by it.
 * Does not own: which rate is right.
 */
import { libc, SystemError } from './libc.ts';

const SOL_SOCKET = 1;
const SO_MAX_PACING_RATE = 47;
const unlimited = 0xffff_ffff_ffff_ffffn;

/** @param bytesPerSecond Infinity is as fast as it goes */
export function setPacing(socketFd: number, bytesPerSecond: number): void {
  const { call, errno, addressOf } = libc();
  const rate = Buffer.alloc(8);
  rate.writeBigUInt64LE(
    Number.isFinite(bytesPerSecond) ? BigInt(Math.max(1, Math.round(bytesPerSecond))) : unlimited,
  );
  if (call.setsockopt(socketFd, SOL_SOCKET, SO_MAX_PACING_RATE, addressOf(rate), rate.length) !== 0)
    throw new SystemError('setsockopt', errno(), 'SO_MAX_PACING_RATE');
}
