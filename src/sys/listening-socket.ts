/**
 * Owns: making a listening Unix socket as a bare descriptor, for a program that inherits it. Clients may connect, and
 * send, before that program runs.
 * Does not own: accepting (whoever inherits it does), nor removing the file.
 */
import { chmodSync, closeSync } from 'node:fs';
import { endianness } from 'node:os';
import { libc, SystemError } from './libc.ts';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0x8_0000;
/** sun_path in sockaddr_un, with the NUL at its end. */
const maxPathBytes = 108;
/** As many as Node allows by itself. */
const backlog = 511;

/** Returns a descriptor that is not inherited unless it is passed on. Only this user and root may connect. @throws SystemError */
export function listenPrivatelyAt(path: string): number {
  const { call, addressOf, errno } = libc();
  const name = Buffer.from(path);
  if (name.length >= maxPathBytes || name.includes(0)) {
    throw new TypeError(`not the path of a socket: ${JSON.stringify(path)}`);
  }
  const address = Buffer.alloc(2 + maxPathBytes);
  if (endianness() === 'LE') address.writeUInt16LE(AF_UNIX);
  else address.writeUInt16BE(AF_UNIX);
  name.copy(address, 2);
  const fd = call.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new SystemError('socket', errno());
  try {
    if (call.bind(fd, addressOf(address), address.length) !== 0)
      throw new SystemError('bind', errno(), `'${path}'`);
    // Nobody can connect before it listens.
    chmodSync(path, 0o600);
    if (call.listen(fd, backlog) !== 0) throw new SystemError('listen', errno(), `'${path}'`);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
