// The way of code into a machine, against a door that is played.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sendCode } from './code-transfer.ts';

let directory: string;
let server: Server;
const sockets: Socket[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-code-'));
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  rmSync(directory, { recursive: true, force: true });
});

async function doorThat(behaves: (socket: Socket) => void): Promise<Parameters<typeof sendCode>[0]> {
  server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    behaves(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port, token: 'token' };
}

const code = () => ({ tenant: 'acme', sha256: 'a'.repeat(64), directory });

test('a machine that stops taking code is told as that, with a code of its own', async () => {
  writeFileSync(join(directory, 'index.mjs'), Buffer.alloc(32 * 1024 * 1024, 'x'));
  const door = await doorThat((socket) => {
    socket.once('data', () => {
      socket.pause();
      socket.write('{}\n');
    });
  });
  await expect(sendCode(door, code(), 200)).rejects.toMatchObject({
    code: 'CodeNotDelivered',
    message: expect.stringMatching(/nothing moved for 0\.2 s/),
  });
});

test('a door that says no is quoted', async () => {
  const door = await doorThat((socket) => {
    socket.once('data', () => socket.end('{"error":"wrong token"}\n'));
  });
  await expect(sendCode(door, code())).rejects.toMatchObject({
    code: 'CodeNotDelivered',
    message: expect.stringContaining('wrong token'),
  });
});
