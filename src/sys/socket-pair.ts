/**
 * Owns: making two connected Unix sockets that have no name, so that nobody else can reach them.
 * Does not own: what becomes of the descriptors; the caller closes both.
 */
import { endianness } from 'node:os';
import { libc, SystemError } from './libc.ts';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0x800;
const SOCK_CLOEXEC = 0x8_0000;

/** Both are stream sockets, non-blocking and not inherited. @throws SystemError without descriptors */
export function socketPair(): readonly [number, number] {
  const { call, addressOf, errno } = libc();
  const pair = new DataView(new ArrayBuffer(8));
  if (call.socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, addressOf(pair)) !== 0)
    throw new SystemError('socketpair', errno());
  const littleEndian = endianness() === 'LE';
  return [pair.getInt32(0, littleEndian), pair.getInt32(4, littleEndian)];
}
