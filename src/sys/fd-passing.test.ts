import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { INLINE_BYTES, MAX_PAYLOAD_BYTES, receiveFd, sendFd, socketFd } from './fd-passing.ts';
import { libc } from './libc.ts';

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;

let directory: string;
let file: number;
let closers: (() => void)[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'fd-passing-'));
  writeFileSync(join(directory, 'file'), 'content');
  file = openSync(join(directory, 'file'), 'r');
  closers = [() => closeSync(file), () => rmSync(directory, { recursive: true })];
});

afterEach(() => {
  for (const close of closers.reverse()) close();
});

/** Both ends of a Unix connection that Node does not read from. */
async function channel(): Promise<{ sender: number; receiver: number; senderSocket: Socket }> {
  const path = join(directory, 'socket');
  const server = createServer({ pauseOnConnect: true }).listen(path);
  await new Promise((resolve) => server.once('listening', resolve));
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const senderSocket = connect(path);
  senderSocket.pause();
  await new Promise((resolve) => senderSocket.once('connect', resolve));
  const receiverSocket = await accepted;
  server.close();
  closers.push(
    () => senderSocket.destroy(),
    () => receiverSocket.destroy(),
  );
  return { sender: socketFd(senderSocket), receiver: socketFd(receiverSocket), senderSocket };
}

/** Only what tests here make: the runtime opens descriptors of its own at any time. */
function openCopies(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return /fd-passing-.*\/file|bellows-handover/.test(readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      return false;
    }
  }).length;
}

function take(receiver: number): { fd: number; bytes: Buffer } {
  const received = receiveFd(receiver);
  if (typeof received === 'string') throw new Error(received);
  closers.push(() => closeSync(received.fd));
  return received;
}

/** A message as some other program could send it. */
function sendRaw(via: number, data: Uint8Array, fds: readonly number[]): void {
  const { call, addressOf } = libc();
  const control = new DataView(new ArrayBuffer(16 + 4 * fds.length));
  control.setBigUint64(0, BigInt(control.byteLength), true);
  control.setInt32(8, 1, true);
  control.setInt32(12, 1, true);
  fds.forEach((fd, index) => control.setInt32(16 + 4 * index, fd, true));
  const iov = new BigUint64Array([addressOf(data), BigInt(data.byteLength)]);
  const header = new BigUint64Array([0n, 0n, addressOf(iov), 1n, 0n, 0n, 0n]);
  if (fds.length > 0) {
    header[4] = addressOf(control);
    header[5] = BigInt(control.byteLength);
  }
  expect(call.sendmsg(via, addressOf(header), 0x4000)).toBe(BigInt(data.byteLength));
  // Used after the call, so that no collection can take them during it.
  expect(control.byteLength + iov.byteLength).toBeGreaterThan(0);
}

test.each([0, 1, 500, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, 65_536, MAX_PAYLOAD_BYTES])(
  'a descriptor arrives with %i bytes of payload',
  async (length) => {
    const { sender, receiver } = await channel();
    const payload = Buffer.alloc(length).map((_, index) => index % 251);
    expect(receiveFd(receiver)).toBe('again');
    expect(sendFd(sender, file, payload)).toBe('sent');
    const { fd, bytes } = take(receiver);
    expect(bytes.equals(payload)).toBe(true);
    expect(fd).not.toBe(file);
    expect(fstatSync(fd).ino).toBe(fstatSync(file).ino);
    expect(receiveFd(receiver)).toBe('again');
    expect(openCopies()).toBe(2);
  },
);

test('a received descriptor is not inherited by programs that are started', async () => {
  const { sender, receiver } = await channel();
  sendFd(sender, file, Buffer.from('x'));
  const { fd } = take(receiver);
  const flags = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0';
  expect(Number.parseInt(flags, 8) & 0o2000000).not.toBe(0);
});

test('messages keep their bounds and order, and the earlier bytes stay what they were', async () => {
  const { sender, receiver } = await channel();
  const texts = ['first', '', 'third'.repeat(8000), 'fourth'];
  for (const text of texts) expect(sendFd(sender, file, Buffer.from(text))).toBe('sent');
  const received = texts.map(() => take(receiver).bytes);
  expect(received.map(String)).toEqual(texts);
});

