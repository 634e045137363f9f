// What a client of an app sees at the edges of HTTP/1.1, byte by byte: heads before the answer, the ends of messages,
// what is refused because it can be read in two ways, and what goes on when one side is slow or gone.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Harness, workloadOf } from './testing/harness.ts';

let harness: Harness;
let server: Server;
let serve: RequestListener;
/** What the app was asked, in order. */
let asked: string[];
const clients: Socket[] = [];

beforeEach(async () => {
  asked = [];
  serve = (_request, response) => response.end('ok');
  server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    serve(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  harness = await new Harness().start();
  harness.deploy(workloadOf('site', { kind: 'app' }));
  const { port } = server.address() as AddressInfo;
  harness.announce('i-plain', 'site', { runDirectory: harness.root, mode: 'tcp', port });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  server.closeAllConnections();
  server.close();
  await harness.dispose();
});

interface Client {
  readonly socket: Socket;
  /** Everything that came so far. */
  readonly text: () => string;
  readonly ended: Promise<unknown>;
}

function open(bytes: string): Client {
  const socket = connect({ port: harness.port, host: '127.0.0.1', allowHalfOpen: true });
  clients.push(socket);
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk));
  socket.on('error', () => undefined);
  const ended = Promise.race([once(socket, 'end'), once(socket, 'close')]);
  socket.write(bytes, 'latin1');
  return { socket, text: () => text, ended };
}

async function answerTo(bytes: string): Promise<string> {
  const { text, ended } = open(bytes);
  await ended;
  return text();
}

const get = (headers = ''): string =>
  `GET /w/acme/site/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n`;
const post = (headers: string, body = ''): string =>
  `POST /w/acme/site/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n${body}`;

describe('before the answer', () => {
  test('early hints reach the client before the answer, with their links', async () => {
    let answerNow = (): void => undefined;
    serve = (_request, response) => {
      response.writeEarlyHints({
        link: ['</a.css>; rel=preload; as=style', '</b.js>; rel=preload; as=script'],
      });
      answerNow = () => response.end('page');
    };
    const client = open(get());
    await expect
      .poll(client.text)
      .toMatch(/^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>[^\r]*<\/b\.js>[^\r]*\r\n\r\n$/i);
    answerNow();
    await client.ended;
    expect(client.text()).toMatch(/\r\n\r\nHTTP\/1\.1 200 OK\r\n[^]*page$/);
  });

  test('a client of HTTP/1.0 hears nothing but the answer', async () => {
    serve = (_request, response) => {
      response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      response.end('page');
    };
    const answer = await answerTo('GET /w/acme/site/ HTTP/1.0\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer).not.toContain('103');
  });

  test('an app that answers without waiting for the body it was to wait for has its answer seen', async () => {
    server.on('checkContinue', (_request: IncomingMessage, response) => {
      response.writeHead(403, { 'Content-Length': '2' }).end('no');
    });
    const client = open(post('Expect: 100-continue\r\nContent-Length: 5\r\n'));
    await expect.poll(client.text).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n[^]*no$/);
    expect(client.text()).not.toContain('100 Continue');
  });
});

describe('where messages end', () => {
  test('chunks of a request reach the app one by one, and its answer the client before the last of them', async () => {
    serve = (request, response) => {
      response.flushHeaders();
      request.on('data', (chunk: Buffer) => response.write(`<${chunk.toString()}>`));
      request.on('end', () => response.end());
    };
    const client = open(post('Transfer-Encoding: chunked\r\n'));
    for (const word of ['one', 'three']) {
      client.socket.write(`${word.length.toString(16)}\r\n${word}\r\n`);
      await expect.poll(client.text).toContain(`<${word}>`);
    }
    client.socket.write('0\r\n\r\n');
    await client.ended;
    expect(client.text()).toMatch(/0\r\n\r\n$/);
  });

  test('events are sent on one by one as an app writes them', async () => {
    let send = (_text: string): void => undefined;
    serve = (_request, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      send = (text) => response.write(`data: ${text}\n\n`);
      send('first');
    };
    const client = open(get());
    for (const text of ['first', 'second', 'third']) {
      if (text !== 'first') send(text);
      await expect.poll(client.text).toContain(`data: ${text}\n\n`);
    }
  });

  test('the answer to HEAD has the length of what is not sent, and the next answer follows', async () => {
    serve = (request, response) => {
      response.setHeader('Content-Length', '5');
      response.end(request.method === 'HEAD' ? undefined : 'whole');
    };
    const answers = await answerTo(`HEAD /w/acme/site/ HTTP/1.1\r\nHost: x\r\n\r\n${get()}`);
    expect(answers).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nHTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nwhole$/);
  });

  test('an answer without a length to a client of HTTP/1.0 ends with the connection', async () => {
    serve = (_request, response) => {
      response.write('a');
      response.end('b');
    };
    const answer = await answerTo('GET /w/acme/site/ HTTP/1.0\r\n\r\n');
    expect(answer).toMatch(/\r\n\r\nab$/);
    expect(answer).not.toMatch(/chunked/i);
  });

  test('what stands in Connection goes no further, but for what says where the body ends', async () => {
    let seen: IncomingMessage['headers'] = {};
    let body = '';
    serve = (request, response) => {
      seen = request.headers;
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => response.end());
    };
    await answerTo(
      'POST /w/acme/site/ HTTP/1.1\r\nHost: x\r\nConnection: close, Host, Content-Length, X-Hop, X-Forwarded-For\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nhi',
    );
    expect(seen).toMatchObject({ host: 'x', 'content-length': '2', 'x-forwarded-for': '127.0.0.1' });
    expect(seen).not.toHaveProperty('x-hop');
    expect(body).toBe('hi');
  });
});

