import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { request } from 'node:http';
import { afterEach, expect, test } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import type { DoorRequest } from '../../protocol/door.ts';
import { doorUpstream } from '../apps/upstream.ts';
import { connectThroughDoor } from './door.ts';

const to: DoorRequest['to'] = { kind: 'socket', instance: 'i-1' as InstanceId, socket: 'http' };
let server: Server;
const sockets = new Set<Socket>();

/** A door that answers the first line with `answer`, and what comes after with what `rest` says. */
async function door(answer: string, rest: (chunk: Buffer) => string = () => '') {
  const lines: DoorRequest[] = [];
  server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', (chunk) => {
      lines.push(JSON.parse(chunk.toString()) as DoorRequest);
      if (answer !== '') socket.write(answer);
      socket.on('data', (more: Buffer) => socket.write(rest(more)));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { at: { host: '127.0.0.1', port, token: 'secret' }, lines };
}

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  server.close();
});

test('what the target sends right behind the answer is not lost', async () => {
  const { at, lines } = await door('{}\nfirst', (chunk) => chunk.toString().toUpperCase());
  const socket = await connectThroughDoor(at, to);
  expect(lines).toEqual([{ token: 'secret', to }]);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.resume();
  socket.write('and more');
  await expect.poll(() => Buffer.concat(chunks).toString()).toBe('firstAND MORE');
});

test.each([
  ['a refusal', '{"error":"There is no instance i-1 in this unit."}\n', /no instance i-1/],
  ['no JSON', 'HTTP/1.1 400 Bad Request\r\n', /answer is none/],
  ['a line without an end', 'x'.repeat(2000), /too long/],
])('%s is told as what it is', async (_, answer, why) => {
  const { at } = await door(answer);
  await expect(connectThroughDoor(at, to)).rejects.toThrow(
    expect.objectContaining({ code: 'Unavailable', message: expect.stringMatching(why) }),
  );
});

test('a door that nobody keeps is not waited for', async () => {
  const { at } = await door('');
  server.close();
  await expect(connectThroughDoor(at, to)).rejects.toThrow(/ECONNREFUSED/);
});

test('requests over HTTP go through it, over one connection while that is kept open', async () => {
  const { at, lines } = await door('{}\n', () => 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi');
  const endpoint = { runDirectory: '/run', mode: 'frames' as const, port: null, door: at };
  const { agent, address } = doorUpstream('i-1' as InstanceId, endpoint, at);
  const get = async (): Promise<string> => {
    const outgoing = request({ ...address, agent, path: '/' });
    outgoing.end();
    const [answer] = (await once(outgoing, 'response')) as [NodeJS.ReadableStream];
    const chunks: string[] = [];
    for await (const chunk of answer) chunks.push(String(chunk));
    return chunks.join('');
  };
  expect([await get(), await get()]).toEqual(['hi', 'hi']);
  expect(lines).toHaveLength(1);
  agent.destroy();
});
