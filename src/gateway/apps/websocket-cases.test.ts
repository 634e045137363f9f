// What a WebSocket client and a server of an app say to each other is theirs: for each class of cases of the Autobahn suite what
// comes back through the gateway is, byte for byte, what comes back without it, handshake included. The server is `ws`.
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { deflateRawSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { ThreeWays, type Way } from '../testing/three-ways.ts';

/** What the server takes for one message. */
const maxMessageBytes = 1024 * 1024;
const server = `
  const { createServer } = require('node:http');
  const { WebSocketServer } = require(${JSON.stringify(createRequire(import.meta.url).resolve('ws'))});
  const server = createServer();
  const sockets = new WebSocketServer({ server, perMessageDeflate: { threshold: 0 }, maxPayload: ${maxMessageBytes} });
  sockets.on('connection', (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.on('error', () => undefined);
  });
  server.listen(process.env.PORT, () => console.log(server.address().port));`;

let ways: ThreeWays;
beforeAll(async () => {
  ways = await ThreeWays.start(server);
});
afterAll(() => ways.dispose());

const opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const [more, rsv1, rsv2, rsv3] = [0x00, 0x40, 0x20, 0x10];
const last = 0x80;

/** As a client sends it: masked, unless told otherwise. @param flags FIN and the reserved bits */
function frame(flags: number, code: number, payload: string | Uint8Array = '', isMasked = true): Buffer {
  const bytes = Buffer.from(payload as string);
  const head = [flags | code];
  const maskBit = isMasked ? 0x80 : 0;
  if (bytes.length < 126) head.push(maskBit | bytes.length);
  else if (bytes.length < 65_536) head.push(maskBit | 126, bytes.length >> 8, bytes.length & 0xff);
  else {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(bytes.length));
    head.push(maskBit | 127, ...length);
  }
  if (!isMasked) return Buffer.concat([Buffer.from(head), bytes]);
  const mask = [0x37, 0xfa, 0x21, 0x3d];
  return Buffer.concat([Buffer.from([...head, ...mask]), bytes.map((byte, at) => byte ^ mask[at % 4]!)]);
}

const closing = (code: number, reason: string | Uint8Array = ''): Buffer =>
  frame(
    last,
    opcode.close,
    Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason as string)]),
  );
const text = (payload: string | Uint8Array): Buffer => frame(last, opcode.text, payload);
const normal = closing(1000);
/** As `permessage-deflate` has it: without the tail that every block ends with. */
const deflated = (payload: string): Buffer => {
  const bytes = deflateRawSync(payload, { finishFlush: 2 });
  return bytes.subarray(0, bytes.length - 4);
};

interface Case {
  readonly sends: readonly Buffer[];
  /** With which code the server closes; `none` is a close frame without one. */
  readonly closes: number | 'none';
  /** What is offered as extensions. */
  readonly offer?: string;
}

const fine = (...sends: Buffer[]): Case => ({ sends: [...sends, normal], closes: 1000 });
const wrong = (closes: number, ...sends: Buffer[]): Case => ({ sends, closes });
const deflate = (offer: string, ...sends: Buffer[]): Case => ({ ...fine(...sends), offer });

