import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { listenAtPort } from './port-socket.ts';

async function freePort(host: string): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Says its own number to whoever connects. */
function acceptor(descriptor: number): ChildProcess {
  const says = `require('node:net').createServer((s) => s.end(String(process.pid))).listen({ fd: 3 })`;
  const child = spawn(process.execPath, ['-e', says], { stdio: ['ignore', 'ignore', 'inherit', descriptor] });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

async function answerOf(socket: Socket): Promise<string> {
  onTestFinished(() => void socket.destroy());
  const [data] = (await once(socket, 'data')) as [Buffer];
  return data.toString();
}

test('who connects while nobody runs, or after the program was killed, is served by the next one', async () => {
  const port = await freePort('127.0.0.1');
  const descriptor = listenAtPort('127.0.0.1', port);
  onTestFinished(() => closeSync(descriptor));
  const early = connect(port, '127.0.0.1');
  await once(early, 'connect');
  const first = acceptor(descriptor);
  expect(await answerOf(early)).toBe(String(first.pid));
  first.kill('SIGKILL');
  await once(first, 'exit');
  const late = connect(port, '127.0.0.1');
  await once(late, 'connect');
  const second = acceptor(descriptor);
  expect(await answerOf(late)).toBe(String(second.pid));
});

test.each(['::1', '0:0::0:1', '::ffff:127.0.0.1', '127.0.0.1'])('it listens at %s', async (address) => {
  const port = await freePort('127.0.0.1');
  const descriptor = listenAtPort(address, port);
  onTestFinished(() => closeSync(descriptor));
  const client = connect(port, address);
  onTestFinished(() => void client.destroy());
  await once(client, 'connect');
  expect(client.remotePort).toBe(port);
});

test('a port that is taken, and an address of another machine, are refused', async () => {
  const port = await freePort('127.0.0.1');
  const descriptor = listenAtPort('127.0.0.1', port);
  onTestFinished(() => closeSync(descriptor));
  expect(() => listenAtPort('127.0.0.1', port)).toThrow('EADDRINUSE');
  expect(() => listenAtPort('192.0.2.1', port)).toThrow('EADDRNOTAVAIL');
});
