/**
 * Owns: who is at the other end of a Unix socket, as the kernel recorded it (SO_PEERCRED).
 * Does not own: deciding what that process may do.
 */
import { libc, SystemError } from './libc.ts';

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const UCRED_BYTES = 12;

export interface Peer {
  /** 0 when the process lies outside our pid namespace. It may have ended, and its number been reused. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** The credentials from the moment of connect() (or listen()): later changes do not show. */
export function peerOf(unixSocketFd: number): Peer {
  const { call, errno } = libc();
  const ucred = new Int32Array(3);
  const lengthBytes = new Uint32Array([UCRED_BYTES]);
  if (call.getsockopt(unixSocketFd, SOL_SOCKET, SO_PEERCRED, ucred, lengthBytes) !== 0) {
    throw new SystemError('getsockopt', errno(), 'SO_PEERCRED');
  }
  const [pid = 0, uid = 0, gid = 0] = ucred;
  // The ids are unsigned: -1 is "nobody known", as on a socket that is not a Unix socket.
  if (uid === -1) throw new TypeError('the descriptor has no known peer: it is not a connected Unix socket');
  return { pid, uid: uid >>> 0, gid: gid >>> 0 };
}
