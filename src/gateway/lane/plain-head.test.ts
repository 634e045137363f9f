// The lane's reading of a head against node:http's: whatever the lane takes, node:http sees the very same request.
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import fc from 'fast-check';
import { readPlainHead } from './plain-head.ts';
import { serverLimits } from '../config.ts';

interface Seen {
  readonly method: string;
  readonly target: string;
  readonly raw: readonly string[];
  readonly body: string;
  readonly keepAlive: boolean;
}

let server: Server;
let seen: Promise<Seen>[] = [];
let bodiesComplete = true;

async function read(request: IncomingMessage): Promise<Seen> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  bodiesComplete &&= request.complete;
  return {
    method: request.method ?? '',
    target: request.url ?? '',
    raw: request.rawHeaders,
    body: Buffer.concat(chunks).toString('latin1'),
    keepAlive: request.headers.connection?.toLowerCase() !== 'close',
  };
}

beforeAll(async () => {
  server = createServer(
    { maxHeaderSize: serverLimits.maxHeaderBytes, requireHostHeader: false },
    (request, response) => {
      const whole = read(request);
      seen.push(whole);
      void whole.finally(() => response.end());
    },
  );
  for (const event of ['upgrade', 'connect'] as const)
    server.on(event, (_request, socket) => socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

/** What node:http makes of these bytes when the client then ends; `refused` when something in them is no HTTP to it. */
async function byNode(bytes: Buffer): Promise<{ readonly requests: Seen[]; readonly refused: boolean }> {
  seen = [];
  bodiesComplete = true;
  let refused = false;
  const onError = (_error: Error, socket: { destroy(): void }): void => {
    refused = true;
    socket.destroy();
  };
  server.on('clientError', onError);
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => undefined).resume();
  socket.end(bytes);
  await once(socket, 'close');
  server.off('clientError', onError);
  const requests = await Promise.allSettled(seen);
  return {
    requests: requests.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : [])),
    refused: refused || !bodiesComplete,
  };
}

/** What the lane takes of these bytes, one request after the other, and how many bytes of them. */
function byLane(bytes: Buffer): { readonly requests: Seen[]; readonly taken: number } {
  const requests: Seen[] = [];
  let taken = 0;
  let earlier: Parameters<typeof readPlainHead>[1];
  for (;;) {
    const rest = bytes.subarray(taken);
    const head = readPlainHead(rest.toString('latin1'), earlier);
    if (head === undefined || head.bytes + head.headers.contentLength > rest.length) break;
    earlier = head;
    const end = head.bytes + head.headers.contentLength;
    requests.push({
      method: head.method,
      target: head.target,
      raw: head.headers.raw,
      body: rest.toString('latin1', head.bytes, end),
      keepAlive: head.headers.keepAlive,
    });
    taken += end;
    if (!head.headers.keepAlive) break;
  }
  return { requests, taken };
}

async function expectSame(bytes: Buffer): Promise<number> {
  const { requests, taken } = byLane(bytes);
  if (requests.length === 0) return 0;
  // Only what the lane has taken: what follows is given to node:http as it is.
  const node = await byNode(bytes.subarray(0, taken));
  expect(node).toEqual({ requests, refused: false });
  return requests.length;
}

const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}$/);
const anyText = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 12,
});
const visible = fc.stringMatching(/^[!-~]{0,20}$/);
const target = fc.oneof(
  { weight: 4, arbitrary: fc.webPath().map((path) => path || '/') },
  { weight: 4, arbitrary: visible.map((text) => `/${text}`) },
  visible,
  anyText.map((text) => `/${text}`),
);
const name = fc.oneof(
  { weight: 8, arbitrary: token },
  fc.constantFrom(
    'Host',
    'Content-Length',
    'content-length',
    'Transfer-Encoding',
    'Connection',
    'Keep-Alive',
    'Expect',
    'Upgrade',
    'Proxy-Connection',
    'TE',
    'Cookie',
    'X-Amz-Date',
    'Content-Length ',
    ' Host',
  ),
  anyText,
);
const value = fc.oneof(
  { weight: 8, arbitrary: visible.map((text) => text || 'v') },
  anyText,
  fc.constantFrom(
    'close',
    'keep-alive',
    'Close',
    'keep-alive, close',
    'chunked',
    '0',
    '3',
    '03',
    '+3',
    '3, 3',
    'a b',
    'a\tb',
    ' a',
    'a ',
    '',
  ),
);
const header = fc
  .tuple(name, fc.constantFrom(': ', ':', ':  ', ' : ', ':\t'), value)
  .map((parts) => parts.join(''));
