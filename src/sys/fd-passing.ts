/**
 * Owns: handing an open descriptor, with some bytes, to another process over a Unix stream
 * socket (SCM_RIGHTS). The gateway sends and the loader inside an instance receives.
 * Does not own: telling the receiver that something waits, and making a socket of it.
 *
 * The Unix socket must never be read or written by Node: make the listening side with
 * `pauseOnConnect: true` and `pause()` the connecting side before it is connected.
 *
 * One message is one kernel buffer: the payload's length, at most INLINE_BYTES of payload, and the
 * descriptor. A buffer of that size is queued as a whole or not at all, and a read never goes past
 * a buffer that carries descriptors (unix(7)), so neither side keeps state between calls.
 * A larger payload travels in a memfd, as a second descriptor of the same message.
 */
import { closeSync, readSync, writeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { ETOOMANYREFS, libc, SystemError } from './libc.ts';

/** The longest payload that one hand-over may carry. */
export const MAX_PAYLOAD_BYTES = 1024 * 1024;
/** Above this a payload takes the slower way through a memfd. */
export const INLINE_BYTES = 16 * 1024;

const PREFIX_BYTES = 4;

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const MFD_CLOEXEC = 1;
const { EAGAIN, EBADMSG, ECONNRESET, EINTR, EMFILE, EMSGSIZE, ENOBUFS } = constants.errno;

// A struct msghdr with everything it points to in one allocation. Offsets in bytes, for 64-bit
// little-endian Linux; where musl has a 32-bit length, its padding takes our zero upper half.
const IOV_AT = 64; // struct msghdr itself takes 56
const CONTROL_AT = 96;
const CONTROL_HEADER_BYTES = 16;
// Room for two descriptors. The kernel drops what has no room, and says so with MSG_CTRUNC.
const CONTROL_BYTES = CONTROL_HEADER_BYTES + 2 * 4;
const PREFIX_AT = CONTROL_AT + CONTROL_BYTES;
const AREA_BYTES = PREFIX_AT + PREFIX_BYTES;

interface Area {
  readonly address: bigint;
  readonly view: DataView;
}

let sendArea: (Area & { payloadInUse: Uint8Array | undefined }) | undefined;
let receiveArea: (Area & { readonly inbox: DataView }) | undefined;

/**
 * Hands a copy of `fd` over. On 'sent' the receiver's copy exists already, even if the receiver
 * has not run yet, so the caller closes its own with `socket.destroy()`, which sends nothing to the
 * peer. On 'again' nothing was sent: the receiver has too much waiting, try later. When it
 * throws, nothing was handed over and the caller still has its connection.
 */
export function sendFd(viaFd: number, fd: number, payload: Uint8Array): 'sent' | 'again' {
  if (payload.byteLength <= INLINE_BYTES) return sendMessage(viaFd, fd, undefined, payload);
  if (payload.byteLength > MAX_PAYLOAD_BYTES) {
    throw new RangeError(
      `payload of ${payload.byteLength} bytes, at most ${MAX_PAYLOAD_BYTES} can be handed over`,
    );
  }
  const memfd = memfdWith(payload);
  try {
    return sendMessage(viaFd, fd, memfd, payload);
  } finally {
    closeSync(memfd);
  }
}

export interface Received {
  /** Belongs to the caller from here on, close-on-exec. */
  readonly fd: number;
  /** The caller's own copy. */
  readonly bytes: Buffer;
}

/**
 * Takes one hand-over. Throws when a message is not one of ours (EBADMSG) or its descriptor could
 * not be installed (EMFILE, and the connection is lost); whatever came with it is closed, and
 * later messages can still be taken. So take until 'again', rather than once per notification.
 */
export function receiveFd(viaFd: number): Received | 'again' | 'closed' {
  const { call, errno } = libc();
  const { address, view, inbox } = (receiveArea ??= newReceiveArea());
  let receivedBytes: number;
  for (;;) {
    view.setBigUint64(40, BigInt(CONTROL_BYTES), true);
    receivedBytes = Number(call.recvmsg(viaFd, address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    if (receivedBytes >= 0) break;
    const error = errno();
    if (error === EAGAIN) return 'again';
    if (error === ECONNRESET) return 'closed';
    if (error !== EINTR) throw new SystemError('recvmsg', error);
  }
  if (receivedBytes === 0) return 'closed';

  const dropped = (view.getUint32(48, true) & MSG_CTRUNC) !== 0;
  const fds = installedFds(view);
  const [fd, memfd] = fds;
  try {
    if (dropped && fds.length < 2) throw new SystemError('recvmsg', EMFILE, 'no room for the descriptor');
    if (dropped || fd === undefined || receivedBytes < PREFIX_BYTES) throw notOurs();
    const bytes = payloadOf(inbox, receivedBytes, memfd);
    if (memfd !== undefined) closeSync(memfd);
    return { fd, bytes };
  } catch (error) {
    for (const leftover of fds) closeSync(leftover);
    throw error;
  }
}

/** Node has no public way to a socket's descriptor; this is the one place that uses its private one. */
export function socketFd(socket: Socket): number {
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: number } | null };
  const fd = handle?.fd;
  if (fd === undefined || fd < 0) throw new Error('socket has no descriptor: it is not connected, or closed');
  return fd;
}

function sendMessage(
  viaFd: number,
  fd: number,
  memfd: number | undefined,
  payload: Uint8Array,
): 'sent' | 'again' {
  const { call, errno, addressOf } = libc();
  const area = (sendArea ??= { ...newArea(), payloadInUse: undefined });
  const { address, view } = area;
  const inlineBytes = memfd === undefined ? payload.byteLength : 0;
  // The prefix also carries the descriptor when there is no payload: a stream drops the
  // control data of an empty message.
  view.setUint32(PREFIX_AT, payload.byteLength, true);
  view.setBigUint64(IOV_AT, address + BigInt(PREFIX_AT), true);
  view.setBigUint64(IOV_AT + 8, BigInt(PREFIX_BYTES), true);
  view.setBigUint64(IOV_AT + 16, addressOf(payload), true);
  view.setBigUint64(IOV_AT + 24, BigInt(inlineBytes), true);
  view.setBigUint64(24, inlineBytes > 0 ? 2n : 1n, true);
  view.setBigUint64(40, BigInt(CONTROL_BYTES), true);
  view.setBigUint64(CONTROL_AT, BigInt(CONTROL_HEADER_BYTES + (memfd === undefined ? 4 : 8)), true);
  view.setInt32(CONTROL_AT + 8, SOL_SOCKET, true);
  view.setInt32(CONTROL_AT + 12, SCM_RIGHTS, true);
  view.setInt32(CONTROL_AT + 16, fd, true);
  view.setInt32(CONTROL_AT + 20, memfd ?? 0, true);
  // The kernel reads the payload through a bare address, which does not keep it from the collector.
  area.payloadInUse = payload;
  try {
    for (;;) {
      const sentBytes = Number(call.sendmsg(viaFd, address, MSG_DONTWAIT | MSG_NOSIGNAL));
      if (sentBytes === PREFIX_BYTES + inlineBytes) return 'sent';
      if (sentBytes >= 0) {
        // Only a send buffer made far smaller than the default cuts a message; the receiver refuses it.
        throw new SystemError('sendmsg', EMSGSIZE, 'the send buffer is too small for a hand-over');
      }
      const error = errno();
      // ETOOMANYREFS: too many descriptors of this user are under way, until receivers take them.
      if (error === EAGAIN || error === ENOBUFS || error === ETOOMANYREFS) return 'again';
      if (error !== EINTR) throw new SystemError('sendmsg', error);
    }
  } finally {
    area.payloadInUse = undefined;
  }
}

function newArea(): Area {
  const bytes = new Uint8Array(AREA_BYTES);
  const view = new DataView(bytes.buffer);
  const address = libc().addressOf(bytes);
  view.setBigUint64(16, address + BigInt(IOV_AT), true);
  view.setBigUint64(32, address + BigInt(CONTROL_AT), true);
  return { address, view };
}

function newReceiveArea(): NonNullable<typeof receiveArea> {
  // One byte more than any valid message, to tell a longer one from it.
  const inbox = new DataView(new ArrayBuffer(PREFIX_BYTES + INLINE_BYTES + 1));
  const area = newArea();
  area.view.setBigUint64(IOV_AT, libc().addressOf(inbox), true);
  area.view.setBigUint64(IOV_AT + 8, BigInt(inbox.byteLength), true);
  area.view.setBigUint64(24, 1n, true);
  return { ...area, inbox };
}

function installedFds(view: DataView): number[] {
  const controlBytes = Number(view.getBigUint64(40, true));
  if (controlBytes < CONTROL_HEADER_BYTES) return [];
  if (view.getInt32(CONTROL_AT + 8, true) !== SOL_SOCKET) return [];
  if (view.getInt32(CONTROL_AT + 12, true) !== SCM_RIGHTS) return [];
  const end = Math.min(Number(view.getBigUint64(CONTROL_AT, true)), CONTROL_BYTES);
  const fds: number[] = [];
  for (let at = CONTROL_HEADER_BYTES; at + 4 <= end; at += 4) fds.push(view.getInt32(CONTROL_AT + at, true));
  return fds;
}

function memfdWith(payload: Uint8Array): number {
  const { call, errno } = libc();
  const memfd = call.memfd_create('bellows-handover', MFD_CLOEXEC);
  if (memfd < 0) throw new SystemError('memfd_create', errno());
  try {
    for (let done = 0; done < payload.byteLength;) {
      done += writeSync(memfd, payload, done, payload.byteLength - done, done);
    }
    return memfd;
  } catch (error) {
    closeSync(memfd);
    throw error;
  }
}

function payloadOf(inbox: DataView, receivedBytes: number, memfd: number | undefined): Buffer {
  const payloadBytes = inbox.getUint32(0, true);
  const inlineBytes = receivedBytes - PREFIX_BYTES;
  if (memfd === undefined) {
    if (payloadBytes !== inlineBytes) throw notOurs();
    // A copy, for the inbox is used again while a stream may still hold the bytes.
    return Buffer.from(new Uint8Array(inbox.buffer, PREFIX_BYTES, payloadBytes));
  }
  if (inlineBytes !== 0 || payloadBytes > MAX_PAYLOAD_BYTES) throw notOurs();
  const bytes = Buffer.alloc(payloadBytes);
  for (let done = 0; done < payloadBytes;) {
    const readBytes = readSync(memfd, bytes, done, payloadBytes - done, done);
    if (readBytes === 0) throw notOurs();
    done += readBytes;
  }
  return bytes;
}

function notOurs(): SystemError {
  return new SystemError('recvmsg', EBADMSG, 'not a hand-over message');
}