const classes: Readonly<Record<string, Readonly<Record<string, Case>>>> = {
  framing: Object.fromEntries(
    [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537].flatMap((bytes) => [
      [`text of ${bytes}`, fine(text('*'.repeat(bytes)))],
      [`binary of ${bytes}`, fine(frame(last, opcode.binary, Buffer.alloc(bytes, 0xfe)))],
    ]),
  ),
  'pings and pongs': {
    'an empty ping': fine(frame(last, opcode.ping)),
    'a ping of 125 bytes': fine(frame(last, opcode.ping, Buffer.alloc(125, 0xfe))),
    'a ping of 126 bytes': wrong(1002, frame(last, opcode.ping, Buffer.alloc(126, 0xfe))),
    'a pong nobody asked for': fine(frame(last, opcode.pong, 'unasked'), text('then')),
    'ten pings': fine(...Array.from({ length: 10 }, (_, n) => frame(last, opcode.ping, `ping ${n}`))),
  },
  'reserved bits and opcodes': {
    'RSV1 without an extension': wrong(1002, text('before'), frame(last | rsv1, opcode.text, 'x')),
    RSV2: wrong(1002, frame(last | rsv2, opcode.text, 'x')),
    RSV3: wrong(1002, frame(last | rsv3, opcode.ping)),
    'all three': wrong(1002, frame(last | rsv1 | rsv2 | rsv3, opcode.binary, 'x')),
    ...Object.fromEntries(
      [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((code) => [
        `opcode ${code}`,
        wrong(1002, frame(last, code, 'x')),
      ]),
    ),
    'a frame that is not masked': wrong(1002, frame(last, opcode.text, 'x', false)),
  },
  fragmentation: {
    'two fragments': fine(frame(more, opcode.text, 'one, '), frame(last, opcode.continuation, 'two')),
    'empty fragments': fine(
      frame(more, opcode.text),
      frame(more, opcode.continuation),
      frame(last, opcode.continuation, 'end'),
    ),
    'a ping between fragments': fine(
      frame(more, opcode.text, 'one, '),
      frame(last, opcode.ping, 'between'),
      frame(last, opcode.continuation, 'two'),
    ),
    'a fragmented ping': wrong(1002, frame(more, opcode.ping, 'x')),
    'a fragmented close': wrong(1002, frame(more, opcode.close)),
    'nothing to continue': wrong(1002, frame(last, opcode.continuation, 'x')),
    'another message within one': wrong(1002, frame(more, opcode.text, 'x'), text('y')),
  },
  'UTF-8': {
    'of all lengths': fine(text('Hello-µ@ßöäüàá-€-𝄞!')),
    'cut within a character': fine(
      frame(more, opcode.text, Buffer.from('κόσμε').subarray(0, 3)),
      frame(last, opcode.continuation, Buffer.from('κόσμε').subarray(3)),
    ),
    overlong: wrong(1007, text(Buffer.from([0xc0, 0xaf]))),
    'a surrogate': wrong(1007, text(Buffer.from([0xed, 0xa0, 0x80]))),
    'beyond the last character': wrong(1007, text(Buffer.from([0xf4, 0x90, 0x80, 0x80]))),
    'a character that does not end': wrong(1007, text(Buffer.from([0x61, 0xce]))),
    'a byte that never is': wrong(1007, text(Buffer.from([0xff]))),
  },
  'close codes': {
    'without a code': { sends: [frame(last, opcode.close)], closes: 'none' },
    'half a code': wrong(1002, frame(last, opcode.close, Buffer.from([3]))),
    'a reason of 123 bytes': fine(closing(1000, 'r'.repeat(123))),
    'a reason of 124 bytes': wrong(1002, closing(1000, 'r'.repeat(124))),
    'a reason that is no UTF-8': wrong(1007, closing(1000, Buffer.from([0xff, 0xfe]))),
    'a message behind it': { sends: [normal, text('late')], closes: 1000 },
    ...Object.fromEntries(
      [1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999].map((code) => [
        `${code}`,
        wrong(code, closing(code, 'why')),
      ]),
    ),
    ...Object.fromEntries(
      [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535].map((code) => [
        `${code}, which is none`,
        wrong(1002, closing(code)),
      ]),
    ),
  },
  limits: {
    'a message as large as may be': fine(frame(last, opcode.binary, Buffer.alloc(maxMessageBytes, 7))),
    'one byte more': wrong(1009, frame(last, opcode.binary, Buffer.alloc(maxMessageBytes + 1, 7))),
    'as large in fragments of 64 KiB': fine(
      frame(more, opcode.binary),
      ...Array.from({ length: maxMessageBytes / 65_536 }, () =>
        frame(more, opcode.continuation, Buffer.alloc(65_536, 7)),
      ),
      frame(last, opcode.continuation),
    ),
    'a length of 2^63': wrong(1009, Buffer.from([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4])),
  },
  'permessage-deflate': {
    'is agreed on': deflate('permessage-deflate', frame(last | rsv1, opcode.text, deflated('Hello, Hello'))),
    'with uncompressed messages': deflate('permessage-deflate', text('plain')),
    'of several messages with one window': deflate(
      'permessage-deflate; client_no_context_takeover; server_no_context_takeover',
      frame(last | rsv1, opcode.text, deflated('the first')),
      frame(last | rsv1, opcode.text, deflated('the first')),
    ),
    'with smaller windows': deflate(
      'permessage-deflate; server_max_window_bits=10; client_max_window_bits',
      frame(last | rsv1, opcode.binary, deflated('x'.repeat(5_000))),
    ),
    'of a fragmented message': deflate(
      'permessage-deflate',
      frame(more | rsv1, opcode.text, deflated('in two').subarray(0, 3)),
      frame(last, opcode.ping, 'between'),
      frame(last, opcode.continuation, deflated('in two').subarray(3)),
    ),
    'of which the second offer is taken': deflate(
      'x-webkit-deflate-frame, permessage-deflate',
      text('plain'),
    ),
    'that is damaged': {
      ...wrong(1007, frame(last | rsv1, opcode.text, Buffer.from([0xff, 0xff, 0xff, 0xff]))),
      offer: 'permessage-deflate',
    },
    'that inflates beyond the limit': {
      ...wrong(1009, frame(last | rsv1, opcode.text, deflated('x'.repeat(maxMessageBytes + 1)))),
      offer: 'permessage-deflate',
    },
  },
};

/** The close frame among a server's frames, as far as they are whole. */
function closeIn(bytes: Buffer): { readonly code: number | 'none' } | undefined {
  for (let at = 0; at + 2 <= bytes.length;) {
    const short = bytes[at + 1]! & 0x7f;
    const headBytes = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (at + headBytes > bytes.length) return undefined;
    const length =
      short < 126
        ? short
        : short === 126
          ? bytes.readUInt16BE(at + 2)
          : Number(bytes.readBigUInt64BE(at + 2));
    const end = at + headBytes + length;
    if (end > bytes.length) return undefined;
    if ((bytes[at]! & 0x0f) === opcode.close)
      return { code: length < 2 ? 'none' : bytes.readUInt16BE(at + headBytes) };
    at = end;
  }
  return undefined;
}

interface Outcome {
  readonly bytes: Buffer;
  readonly closes: number | 'none' | undefined;
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** All that comes back until the server has closed. @param cut how many bytes are sent at a time */
async function play(way: Way, { sends, offer }: Case, cut: number): Promise<Outcome> {
  const socket: Socket = ways.connect(way);
  const chunks: Buffer[] = [];
  let bytes: Buffer = Buffer.alloc(0);
  let closes: Outcome['closes'];
  const done = new Promise((resolve) => socket.once('close', resolve));
  socket.on('error', () => undefined);
  socket.on('end', () => socket.end());
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    if (closes !== undefined) return;
    bytes = Buffer.concat(chunks);
    const bodyAt = bytes.indexOf('\r\n\r\n') + 4;
    closes = bodyAt < 4 ? undefined : closeIn(bytes.subarray(bodyAt))?.code;
    // Who was told that it is over, and has said so itself or never can, ends.
    if (closes !== undefined) socket.end();
  });
  const extensions = offer === undefined ? '' : `Sec-WebSocket-Extensions: ${offer}\r\n`;
  socket.write(
    `GET ${ways.prefix(way)}/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${extensions}\r\n`,
  );
  const all = Buffer.concat(sends);
  for (let at = 0; at < all.length && closes === undefined && socket.writable; at += cut) {
    socket.write(all.subarray(at, at + cut));
    await nextTurn();
  }
  await done;
  return { bytes: Buffer.concat(chunks), closes };
}