const lineEnd = fc.oneof(
  { weight: 300, arbitrary: fc.constant('\r\n') },
  fc.constantFrom('\n', '\r', '\r\n ', '\r\r\n', '\0\r\n'),
);
const method = fc.oneof(
  { weight: 50, arbitrary: fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS') },
  fc.constantFrom('HEAD', 'CONNECT', 'get', 'PRI', 'M-SEARCH', '', ' GET', '\r\nGET'),
);
const version = fc.oneof(
  { weight: 80, arbitrary: fc.constant('HTTP/1.1') },
  fc.constantFrom('HTTP/1.0', 'HTTP/1.2', 'http/1.1', 'HTTP/2.0', 'HTTP/1.1 ', ''),
);

/** Mostly well formed, so that many are taken, with something strange here and there. */
const request = fc
  .record({
    method,
    target,
    version,
    host: fc.constantFrom('Host: fn.acme.localhost', 'host:x', 'Host: a:1'),
    headers: fc.array(header, { maxLength: 4 }),
    body: fc.oneof(fc.constant(undefined), visible),
    ends: fc.array(lineEnd, { minLength: 8, maxLength: 8 }),
  })
  .map(({ method: verb, target: path, version: protocol, host, headers, body, ends }) => {
    const lines = [`${verb} ${path} ${protocol}`, host, ...headers];
    if (body !== undefined) lines.push(`Content-Length: ${body.length}`);
    return `${lines.map((line, index) => line + (ends[index] ?? '\r\n')).join('')}\r\n${body ?? ''}`;
  });

/** A plain request whose bytes were changed in a few places. */
const mutated = fc
  .tuple(
    fc.constantFrom(
      'GET /a?b=c HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n',
      'POST /w/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc',
    ),
    fc.array(
      fc.record({
        at: fc.nat({ max: 80 }),
        cut: fc.nat({ max: 3 }),
        put: fc.oneof(
          fc.constantFrom('\r\n', '\n', '\r', '\0', ' ', '\t', ':', '\r\n\r\n', 'Host: y\r\n', '0'),
          anyText,
        ),
      }),
      { minLength: 1, maxLength: 3 },
    ),
  )
  .map(([text, changes]) =>
    changes.reduce<string>(
      (soFar, { at, cut, put }) => soFar.slice(0, at) + put + soFar.slice(at + cut),
      text,
    ),
  );

describe('what the lane takes is what node:http sees', () => {
  test('of random requests, one or more in a row', async () => {
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 3 }), async (requests) => {
        taken += await expectSame(Buffer.from(requests.join(''), 'latin1'));
      }),
      { numRuns: 1500 },
    );
    // Otherwise it would show nothing.
    expect(taken).toBeGreaterThan(300);
  });

  test('of plain requests with some bytes changed', async () => {
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(mutated, async (text) => {
        taken += await expectSame(Buffer.from(text, 'latin1'));
      }),
      { numRuns: 1500 },
    );
    expect(taken).toBeGreaterThan(50);
  });

  test('of every single byte in a method, a target, a name and a value', async () => {
    let taken = 0;
    for (let code = 0; code < 256; code += 1) {
      const character = String.fromCharCode(code);
      for (const text of [
        `G${character}T / HTTP/1.1\r\nHost: x\r\n\r\n`,
        `GET /a${character}b HTTP/1.1\r\nHost: x\r\n\r\n`,
        `GET / HTTP/1.1\r\nHost: x\r\nA${character}B: c\r\n\r\n`,
        `GET / HTTP/1.1\r\nHost: x\r\nA: b${character}c\r\n\r\n`,
      ])
        taken += await expectSame(Buffer.from(text, 'latin1'));
    }
    expect(taken).toBeGreaterThan(200);
  });
});

const plain = 'POST /w/acme/site/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n';

describe('left to node:http', () => {
  test.each<[string, string]>([
    ['a head that is not whole', 'GET / HTTP/1.1\r\nHost: x\r\n'],
    ['no header at all', 'GET / HTTP/1.1\r\n\r\n'],
    ['no Host', 'GET / HTTP/1.1\r\nA: b\r\n\r\n'],
    ['two Hosts', 'GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n'],
    ['HTTP/1.0', 'GET / HTTP/1.0\r\nHost: x\r\n\r\n'],
    ['HEAD', 'HEAD / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['the absolute form', 'GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a fragment', 'GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['two blanks in the request line', 'GET  / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['an empty line before', '\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a bare line feed', 'GET / HTTP/1.1\nHost: x\r\n\r\n'],
    ['a line feed in a header', 'GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n'],
    ['a folded header', `${plain}A: b\r\n c\r\n\r\nxx`],
    ['a blank before the colon', `${plain}A : b\r\n\r\nxx`],
    ['two lengths', `${plain}Content-Length: 2\r\n\r\nxx`],
    ['a length and a coding', `${plain}Transfer-Encoding: chunked\r\n\r\nxx`],
    ['a coding alone', 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n'],
    ['a list of lengths', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\nxx'],
    ['a signed length', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\nxx'],
    ['a length in hexadecimal', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2\r\n\r\nxx'],
    ['an expectation', `${plain}Expect: 100-continue\r\n\r\nxx`],
    ['an upgrade', `${plain}Connection: upgrade\r\nUpgrade: websocket\r\n\r\nxx`],
    ['an upgrade that Connection does not name', `${plain}Upgrade: websocket\r\n\r\nxx`],
    ['a list in Connection', `${plain}Connection: keep-alive, X-A\r\n\r\nxx`],
    ['two Connections', `${plain}Connection: keep-alive\r\nConnection: close\r\n\r\nxx`],
    ['an empty value', `${plain}A:\r\n\r\nxx`],
    ['a byte above ASCII', `${plain}A: \xe4\r\n\r\nxx`],
    ['too many headers', `${plain}${'A: b\r\n'.repeat(200)}\r\nxx`],
    ['a head that is too large', `${plain}A: ${'b'.repeat(20_000)}\r\n\r\nxx`],
  ])('%s', (_what, text) => {
    expect(readPlainHead(text, undefined)).toBeUndefined();
  });
});

test('headers that are repeated are the same block, others are read anew', () => {
  const first = readPlainHead('GET /a HTTP/1.1\r\nHost: x\r\n\r\n', undefined);
  expect(readPlainHead('GET /a HTTP/1.1\r\nHost: x\r\n\r\nmore', first)).toBe(first);
  const again = readPlainHead('GET /b HTTP/1.1\r\nHost: x\r\n\r\n', first);
  expect(again?.headers).toBe(first?.headers);
  expect(again?.target).toBe('/b');
  const other = readPlainHead('GET /b HTTP/1.1\r\nHost: y\r\n\r\n', first);
  expect(other?.headers.host).toBe('y');
});
