// The door against callers that are not who they should be, and what passes through it.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { doorLineBytes } from '../../protocol/door.ts';
import type { Endpoint } from '../../protocol/agent.ts';
import { instanceSockets } from '../../protocol/instance.ts';
import { CodeStore } from './code-store.ts';
import { Door } from './door.ts';

const token = 'the-unit’s-token';
const instance = 'i-one' as InstanceId;
let directory: string;
let door: Door;
let server: Server;
/** What the server inside does with a connection. */
let serve: (socket: Socket) => void;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-door-'));
  serve = (socket) => socket.pipe(socket);
  server = createServer({ allowHalfOpen: true }, (socket) => serve(socket));
  server.listen(join(directory, instanceSockets.frames));
  await once(server, 'listening');
  const code = new CodeStore(join(directory, 'data'));
  code.open();
  const endpoint: Endpoint = { runDirectory: directory, mode: 'frames', port: null };
  door = await Door.open({
    port: 0,
    token,
    endpointOf: (id) => (id === instance ? endpoint : undefined),
    code,
    log: pino({ level: 'silent' }),
  });
});
afterEach(() => {
  door.close();
  server.close();
  rmSync(directory, { recursive: true, force: true });
});

function knock(line: string | Buffer): Socket {
  const socket = connect({ host: '127.0.0.1', port: door.port, allowHalfOpen: true });
  socket.on('error', () => {});
  socket.write(line);
  return socket;
}
const request = (to: object, asToken = token): string => `${JSON.stringify({ token: asToken, to })}\n`;
const frames = { kind: 'socket', instance, socket: 'frames' };

/** All that comes until the door closes. */
const answerTo = (line: string | Buffer): Promise<string> => text(knock(line));

test('the right token opens, and bytes pass both ways, also those that came with the line', async () => {
  const socket = knock(`${request(frames)}hello `);
  socket.end('there');
  expect(await text(socket)).toBe('{}\nhello there');
});

test('who ends its half still hears the other', async () => {
  serve = (socket) => {
    socket.resume().on('end', () => setTimeout(() => socket.end('after the end'), 20));
  };
  const socket = knock(request(frames));
  socket.end();
  expect(await text(socket)).toBe('{}\nafter the end');
});

test('a megabyte passes whole through readers that are slow', async () => {
  const sent = Buffer.alloc(1024 * 1024, 'bellows');
  const socket = knock(request(frames));
  socket.end(sent);
  const received = await buffer(socket);
  expect(received.subarray(3).equals(sent)).toBe(true);
});

test.each([
  ['a wrong token', request(frames, 'guess'), 'token'],
  ['no token', `${JSON.stringify({ to: frames })}\n`, 'token'],
  ['a token that is no text', `${JSON.stringify({ token: { toString: 1 }, to: frames })}\n`, 'token'],
  ['null', 'null\n', 'token'],
  ['no JSON', 'GET / HTTP/1.1\r\n', 'not JSON'],
  ['an unknown target', request({ kind: 'shell' }), 'nothing that can be reached'],
  ['another socket', request({ ...frames, socket: '../../agent.sock' }), 'nothing that can be reached'],
  ['an instance that is not here', request({ ...frames, instance: 'i-none' }), 'no instance i-none'],
  ['a port that nobody listens on', request({ kind: 'port', instance }), 'listens on no port'],
  ['a socket that nobody listens on', request({ ...frames, socket: 'http' }), 'Nothing answers'],
  ['code outside its place', request({ kind: 'code', tenant: '../..', sha256: 'a'.repeat(64) }), 'tenant'],
  ['code without a hash', request({ kind: 'code', tenant: 'acme', sha256: '../../x' }), 'SHA-256'],
  ['a line without end', Buffer.alloc(doorLineBytes * 4, 'x'), 'longer than'],
])('%s is answered with an error line, and the connection ends', async (_, line, words) => {
  const lines = (await answerTo(line)).trimEnd().split('\n');
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? '')).toEqual({ error: expect.stringContaining(words) });
});

test('a caller that goes away before its line is forgotten, and others are served', async () => {
  for (let index = 0; index < 300; index += 1) knock('{"token":').destroy();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const socket = knock(request(frames));
  socket.end('still here');
  expect(await text(socket)).toBe('{}\nstill here');
});

test('when what is inside breaks off, so does the connection outside', async () => {
  serve = (socket) => socket.once('data', () => socket.destroy());
  const socket = knock(request(frames)).resume();
  // There is nobody who reads what is sent on.
  const writing = setInterval(() => socket.write('y'), 5);
  await new Promise<void>((resolve) => socket.once('close', () => resolve()));
  clearInterval(writing);
});
