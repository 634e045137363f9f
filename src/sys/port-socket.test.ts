import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { listenAtPort, listenBeside } from './port-socket.ts';

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
  const [descriptor = -1] = listenAtPort('127.0.0.1', port);
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
  const [descriptor = -1] = listenAtPort(address, port);
  onTestFinished(() => closeSync(descriptor));
  const client = connect(port, address);
  onTestFinished(() => void client.destroy());
  await once(client, 'connect');
  expect(client.remotePort).toBe(port);
});

test('a port that is taken, and an address of another machine, are refused', async () => {
  const port = await freePort('127.0.0.1');
  const [descriptor = -1] = listenAtPort('127.0.0.1', port);
  onTestFinished(() => closeSync(descriptor));
  expect(() => listenAtPort('127.0.0.1', port)).toThrow('EADDRINUSE');
  expect(() => listenAtPort('192.0.2.1', port)).toThrow('EADDRNOTAVAIL');
});

test('several programs share a port: each client is one of theirs, and stays in the queue of one that is not there', async () => {
  const port = await freePort('127.0.0.1');
  const [first = -1, second = -1] = listenAtPort('127.0.0.1', port, 2);
  onTestFinished(() => [first, second].forEach((fd) => closeSync(fd)));
  const programs = [acceptor(first), acceptor(second)];
  const answers = new Map<string, number>();
  for (let index = 0; index < 60; index += 1) {
    const said = await answerOf(connect(port, '127.0.0.1'));
    answers.set(said, (answers.get(said) ?? 0) + 1);
  }
  // By chance all go to one once in 10^18 runs.
  expect([...answers.keys()].toSorted()).toEqual(programs.map(({ pid }) => String(pid)).toSorted());
  programs[1]!.kill('SIGKILL');
  await once(programs[1]!, 'exit');
  const waiting = Array.from({ length: 20 }, () => answerOf(connect(port, '127.0.0.1')));
  const next = acceptor(second);
  const said = new Set(await Promise.all(waiting));
  expect([...said].toSorted()).toEqual([programs[0], next].map((each) => String(each?.pid)).toSorted());
});

test('a port that several programs share is refused to everybody else, who would share it too', async () => {
  const port = await freePort('127.0.0.1');
  const descriptors = listenAtPort('127.0.0.1', port, 2);
  onTestFinished(() => descriptors.forEach((fd) => closeSync(fd)));
  expect(() => listenAtPort('127.0.0.1', port, 2)).toThrow('EADDRINUSE');
  expect(() => listenAtPort('127.0.0.1', port)).toThrow('EADDRINUSE');
});

test('a port that one program serves is shared with more of ours later, and who waits in its queue stays there', async () => {
  const port = await freePort('127.0.0.1');
  const [first = -1] = listenAtPort('127.0.0.1', port);
  const early = connect(port, '127.0.0.1');
  await once(early, 'connect');
  const descriptors = listenBeside([first], '127.0.0.1', port, 3);
  onTestFinished(() => descriptors.forEach((each) => closeSync(each)));
  expect(descriptors).toHaveLength(3);
  expect(descriptors[0]).toBe(first);
  const clients = Array.from({ length: 60 }, () => connect(port, '127.0.0.1'));
  await Promise.all(clients.map((each) => once(each, 'connect')));
  const pids = descriptors.map((each) => String(acceptor(each).pid));
  expect(await answerOf(early)).toBe(pids[0]);
  expect(new Set(await Promise.all(clients.map(answerOf)))).toEqual(new Set(pids));
});
