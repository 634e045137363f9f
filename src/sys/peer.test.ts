import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { socketFd } from './fd-passing.ts';
import { peerOf } from './peer.ts';

async function accept(listenOn: string | number): Promise<{ socket: Socket; close: () => void }> {
  const server = createServer();
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => server.listen(listenOn as string, resolve));
  const address = server.address();
  const client = typeof address === 'string' ? connect(address) : connect(address?.port ?? 0, '127.0.0.1');
  const socket = await accepted;
  const close = (): void => {
    for (const end of [client, socket]) end.destroy();
    server.close();
  };
  return { socket, close };
}

test('the process at the other end of a Unix socket is known', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'peer-'));
  const { socket, close } = await accept(join(directory, 'socket'));
  expect(peerOf(socketFd(socket))).toEqual({
    pid: process.pid,
    uid: process.getuid?.(),
    gid: process.getgid?.(),
  });
  close();
  rmSync(directory, { recursive: true });
});

test('a TCP socket has no known peer', async () => {
  const { socket, close } = await accept(0);
  expect(() => peerOf(socketFd(socket))).toThrow('not a connected Unix socket');
  close();
});

test('a file is not a socket', () => {
  const file = openSync('/dev/null', 'r');
  expect(() => peerOf(file)).toThrow(expect.objectContaining({ code: 'ENOTSOCK', syscall: 'getsockopt' }));
  closeSync(file);
});
