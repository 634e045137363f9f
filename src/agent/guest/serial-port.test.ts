// The guest's end of a serial port against a terminal that stands for it: the kernel signals for both alike. What a port's
// driver does when the host's end closes is seen in tests/integration/vm-guest.test.ts.
import { spawnSync } from 'node:child_process';
import { openSync, constants } from 'node:fs';
import { ReadStream } from 'node:tty';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RpcPeer } from '../../protocol/rpc-link.ts';
import { guestProtocol, type GuestProtocol } from '../../protocol/guest.ts';
import type { Handlers } from '../../protocol/rpc.ts';
import { SyncScanner, syncMark } from '../../protocol/serial-sync.ts';
import { libc } from '../../sys/libc.ts';
import { SerialServer } from './serial-server.ts';

// Of <asm-generic/ioctls.h>.
const TIOCSPTLCK = 0x4004_5431n;
const TIOCGPTN = 0x8004_5430n;

let master: ReadStream;
let path: string;
let server: SerialServer;

beforeEach(() => {
  const fd = openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY);
  const { call, addressOf } = libc();
  const number = Buffer.alloc(4);
  expect(call.ioctl(fd, TIOCSPTLCK, addressOf(number))).toBe(0);
  expect(call.ioctl(fd, TIOCGPTN, addressOf(number))).toBe(0);
  path = `/dev/pts/${number.readUInt32LE()}`;
  // Every byte as it is.
  expect(spawnSync('stty', ['-F', path, 'raw', '-echo']).status).toBe(0);
  master = new ReadStream(fd);
  server = new SerialServer({ path, log: pino({ level: 'silent' }), onError: () => {} });
});
afterEach(() => {
  server.close();
  master.destroy();
});

const shifts: number[] = [];
const handlers = {
  shiftClock: async ({ byMs }: { byMs: number }) => {
    shifts.push(byMs);
    return {};
  },
  readLogs: async () => ({ entries: [], cursor: 'x'.repeat(300_000) }),
} as unknown as Handlers<GuestProtocol>;

/** What an owner does: a mark, its answer, then frames. */
async function synchronised(n: number): Promise<RpcPeer<{ methods: {}; events: {} }, GuestProtocol>> {
  const scanner = new SyncScanner(n);
  const found = new Promise<void>((resolve) => {
    const onData = (chunk: Buffer): void => {
      const mark = scanner.push(chunk);
      if (mark === undefined) return;
      master.off('data', onData);
      master.pause();
      if (mark.rest.length > 0) master.unshift(mark.rest);
      resolve();
    };
    master.on('data', onData);
  });
  master.write(syncMark(n));
  await found;
  const local = { methods: {}, events: {} };
  const peer = new RpcPeer(master, { local, handlers: {}, remote: guestProtocol, onDefect: () => {} });
  master.resume();
  return peer;
}

test('an owner that begins in the middle of another’s frame is answered, and calls pass both ways', async () => {
  server.listen(handlers);
  master.write(Buffer.from([200, 0, 0, 0, 1, 9, 9, 9]));
  const peer = await synchronised(17);
  expect(await peer.call('shiftClock', { byMs: 5 })).toEqual({});
  expect(shifts).toEqual([5]);
});

test('an answer larger than the port takes at once comes whole', async () => {
  server.listen(handlers);
  const peer = await synchronised(1);
  const query = { workload: 'acme/app', cursor: null, limit: 1, waitMs: 0 };
  const { cursor } = await peer.call('readLogs', query as never);
  expect(cursor).toHaveLength(300_000);
});

test('a port that is not there yet is waited for', async () => {
  const errors: Error[] = [];
  const late = new SerialServer({
    path: '/dev/pts/none-of-these',
    log: pino({ level: 'silent' }),
    onError: (error) => errors.push(error),
  });
  late.listen(handlers);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(errors).toEqual([]);
  late.close();
});