describe('what can be read in two ways is refused, and no part of it reaches the app', () => {
  const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n';
  test.each([
    [
      'a length and chunks',
      post('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${smuggled}`),
    ],
    [
      'chunks and a length',
      post('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', `0\r\n\r\n${smuggled}`),
    ],
    ['two lengths', post('Content-Length: 0\r\nContent-Length: 5\r\n', smuggled)],
    ['one length, twice', post('Content-Length: 5\r\nContent-Length: 5\r\n', `hello${smuggled}`)],
    ['lengths in a list', post('Content-Length: 5, 5\r\n', `hello${smuggled}`)],
    ['a length with a sign', post('Content-Length: +5\r\n', `hello${smuggled}`)],
    ['chunks twice', post('Transfer-Encoding: chunked, chunked\r\n', `0\r\n\r\n${smuggled}`)],
    ['chunks that are not last', post('Transfer-Encoding: chunked, identity\r\n', `0\r\n\r\n${smuggled}`)],
    ['a coding nobody knows', post('Transfer-Encoding: xchunked\r\n', `0\r\n\r\n${smuggled}`)],
    ['a blank before the colon', post('Transfer-Encoding : chunked\r\n', `0\r\n\r\n${smuggled}`)],
    ['lines that end with LF alone', `GET /w/acme/site/ HTTP/1.1\nHost: x\n\n${smuggled}`],
    ['a header line that ends with LF alone', get('A: b\nC: d\r\n') + smuggled],
    ['a folded header line', get('A: b\r\n folded\r\n') + smuggled],
    ['a folded transfer coding', post('Transfer-Encoding:\r\n chunked\r\n', `0\r\n\r\n${smuggled}`)],
    ['a chunk with a bare LF', post('Transfer-Encoding: chunked\r\n', `1\na\r\n0\r\n\r\n${smuggled}`)],
    [
      'a chunk size that overflows',
      post('Transfer-Encoding: chunked\r\n', `10000000000000000\r\n${smuggled}`),
    ],
    ['a lone CR', get('A: b\rTransfer-Encoding: chunked\r\n') + smuggled],
    ['a NUL', get('A: b\0\r\n') + smuggled],
  ])('%s', async (_, bytes) => {
    const answer = await answerTo(bytes);
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(answer.match(/^HTTP\/1\.1 \d/gm)).toHaveLength(1);
    expect(asked).not.toContain('GET /smuggled');
  });
});

describe('when one side is slow, or gone', () => {
  test('a client that uploads to an app that does not read is held back', async () => {
    let reading: IncomingMessage | undefined;
    serve = (request, response) => {
      reading = request;
      request.on('end', () => response.end('all of it'));
    };
    const piece = 64 * 1024;
    const pieces = 512;
    const client = open(post(`Content-Length: ${pieces * piece}\r\n`));
    let written = 0;
    const more = (): void => {
      while (written < pieces) {
        written += 1;
        if (!client.socket.write(Buffer.alloc(piece))) {
          client.socket.once('drain', more);
          return;
        }
      }
    };
    more();
    // Until it stands still: no socket and no process on the way takes any more.
    let before = -1;
    await expect
      .poll(
        () => {
          const still = reading !== undefined && written === before;
          before = written;
          return still;
        },
        { interval: 300, timeout: 20_000 },
      )
      .toBe(true);
    expect(written).toBeLessThan(pieces);
    reading?.resume();
    await client.ended;
    expect(client.text()).toMatch(/all of it$/);
  });

  test('a client that ends its side has left: what it asked for is ended at the app', async () => {
    let broken = false;
    serve = (_request, response) => response.on('close', () => (broken = !response.writableFinished));
    const client = open(get());
    await expect.poll(() => asked.length).toBe(1);
    client.socket.end();
    await expect.poll(() => broken).toBe(true);
  });

  test('a client that leaves while it uploads ends the request at the app', async () => {
    let broken = false;
    serve = (request) => request.on('close', () => (broken = !request.complete)).resume();
    const client = open(post('Content-Length: 100\r\n', 'half'));
    await expect.poll(() => asked.length).toBe(1);
    client.socket.destroy();
    await expect.poll(() => broken).toBe(true);
  });
});
