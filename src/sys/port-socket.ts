/**
 * Owns: making listening TCP sockets as bare descriptors, for programs that inherit them: clients may connect before they
 * run, while one of them is replaced, and after it was killed. The kernel keeps them until somebody accepts.
 * Does not own: accepting, nor resolving names.
 */
import { closeSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { endianness, networkInterfaces } from 'node:os';
import { libc, SystemError } from './libc.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0x8_0000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
/** The kernel takes less where `net.core.somaxconn` is lower. As many as that is by default: clients wait here during a restart. */
const backlog = 4096;

/**
 * Returns descriptors that are not inherited unless they are passed on. Where there are several, the kernel gives each client to
 * one of them, by its address and port, so that all have their share; who is in the queue of one stays there.
 * @param address of this machine, IPv4 or IPv6 @throws SystemError
 */
export function listenAtPort(address: string, port: number, count = 1): number[] {
  const fds: number[] = [];
  try {
    for (let index = 0; index < count; index += 1) fds.push(listening(address, port, count > 1, index === 0));
    return fds;
  } catch (error) {
    for (const fd of fds) closeSync(fd);
    throw error;
  }
}

/**
 * More sockets at a port that we listen at already, so that they are so many together. What was there stays as it was.
 * @param fds ours: nobody else is let in who is not the same user @throws SystemError
 */
export function listenBeside(fds: readonly number[], address: string, port: number, count: number): number[] {
  const more: number[] = [];
  try {
    for (const fd of fds) setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    while (fds.length + more.length < count) more.push(listening(address, port, true, false));
    return [...fds, ...more];
  } catch (error) {
    for (const fd of more) closeSync(fd);
    throw error;
  }
}

function setOption(fd: number, level: number, option: number, value: number): void {
  const { call, errno } = libc();
  const bytes = Uint32Array.of(value);
  if (call.setsockopt(fd, level, option, bytes, bytes.byteLength) !== 0)
    throw new SystemError('setsockopt', errno());
}

/**
 * @param shared whether others are to listen at the same port
 * @param isFirst it is refused where anybody listens, also one who would share the port: that is another program
 */
function listening(address: string, port: number, shared: boolean, isFirst: boolean): number {
  const { call, addressOf, errno } = libc();
  const family = isIPv6(address) ? AF_INET6 : AF_INET;
  const name = family === AF_INET6 ? nameOfIpv6(address, port) : nameOfIpv4(address, port);
  const fd = call.socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new SystemError('socket', errno());
  try {
    // Connections of an earlier one that are just ending do not keep the port.
    setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    // As Node has it: `::` is all addresses, IPv4 ones too.
    if (family === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (shared && !isFirst) setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (call.bind(fd, addressOf(name), name.length) !== 0)
      throw new SystemError('bind', errno(), `${address}:${port}`);
    if (shared && isFirst) setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (call.listen(fd, backlog) !== 0) throw new SystemError('listen', errno(), `${address}:${port}`);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** struct sockaddr_in */
function nameOfIpv4(address: string, port: number): Buffer {
  const name = Buffer.alloc(16);
  writeFamily(name, AF_INET);
  name.writeUInt16BE(port, 2);
  address.split('.').forEach((part, index) => name.writeUInt8(Number(part), 4 + index));
  return name;
}

/** struct sockaddr_in6 */
function nameOfIpv6(address: string, port: number): Buffer {
  const [plain = '', zone] = address.split('%');
  const name = Buffer.alloc(28);
  writeFamily(name, AF_INET6);
  name.writeUInt16BE(port, 2);
  // URLs have the one canonical form: at most one `::`, and no dots.
  const [head = '', tail] = new URL(`http://[${plain}]`).hostname.slice(1, -1).split('::');
  const groupsOf = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const behind = groupsOf(tail ?? '');
  groupsOf(head).forEach((group, index) => name.writeUInt16BE(Number.parseInt(group, 16), 8 + 2 * index));
  behind.forEach((group, index) =>
    name.writeUInt16BE(Number.parseInt(group, 16), 24 - 2 * (behind.length - index)),
  );
  if (zone !== undefined) writeNative(name, scopeOf(zone), 24);
  return name;
}

/** Of an interface, by its name. */
function scopeOf(zone: string): number {
  for (const { scopeid } of networkInterfaces()[zone] ?? [])
    if (scopeid !== undefined && scopeid > 0) return scopeid;
  return Number(zone) || 0;
}

function writeFamily(name: Buffer, family: number): void {
  if (endianness() === 'LE') name.writeUInt16LE(family);
  else name.writeUInt16BE(family);
}

function writeNative(name: Buffer, value: number, at: number): void {
  if (endianness() === 'LE') name.writeUInt32LE(value, at);
  else name.writeUInt32BE(value, at);
}
