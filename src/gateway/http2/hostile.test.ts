// What clients of HTTP/2 can do to the gateway with frames that no library sends: each is sent away, and meanwhile and
// afterwards others are answered. Raw frames (RFC 9113, 4.1) in front, and node:http2 as one of the others.
import { once } from 'node:events';
import { connect as connectHttp2, constants, type ClientHttp2Session } from 'node:http2';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { soon } from '../testing/held-chat.ts';
import { Http2Sessions } from './sessions.ts';

let opened: Http2Sessions;
let server: Server;
let other: ClientHttp2Session;
const clients: Socket[] = [];

const port = (): number => (server.address() as AddressInfo).port;

beforeEach(async () => {
  // Answers when all of a body is there.
  opened = new Http2Sessions((request, response) => {
    request.resume().once('end', () => {
      response.writeHead(200, []);
      response.end('ok');
    });
  });
  server = createServer((socket) => opened.take(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  other = connectHttp2(`http://127.0.0.1:${port()}`);
  await once(other, 'connect');
});
afterEach(() => {
  other.destroy();
  for (const client of clients.splice(0)) client.destroy();
  opened.closeAll();
  server.close();
});

async function otherIsAnswered(): Promise<void> {
  const stream = other.request({ ':path': '/' });
  let body = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
  await once(stream, 'end');
  expect(body).toBe('ok');
}

const type = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const;
const flag = { none: 0, endStream: 1, endHeaders: 4, padded: 8 } as const;

function frame(kind: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(kind, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** `POST http://x/` by HPACK's static table (RFC 7541, A); the host is written out. */
const postHead = Buffer.from([0x83, 0x86, 0x84, 0x41, 0x01, 0x78]);

interface Hostile {
  readonly socket: Socket;
  readonly closed: Promise<unknown>;
  /** The codes of the GOAWAY frames that came. */
  readonly goaways: () => number[];
}

function hostile(options: { readonly allowHalfOpen?: boolean } = {}): Hostile {
  const socket = connect({ port: port(), host: '127.0.0.1', ...options });
  clients.push(socket);
  socket.on('error', () => undefined);
  let bytes = Buffer.alloc(0);
  const codes: number[] = [];
  socket.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
      const end = 9 + bytes.readUIntBE(0, 3);
      if (bytes.readUInt8(3) === type.goaway) codes.push(bytes.readUInt32BE(13));
      bytes = bytes.subarray(end);
    }
  });
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(frame(type.settings, flag.none, 0));
  return { socket, closed, goaways: () => codes };
}

/** Sends what `next` makes until the connection is closed, as fast as it is taken; meanwhile the other client asks. */
async function floods(next: (round: number) => Buffer): Promise<Hostile> {
  const client = hostile();
  let round = 0;
  const more = (): void => {
    // A turn of the loop for each: what comes back is read, and the test's own other client has its turn.
    if (client.socket.destroyed) return;
    const pieces = Array.from({ length: 100 }, () => next((round += 1)));
    if (client.socket.write(Buffer.concat(pieces))) setImmediate(more);
    else client.socket.once('drain', () => setImmediate(more));
  };
  more();
  await Promise.all([client.closed, otherIsAnswered()]);
  await otherIsAnswered();
  await soon(() => opened.size).toBe(1);
  return client;
}

test.each<[string, (round: number) => Buffer]>([
  ['PING', () => frame(type.ping, flag.none, 0, Buffer.alloc(8))],
  ['SETTINGS', () => frame(type.settings, flag.none, 0)],
])('who floods with %s is told to keep calm and closed', async (_, next) => {
  const { goaways } = await floods(next);
  // A reset may overtake what was said last.
  for (const code of goaways()) expect(code).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
});

test.each<[string, (round: number) => Buffer]>([
  [
    'requests that it takes back at once',
    (round) =>
      Buffer.concat([
        frame(type.headers, flag.endHeaders, round * 2 - 1, postHead),
        frame(type.reset, flag.none, round * 2 - 1, Buffer.from([0, 0, 0, 8])),
      ]),
  ],
  [
    'a head that does not end',
    (round) =>
      round === 1
        ? frame(type.headers, flag.none, 1, postHead)
        : frame(type.continuation, flag.none, 1, Buffer.from([0x00, 0x01, 0x61, 0x01, 0x61])),
  ],
  [
    'DATA without data',
    (round) =>
      round === 1 ? frame(type.headers, flag.endHeaders, 1, postHead) : frame(type.data, flag.none, 1),
  ],
  ['frames of a stream that is not open', () => frame(type.data, flag.none, 9, Buffer.alloc(1))],
  ['frames that are larger than allowed', () => frame(type.data, flag.none, 1, Buffer.alloc(16_385))],
])('who floods with %s is closed', async (_, next) => {
  await floods(next);
});

test.each<[string, (round: number) => Buffer]>([
  ['priorities', (round) => frame(type.priority, flag.none, round * 2 - 1, Buffer.from([0, 0, 0, 0, 16]))],
  ['frames of kinds that are not known', () => frame(0x77, flag.none, 0)],
  [
    'parts of a head with nothing in them',
    (round) => (round === 1 ? frame(type.headers, flag.none, 1, postHead) : frame(type.continuation, 0, 1)),
  ],
  [
    'resets of a stream that is closed',
    (round) =>
      round === 1
        ? frame(type.headers, flag.endHeaders | flag.endStream, 1, postHead)
        : frame(type.reset, flag.none, 1, Buffer.from([0, 0, 0, 8])),
  ],
])('who floods with %s is closed by node:http2 itself', async (_, next) => {
  await floods(next);
});

test.each<[string, (round: number) => Buffer]>([
  ['WINDOW_UPDATE of the connection', () => frame(type.window, flag.none, 0, Buffer.from([0, 0, 0, 1]))],
  [
    'WINDOW_UPDATE of a stream',
    (round) =>
      round === 1
        ? frame(type.headers, flag.endHeaders, 1, postHead)
        : frame(type.window, flag.none, 1, Buffer.from([0, 0, 0, 1])),
  ],
  [
    'WINDOW_UPDATE of a stream that is closed',
    (round) =>
      round === 1
        ? frame(type.headers, flag.endHeaders | flag.endStream, 1, postHead)
        : frame(type.window, flag.none, 1, Buffer.from([0, 0, 0, 1])),
  ],
  [
    'DATA with padding alone',
    (round) =>
      round === 1
        ? frame(type.headers, flag.endHeaders, 1, postHead)
        : frame(type.data, flag.padded, 1, Buffer.from([1, 0])),
  ],
])('who floods with %s is told to keep calm and closed at the next look', async (_, next) => {
  const looks = setInterval(() => opened.sweep(), 100);
  const { goaways } = await floods(next);
  clearInterval(looks);
  for (const code of goaways()) expect(code).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
});

test('a client that sends and is sent bytes one by one stays, though it acknowledges each and nobody reads it', async () => {
  opened.closeAll();
  other.destroy();
  let answered = 0;
  opened = new Http2Sessions((request, response) => {
    if (request.method === 'POST') return;
    response.writeHead(200, []);
    const more = (): void => {
      while (answered < 20_000) {
        answered += 1;
        if (!response.write('x')) {
          response.once('drain', more);
          return;
        }
      }
      response.end();
    };
    more();
  });
  const looks = setInterval(() => opened.sweep(), 20);
  const { socket, goaways } = hostile();
  let heard = 0;
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.length;
    const pieces = Math.ceil(chunk.length / 10);
    const acknowledges = [0, 1].map((stream) => frame(type.window, 0, stream, Buffer.from([0, 0, 0, 1])));
    socket.write(Buffer.concat(Array.from({ length: pieces }, () => acknowledges).flat()));
  });
  const get = Buffer.from([0x82, ...postHead.subarray(1)]);
  socket.write(frame(type.headers, flag.endHeaders | flag.endStream, 1, get));
  socket.write(frame(type.headers, flag.endHeaders, 3, postHead));
  const byte = frame(type.data, flag.none, 3, Buffer.alloc(1));
  socket.write(Buffer.concat(Array.from({ length: 65_000 }, () => byte)));
  await soon(() => heard).toBeGreaterThan(20_000 * 10);
  await soon(() => [socket.bytesWritten > 650_000, socket.writableLength]).toEqual([true, 0]);
  opened.sweep();
  clearInterval(looks);
  expect([socket.destroyed, goaways(), opened.size]).toEqual([false, [], 1]);
});

