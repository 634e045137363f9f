// What becomes of bodies that are read whole, behind a real server: how slowly they may come, how much memory they hold for how
// long, and who is asked for one.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { TenantId } from '../base/ids.ts';
import { BodyReader, type Body } from './body.ts';
import { soon } from './testing/held-chat.ts';

const tenant = 'acme' as TenantId;
const floor = { graceMs: 10_000, bytesPerSecond: 100 };
const limitBytes = 400_000;
const totalBytes = 400_000;

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Undefined until it is there. */
  body: Body | undefined;
  received: number;
}

let nowMs: number;
let reader: BodyReader;
let server: Server;
let exchanges: Exchange[];
const clients: Socket[] = [];

beforeEach(async () => {
  nowMs = 0;
  exchanges = [];
  reader = new BodyReader(totalBytes, floor, () => nowMs);
  const serve = (expectsContinue: boolean) => (request: IncomingMessage, response: ServerResponse) => {
    const exchange: Exchange = { request, response, body: undefined, received: 0 };
    exchanges.push(exchange);
    const owner = { tenant, proven: request.url !== '/unproven' };
    reader.read({ request, response, expectsContinue }, limitBytes, owner, (body) => (exchange.body = body));
    request.on('data', ({ length }: Buffer) => (exchange.received += length));
  };
  server = createServer(serve(false)).on('checkContinue', serve(true)).listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
  server.closeAllConnections();
  server.close();
});