test('a full channel says again, loses nothing, and goes on once the receiver has taken something', async () => {
  const { sender, receiver } = await channel();
  let sent = 0;
  for (; sent < 10_000; sent++) {
    const payload = Buffer.alloc(sent % 3 === 0 ? INLINE_BYTES : 700, sent % 256);
    if (sendFd(sender, file, payload) === 'again') break;
  }
  expect(sent).toBeGreaterThan(10);
  expect(sent).toBeLessThan(10_000);
  for (let index = 0; index < sent; index++) {
    const { bytes } = take(receiver);
    expect(bytes.equals(Buffer.alloc(index % 3 === 0 ? INLINE_BYTES : 700, index % 256))).toBe(true);
  }
  expect(sendFd(sender, file, Buffer.from('next'))).toBe('sent');
  expect(take(receiver).bytes.toString()).toBe('next');
});

test('the other end being gone is reported to both sides', async () => {
  const { sender, receiver, senderSocket } = await channel();
  sendFd(sender, file, Buffer.from('last'));
  senderSocket.destroy();
  await new Promise((resolve) => senderSocket.once('close', resolve));
  expect(take(receiver).bytes.toString()).toBe('last');
  expect(receiveFd(receiver)).toBe('closed');
  expect(() => sendFd(receiver, file, Buffer.from('x'))).toThrow(
    expect.objectContaining({ code: 'EPIPE', syscall: 'sendmsg' }),
  );
});

test('what cannot be sent is refused, and the channel stays usable', async () => {
  const { sender, receiver } = await channel();
  expect(() => sendFd(sender, file, Buffer.alloc(MAX_PAYLOAD_BYTES + 1))).toThrow(RangeError);
  expect(() => sendFd(sender, 1_000_000, Buffer.from('x'))).toThrow(
    expect.objectContaining({ code: 'EBADF' }),
  );
  expect(() => sendFd(sender, 1_000_000, Buffer.alloc(65_536))).toThrow(
    expect.objectContaining({ code: 'EBADF' }),
  );
  expect(receiveFd(receiver)).toBe('again');
  expect(openCopies()).toBe(1);
  expect(sendFd(sender, file, Buffer.from('good'))).toBe('sent');
  expect(take(receiver).bytes.toString()).toBe('good');
});

test('a message that a tiny send buffer cut is refused on both sides', async () => {
  const { sender, receiver } = await channel();
  expect(libc().call.setsockopt(sender, SOL_SOCKET, SO_SNDBUF, new Int32Array([1]), 4)).toBe(0);
  expect(() => sendFd(sender, file, Buffer.alloc(INLINE_BYTES))).toThrow(
    expect.objectContaining({ code: 'EMSGSIZE' }),
  );
  expect(() => receiveFd(receiver)).toThrow(expect.objectContaining({ code: 'EBADMSG' }));
  expect(openCopies()).toBe(1);
});

test.each([
  ['bytes without a descriptor', Buffer.from([1, 0, 0, 0, 65]), 0],
  ['three descriptors', Buffer.from([0, 0, 0, 0]), 3],
  ['twenty descriptors', Buffer.from([0, 0, 0, 0]), 20],
  ['half a length', Buffer.from([0, 0]), 1],
  ['a length that is too great', Buffer.from([9, 0, 0, 0, 65]), 1],
  ['a length that is too small', Buffer.from([0, 0, 0, 0, 65]), 1],
  ['a payload longer than its second descriptor', Buffer.from([255, 0, 0, 0]), 2],
  ['an absurd payload', Buffer.from([255, 255, 255, 255]), 2],
])('%s: refused, and nothing leaks', async (_name, data, count) => {
  const { sender, receiver } = await channel();
  sendRaw(
    sender,
    data,
    Array.from({ length: count }, () => file),
  );
  expect(() => receiveFd(receiver)).toThrow(expect.objectContaining({ code: 'EBADMSG' }));
  expect(openCopies()).toBe(1);
  expect(sendFd(sender, file, Buffer.from('good'))).toBe('sent');
  expect(take(receiver).bytes.toString()).toBe('good');
});

test('a socket without a descriptor is named as such', () => {
  expect(() => socketFd(new Socket())).toThrow('no descriptor');
});