test('a client that sends a ping now and then stays, however long', async () => {
  const { socket, goaways } = hostile();
  for (let round = 0; round < 3; round += 1) {
    let answered = 0;
    socket.on('data', (chunk: Buffer) => (answered += chunk.length));
    socket.write(
      Buffer.concat(Array.from({ length: 900 }, () => frame(type.ping, flag.none, 0, Buffer.alloc(8)))),
    );
    await soon(() => answered).toBeGreaterThanOrEqual(900 * 17);
    socket.removeAllListeners('data');
    opened.sweep();
  }
  expect([socket.destroyed, goaways()]).toEqual([false, []]);
});

test('who idles, is told to go and stays is closed all the same', async () => {
  other.destroy();
  await soon(() => opened.size).toBe(0);
  opened.closeAll();
  let nowMs = 0;
  opened = new Http2Sessions(
    (_request, response) => response.end('ok'),
    () => nowMs,
  );
  const { socket, goaways } = hostile({ allowHalfOpen: true });
  socket.write(frame(type.headers, flag.endHeaders | flag.endStream, 1, postHead));
  await soon(() => opened.size).toBe(1);
  await soon(() => socket.bytesRead).toBeGreaterThan(60);
  nowMs += 100_000;
  for (const told of [1, 2]) {
    opened.sweep();
    await soon(() => goaways().length).toBeGreaterThanOrEqual(told);
  }
  await soon(() => socket.readableEnded).toBe(true);
  expect(opened.size).toBe(1);
  opened.sweep();
  await soon(() => opened.size).toBe(0);
});

test('who is answered and goes on sending has its stream closed, and asks again over the same connection', async () => {
  opened.closeAll();
  other.destroy();
  opened = new Http2Sessions((_request, response) => {
    response.writeHead(429, []);
    response.end('no');
  });
  const client = connectHttp2(`http://127.0.0.1:${port()}`);
  const stream = client.request({ ':method': 'POST', ':path': '/' }, { endStream: false });
  stream.on('error', () => undefined);
  const more = (): void => {
    while (!stream.destroyed && !stream.closed)
      if (!stream.write(Buffer.alloc(65_536))) {
        stream.once('drain', more);
        return;
      }
  };
  more();
  const [headers] = (await once(stream.resume(), 'response')) as [Record<string, unknown>];
  expect(headers[':status']).toBe(429);
  await once(stream, 'close');
  const again = client.request({ ':path': '/' });
  const [answer] = (await once(again.resume(), 'response')) as [Record<string, unknown>];
  expect(answer[':status']).toBe(429);
  client.destroy();
});