/** Whole, and, where that is not long, byte by byte. */
function cutsOf({ sends }: Case): number[] {
  const bytes = sends.reduce((sum, { length }) => sum + length, 0);
  return bytes <= 300 ? [bytes, 1] : [bytes, 10_007];
}

describe.each(Object.entries(classes))('WebSocket cases of the class "%s"', (_name, cases) => {
  test.each(Object.entries(cases))('%s', async (_what, each) => {
    for (const cut of cutsOf(each)) {
      const straight = await play('straight', each, cut);
      expect(straight.bytes.toString('latin1')).toMatch(/^HTTP\/1\.1 101 /);
      expect(straight.closes).toBe(each.closes);
      for (const way of ['direct', 'tunnelled'] as const) {
        const { bytes } = await play(way, each, cut);
        expect(bytes.equals(straight.bytes), `${way}, ${cut} bytes at a time`).toBe(true);
      }
    }
  });
});

test.each<Way>(['direct', 'tunnelled'])(
  'M-D2: an unmodified client agrees with the server of an app on compression, %s',
  async (way) => {
    const socket = new WebSocket(`ws://127.0.0.1:${ways.port(way)}${ways.prefix(way)}/`);
    await new Promise((resolve) => socket.once('open', resolve));
    expect(socket.extensions).toBe('permessage-deflate');
    const said = 'again and '.repeat(10_000);
    const answer = new Promise<string>((resolve) =>
      socket.once('message', (data: Buffer) => resolve(data.toString())),
    );
    socket.send(said);
    expect(await answer).toBe(said);
    const closed = new Promise((resolve) => socket.once('close', (code) => resolve(code)));
    socket.close(4321, 'enough');
    expect(await closed).toBe(4321);
  },
);
