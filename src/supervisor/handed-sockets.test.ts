// Gateways hand over the sockets that they accept from; here they are in one process with who asks.
import { once } from 'node:events';
import { closeSync, fstatSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PortsDoor } from '../gateway/ports-door.ts';
import { layoutOf } from '../sys/layout.ts';
import { listenAtPort } from '../sys/port-socket.ts';
import { handedBy } from './handed-sockets.ts';

const ports = [7_401, 7_402];
let root: string;
let closers: (() => void)[];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'bellows-ports-'));
  closers = [];
});
afterEach(() => {
  for (const close of closers) close();
  rmSync(root, { recursive: true });
});

/** What gateways accept from, at a port that is free, each to be taken for one of `ports`. */
function socket(): number {
  const [fd = -1] = listenAtPort('127.0.0.1', 0);
  closers.push(() => closeSync(fd));
  return fd;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function gateway(pid: number, ...fds: number[]): Promise<{ pid: number; startTicks: number }> {
  const door = new PortsDoor(() => fds.map((fd, at) => ({ port: ports[at]!, fd })));
  await door.listen(layoutOf(root).gatewayPortsSocket(pid));
  closers.push(() => door.close());
  return { pid, startTicks: 0 };
}

const inodes = (fds: readonly number[] = []): number[] => fds.map((fd) => fstatSync(fd).ino);

test('each port has its sockets in the order of places, and two gateways of one place have one', async () => {
  const [clear, secure, other, otherSecure] = [socket(), socket(), socket(), socket()];
  const first = await gateway(1, clear, secure);
  const second = await gateway(2, other, otherSecure);
  const replaced = await gateway(3, clear, secure);
  const { sockets, by } = await handedBy(layoutOf(root), [first, second, replaced]);
  closers.push(() => [...sockets.values()].flat().forEach((fd) => closeSync(fd)));
  expect(by).toEqual([first, second, replaced]);
  expect(inodes(sockets.get(ports[0]!))).toEqual(inodes([clear, other]));
  expect(inodes(sockets.get(ports[1]!))).toEqual(inodes([secure, otherSecure]));
});

test('who waits in the queue of one that is gone is accepted from what it handed over', async () => {
  const port = await freePort();
  const [fd = -1] = listenAtPort('127.0.0.1', port);
  const one = await gateway(1, fd);
  const client = connect(port, '127.0.0.1');
  closers.push(() => client.destroy());
  await once(client, 'connect');
  const { sockets } = await handedBy(layoutOf(root), [one]);
  closeSync(fd);
  const [handed = -1] = sockets.get(ports[0]!) ?? [];
  const server = createServer((accepted) => accepted.end('here')).listen({ fd: handed });
  closers.push(() => server.close());
  const [data] = (await once(client, 'data')) as [Buffer];
  expect(data.toString()).toBe('here');
});

test('one that leaves, one that hangs and one that knows nothing of it hand over nothing, and are not waited for without end', async () => {
  const leaves = await gateway(4);
  const hangs = createServer({ pauseOnConnect: true }).listen(layoutOf(root).gatewayPortsSocket(5));
  closers.push(() => hangs.close());
  await once(hangs, 'listening');
  const { sockets, by } = await handedBy(layoutOf(root), [
    leaves,
    { pid: 5, startTicks: 0 },
    { pid: 6, startTicks: 0 },
  ]);
  expect([...sockets.keys(), ...by]).toEqual([]);
});