/** @param headers besides the host's */
async function post(
  headers: string,
  body: string,
  path = '/',
): Promise<{ socket: Socket; exchange: Exchange }> {
  const before = exchanges.length;
  const { port } = server.address() as AddressInfo;
  const socket = connect({ port, host: '127.0.0.1' });
  clients.push(socket);
  socket.on('error', () => undefined);
  socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n${body}`);
  await soon(() => exchanges.length).toBe(before + 1);
  return { socket, exchange: exchanges.at(-1) as Exchange };
}

async function sent(
  { socket, exchange }: { socket: Socket; exchange: Exchange },
  text: string,
): Promise<void> {
  const wanted = exchange.received + text.length;
  socket.write(text);
  await soon(() => exchange.received).toBe(wanted);
}

/** So much time passes, looked at often. */
function pass(timeMs: number): void {
  for (const endMs = nowMs + timeMs; nowMs < endMs;) {
    nowMs += 500;
    reader.sweep();
  }
}

const chunked = (bytes: number): string => `${bytes.toString(16)}\r\n${'x'.repeat(bytes)}\r\n`;

test('a body that stops, or drips below the floor, is ended; one that keeps above it takes as long as it takes', async () => {
  const stops = await post('Content-Length: 50000\r\n', 'x'.repeat(20_000));
  const drips = await post('Content-Length: 50000\r\n', 'x');
  const goesOn = await post('Content-Length: 50000\r\n', 'x');
  await soon(() => stops.exchange.received).toBe(20_000);
  pass(5_000);
  for (let round = 0; round < 4; round += 1) {
    await sent(drips, 'x'.repeat(100));
    await sent(goesOn, 'x'.repeat(600));
    pass(5_000);
  }
  expect(stops.exchange.body).toMatchObject({ kind: 'tooSlow', error: { code: 'TooSlow' } });
  expect(drips.exchange.body?.kind).toBe('tooSlow');
  expect(goesOn.exchange.body).toBeUndefined();
  await sent(goesOn, 'x'.repeat(50_000 - 2_401));
  expect(goesOn.exchange.body).toMatchObject({ kind: 'whole', bytes: { length: 50_000 } });
});

test('what was sent fast is no credit for a long silence', async () => {
  const { exchange } = await post('Content-Length: 30001\r\n', 'x'.repeat(30_000));
  await soon(() => exchange.received).toBe(30_000);
  pass(floor.graceMs + 1_000);
  expect(exchange.body?.kind).toBe('tooSlow');
});

test('a gateway that stood still itself ends nobody', async () => {
  const { exchange } = await post('Content-Length: 5\r\n', 'x');
  nowMs += 3_600_000;
  reader.sweep();
  expect(exchange.body).toBeUndefined();
});

test("what a tenant's bodies hold is theirs until the answer, and beyond its share they are refused", async () => {
  const first = await post('Content-Length: 200000\r\n', 'x'.repeat(200_000));
  await soon(() => first.exchange.body?.kind).toBe('whole');
  const second = await post('Content-Length: 200000\r\n', 'x'.repeat(200_000));
  await soon(() => second.exchange.body).toMatchObject({ kind: 'noRoom', error: { code: 'LimitReached' } });
  const unknown = await post('Transfer-Encoding: chunked\r\n', `${chunked(200_000)}0\r\n\r\n`);
  await soon(() => unknown.exchange.body?.kind).toBe('noRoom');
  expect(reader.memory.of('other' as TenantId).fits(100_000)).toBe(true);
  first.exchange.response.end();
  await soon(() => reader.memory.freeBytes).toBe(totalBytes);
  const third = await post('Content-Length: 200000\r\n', 'x'.repeat(200_000));
  await soon(() => third.exchange.body?.kind).toBe('whole');
});

test('who only says that it is a tenant can not fill what the tenant has; proven, it counts as its own', async () => {
  const liar = await post('Content-Length: 150000\r\n', 'x'.repeat(150_000), '/unproven');
  await soon(() => liar.exchange.body?.kind).toBe('whole');
  const another = await post('Content-Length: 60000\r\n', 'x'.repeat(60_000), '/unproven');
  await soon(() => another.exchange.body?.kind).toBe('noRoom');
  expect(reader.memory.of(tenant).heldBytes).toBe(0);
  const signs = await post('Content-Length: 100000\r\n', 'x'.repeat(100_000));
  await soon(() => signs.exchange.body?.kind).toBe('whole');
  // All that it may have by now.
  const prove = (): unknown =>
    liar.exchange.body?.kind === 'whole' ? liar.exchange.body.belongs() : undefined;
  expect(prove()).toMatchObject({ code: 'LimitReached' });
  expect(reader.memory.unprovenOf(tenant).heldBytes).toBe(150_000);
  signs.exchange.response.end();
  await soon(() => reader.memory.of(tenant).heldBytes).toBe(0);
  for (const _ of ['once', 'and again']) expect(prove()).toBeUndefined();
  expect([reader.memory.of(tenant).heldBytes, reader.memory.unprovenOf(tenant).heldBytes]).toEqual([
    150_000, 0,
  ]);
  liar.exchange.response.end();
  await soon(() => reader.memory.freeBytes).toBe(totalBytes);
});

test('who says that much will come and leaves, or is refused for what came, holds nothing', async () => {
  const leaves = await post('Content-Length: 200000\r\n', 'x'.repeat(10_000));
  await soon(() => leaves.exchange.received).toBe(10_000);
  expect(reader.memory.freeBytes).toBeLessThan(totalBytes);
  leaves.socket.destroy();
  await soon(() => leaves.exchange.body?.kind).toBe('aborted');
  await soon(() => reader.memory.freeBytes).toBe(totalBytes);
  const grows = await post('Transfer-Encoding: chunked\r\n', chunked(150_000) + chunked(150_000));
  await soon(() => grows.exchange.received).toBe(300_000);
  expect(reader.memory.freeBytes).toBe(totalBytes);
  grows.socket.write('0\r\n\r\n');
  await soon(() => grows.exchange.body?.kind).toBe('noRoom');
});

test('chunks of a byte each hold no more than one buffer, and become one body', async () => {
  const text = 'abcdefghij'.repeat(300);
  const chunks = text.replaceAll(/./g, '1\r\n$&\r\n');
  const { exchange } = await post('Transfer-Encoding: chunked\r\n', chunks);
  await soon(() => exchange.received).toBe(text.length);
  expect(totalBytes - reader.memory.freeBytes).toBeLessThanOrEqual(64 * 1024);
  clients.at(-1)?.write('0\r\n\r\n');
  await soon(() => exchange.body?.kind === 'whole' && exchange.body.bytes.toString()).toBe(text);
});

test('who waits to be asked for its body is asked when it can be taken, and only then', async () => {
  const asked = await post('Content-Length: 5\r\nExpect: 100-continue\r\n', '');
  expect(String((await once(asked.socket, 'data'))[0])).toMatch(/^HTTP\/1\.1 100 Continue\r\n/);
  asked.socket.write('hello');
  await soon(() => asked.exchange.body).toMatchObject({ kind: 'whole', bytes: Buffer.from('hello') });
  for (const [bytes, kind] of [
    [limitBytes + 1, 'tooLarge'],
    [totalBytes / 2 + 1, 'noRoom'],
  ] as const) {
    const { exchange, socket } = await post(`Content-Length: ${bytes}\r\nExpect: 100-continue\r\n`, '');
    expect(exchange.body?.kind).toBe(kind);
    exchange.response.end('no');
    expect(String((await once(socket, 'data'))[0])).toMatch(/^HTTP\/1\.1 200/);
  }
});
