// What a client sees of TLS and HTTP/2, on a real gateway with an app behind it, and certificates of the gateway's own.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import {
  connect as connectHttp2,
  constants,
  type ClientHttp2Session,
  type ClientHttp2Stream,
} from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { connect as connectTcp, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { serverLimits } from './config.ts';
import { Http2Sessions } from './http2/sessions.ts';
import { Harness, workloadOf } from './testing/harness.ts';

let harness: Harness;
let app: Server;
let serve: RequestListener;
let authority: Buffer;
const sessions: ClientHttp2Session[] = [];

beforeEach(async () => {
  serve = (_request, response) => response.end('ok');
  app = createServer((request, response) => serve(request, response)).listen(0, '127.0.0.1');
  await once(app, 'listening');
  harness = new Harness();
  harness.config = { tls: { port: 0 } };
  await harness.start();
  authority = readFileSync(join(harness.root, 'tls', 'ca.pem'));
  harness.deploy(workloadOf('site', { kind: 'app' }));
  const { port } = app.address() as AddressInfo;
  harness.announce('i-plain', 'site', { runDirectory: harness.root, mode: 'tcp', port });
});
afterEach(async () => {
  for (const session of sessions.splice(0)) session.destroy();
  app.closeAllConnections();
  app.close();
  await harness.dispose();
});

const host = 'site.acme.localhost';

function tls(options: ConnectionOptions = {}): TLSSocket {
  return connectTls({
    host: '127.0.0.1',
    port: harness.tlsPort,
    servername: host,
    ca: authority,
    ...options,
  });
}

/** A connection of HTTP/2 that checked the certificate of the app's host. */
function http2(): ClientHttp2Session {
  const session = connectHttp2(`https://${host}:${harness.tlsPort}`, {
    ca: authority,
    // What a test sends at once is counted, too.
    maxSessionMemory: 100,
    createConnection: () => tls({ ALPNProtocols: ['h2'] }),
  });
  session.on('error', () => undefined);
  sessions.push(session);
  return session;
}

interface Http2Answer {
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
  readonly trailers: Readonly<Record<string, unknown>>;
}

async function answerOf(stream: ClientHttp2Stream): Promise<Http2Answer> {
  let trailers = {};
  stream.on('trailers', (received) => (trailers = received));
  const heard = once(stream, 'response') as Promise<[Record<string, unknown>]>;
  let body = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
  const [[headers]] = await Promise.all([heard, once(stream, 'end')]);
  return { headers, body, trailers };
}

const echo: RequestListener = (request, response) => {
  let body = '';
  request.on('data', (chunk: Buffer) => (body += chunk.toString()));
  request.on('end', () =>
    response.end(
      JSON.stringify({ method: request.method, url: request.url, headers: request.headers, body }),
    ),
  );
};

describe('TLS', () => {
  test('a client that trusts the authority reaches an app by its host, which is told that it came by https', async () => {
    serve = echo;
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const options = { host: '127.0.0.1', port: harness.tlsPort, servername: host, ca: authority };
      const headers = { host: `${host}:${harness.tlsPort}` };
      httpsRequest({ ...options, headers, path: '/x', agent: false }, resolve)
        .on('error', reject)
        .end();
    });
    let body = '';
    for await (const chunk of answer) body += String(chunk);
    expect(JSON.parse(body)).toMatchObject({
      url: '/x',
      headers: { 'x-forwarded-proto': 'https', 'x-forwarded-port': String(harness.tlsPort) },
    });
  });

  test('a function is served over it as in the clear, and its event says so', async () => {
    const code = 'exports.handler = async (event) => event.headers';
    harness.deploy(workloadOf('fn'));
    await harness.startInstance('fn', { 'index.js': code });
    const socket = tls({ servername: 'fn.acme.localhost' });
    socket.write('GET / HTTP/1.1\r\nHost: fn.acme.localhost\r\nConnection: close\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    expect(text).toMatch(/^HTTP\/1\.1 200 OK/);
    expect(text).toContain('"x-forwarded-proto":"https"');
  });

  test.each(['TLSv1', 'TLSv1.1'] as const)('%s is refused, and the next client served', async (version) => {
    const socket = tls({ minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' });
    await expect(once(socket, 'secureConnect')).rejects.toThrow();
    expect((await answerOf(http2().request({ ':path': '/' }))).body).toBe('ok');
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('%s is taken', async (version) => {
    const socket = tls({ minVersion: version, maxVersion: version });
    await once(socket, 'secureConnect');
    expect(socket.getProtocol()).toBe(version);
    socket.destroy();
  });

  test('each client gets the protocol that it asked for', async () => {
    for (const [asked, got] of [
      [['h2', 'http/1.1'], 'h2'],
      [['http/1.1'], 'http/1.1'],
      [undefined, false],
    ] as const) {
      const socket = tls(asked === undefined ? {} : { ALPNProtocols: [...asked] });
      await once(socket, 'secureConnect');
      expect(socket.alpnProtocol).toBe(got);
      socket.destroy();
    }
  });

  test('who speaks plain HTTP to it is told so, whoever speaks neither is ended, and the next client is served', async () => {
    const answer = await fetch(`http://127.0.0.1:${harness.tlsPort}/`);
    expect([answer.status, await answer.json()]).toMatchObject([
      400,
      { error: { code: 'BadRequest', message: expect.stringContaining('HTTPS') } },
    ]);
    for (const bytes of [[0], [22, 9, 9, 9, 9, 9], []]) {
      const socket = connectTcp(harness.tlsPort, '127.0.0.1');
      socket.on('error', () => undefined);
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.resume().end(Buffer.from(bytes));
      await closed;
    }
    expect((await answerOf(http2().request({ ':path': '/' }))).body).toBe('ok');
  });

  test('a WebSocket to an app that would be handed it is tunnelled, and counted as such', async () => {
    harness.gone('i-plain', 'site', 'makes room');
    const id = await harness.startInstance(
      'site',
      {
        'server.js': `
          const server = require('http').createServer().listen(process.env.PORT);
          server.on('upgrade', (request, socket) => {
            const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
            const accept = require('crypto').createHash('sha1').update(key).digest('base64');
            socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n' +
              'Sec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n');
            const text = request.headers['x-forwarded-proto'];
            socket.write(Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]));
            socket.on('end', () => socket.end()).resume();
          });`,
      },
      { argv: ['server.js'] },
    );
    const socket = new WebSocket(`wss://${host}:${harness.tlsPort}/`, {
      ca: authority,
      createConnection: () => tls(),
    });
    const [message] = (await once(socket, 'message')) as [Buffer];
    expect(message.toString()).toBe('https');
    await expect.poll(() => harness.agentCalls).toContain(`tunnels ${id} 1 0 0`);
    socket.terminate();
    await expect.poll(() => harness.agentCalls).toContain(`tunnels ${id} 0 1 0`);
  });
});

describe('HTTP/2', () => {
  test('requests reach an app as HTTP/1.1: one Host, one Cookie, nothing that is for one hop', async () => {
    serve = echo;
    const stream = http2().request(
      {
        ':method': 'POST',
        ':path': '/a?b=c',
        cookie: ['a=1', 'b=2'],
        te: 'trailers',
        'x-forwarded-for': '1.2.3.4',
      },
      { endStream: false },
    );
    stream.end('hello');
    const { headers, body } = await answerOf(stream);
    expect(headers[':status']).toBe(200);
    expect(headers).not.toHaveProperty('connection');
    const seen = JSON.parse(body) as { headers: Record<string, string> };
    expect(seen).toMatchObject({ method: 'POST', url: '/a?b=c', body: 'hello' });
    expect(seen.headers).toMatchObject({
      host: `${host}:${harness.tlsPort}`,
      cookie: 'a=1; b=2',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'https',
      'transfer-encoding': 'chunked',
    });
    expect(seen.headers).not.toHaveProperty('te');
  });

  test('trailers go both ways, repeated headers stay apart, and hints come before the answer', async () => {
    serve = (request, response) => {
      response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      request.resume().on('end', () => {
        response.writeHead(200, ['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'Trailer', 'X-Sum']);
        response.write('body');
        response.addTrailers({ 'X-Sum': `got ${request.trailers['x-in']}` });
        response.end();
      });
    };
    const stream = http2().request(
      { ':method': 'POST', ':path': '/', trailer: 'x-in' },
      { waitForTrailers: true },
    );
    const hints = once(stream, 'headers');
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-in': 'yes' }));
    stream.end('x');
    const answer = await answerOf(stream);
    expect((await hints)[0]).toMatchObject({ ':status': 103, link: '</a.css>; rel=preload' });
    expect(answer.headers['set-cookie']).toEqual(['a=1', 'b=2']);
    expect(answer.body).toBe('body');
    expect(answer.trailers).toMatchObject({ 'x-sum': 'got yes' });
  });

  test('HEAD, answers without a body, and Expect', async () => {
    serve = (request, response) => {
      if (request.method === 'HEAD') response.writeHead(200, { 'Content-Length': '5' }).end();
      else response.writeHead(204).end();
    };
    app.on('checkContinue', (request: IncomingMessage, response) => {
      response.writeContinue();
      request.pipe(response);
    });
    const session = http2();
    expect((await answerOf(session.request({ ':method': 'HEAD' }))).headers).toMatchObject({
      'content-length': '5',
    });
    expect((await answerOf(session.request({ ':path': '/' }))).headers[':status']).toBe(204);
    const stream = session.request({ ':method': 'POST', expect: '100-continue' });
    await once(stream, 'continue');
    stream.end('continued');
    expect((await answerOf(stream)).body).toBe('continued');
    const other = session.request({ ':method': 'POST', expect: 'cake' });
    expect((await answerOf(other)).headers[':status']).toBe(400);
  });

  test('large bodies go both ways at once, over many streams of one connection', async () => {
    serve = (request, response) => void request.pipe(response);
    const session = http2();
    const size = 4 * 1024 * 1024;
    const answers = Array.from({ length: 8 }, async (_, index) => {
      const stream = session.request({ ':method': 'POST', ':path': '/' });
      stream.end(Buffer.alloc(size, index));
      const chunks: Buffer[] = [];
      for await (const chunk of stream) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks).equals(Buffer.alloc(size, index));
    });
    expect(await Promise.all(answers)).toEqual(answers.map(() => true));
  });

  test('a client that reads slowly holds the app back, not the memory of the gateway', async () => {
    let written = 0;
    const end = 64 * 1024 * 1024;
    serve = (_request, response) => {
      const more = (): void => {
        while (written < end) {
          written += 65_536;
          if (!response.write(Buffer.alloc(65_536))) {
            response.once('drain', more);
            return;
          }
        }
        response.end();
      };
      more();
    };
    const stream = http2().request({ ':path': '/' });
    await once(stream, 'response');
    let before = -1;
    await expect
      .poll(
        () => {
          const still = written === before;
          before = written;
          return still;
        },
        { interval: 300, timeout: 20_000 },
      )
      .toBe(true);
    expect(written).toBeLessThan(end);
  });

  test('a request that is taken back ends at the app, and half an answer is no whole one', async () => {
    let closed = 0;
    serve = (request, response) => {
      response.on('close', () => (closed += 1));
      response.write('begun');
      if (request.url === '/break') setTimeout(() => response.destroy(), 50);
    };
    const session = http2();
    const stream = session.request({ ':path': '/' });
    await once(stream, 'data');
    stream.close(constants.NGHTTP2_CANCEL);
    await expect.poll(() => closed).toBe(1);
    const broken = session.request({ ':path': '/break' });
    await expect(answerOf(broken)).rejects.toThrow(/NGHTTP2_INTERNAL_ERROR/);
    serve = (_request, response) => response.end('still here');
    expect((await answerOf(session.request({ ':path': '/' }))).body).toBe('still here');
  });

  test("a function's URL is served, and its event says by which protocol", async () => {
    harness.deploy(workloadOf('fn'));
    const code = 'exports.handler = async ({ body, requestContext: { http } }) => ({ body, http })';
    await harness.startInstance('fn', { 'index.js': code });
    const stream = http2().request({
      ':method': 'POST',
      ':path': '/w/acme/fn/x',
      ':authority': 'localhost',
      'content-type': 'text/plain',
    });
    stream.end('hello');
    expect(JSON.parse((await answerOf(stream)).body)).toMatchObject({
      body: 'hello',
      http: { method: 'POST', path: '/x', protocol: 'HTTP/2.0', sourceIp: '127.0.0.1' },
    });
  });

  test('an upload to a function that drips is answered 408, and the connection goes on', async () => {
    harness.deploy(workloadOf('fn'));
    harness.config = { tls: { port: 0 }, bodyFloor: { graceMs: 500, bytesPerSecond: 1_000_000_000 } };
    await harness.restartGateway();
    const session = http2();
    const stream = session.request({ ':method': 'POST', ':path': '/w/acme/fn/', ':authority': 'localhost' });
    const dripping = setInterval(() => stream.writable && stream.write('x'), 100);
    stream.on('close', () => clearInterval(dripping));
    expect((await answerOf(stream)).headers[':status']).toBe(408);
    expect((await answerOf(session.request({ ':path': '/' }))).body).toBe('ok');
  });

  test.each([
    ['two hosts', { ':path': '/', ':authority': host, host: 'other.acme.localhost' }],
    ['a path with a blank', { ':path': '/a b' }],
    ['CONNECT', { ':method': 'CONNECT', ':authority': host }],
  ])('%s is refused, and reaches no app', async (_, headers) => {
    let reached = false;
    serve = () => (reached = true);
    const session = http2();
    const stream = session.request(headers);
    const refused = await answerOf(stream).then(
      (answer) => answer.headers[':status'],
      () => 'reset',
    );
    expect([400, 405, 'reset']).toContain(refused);
    expect(reached).toBe(false);
  });

  test('a client that opens and takes back without end is sent away, and others are served', async () => {
    serve = () => undefined;
    const session = http2();
    await once(session, 'remoteSettings');
    let gone = false;
    session.on('close', () => (gone = true));
    const flood = (): void => {
      for (let n = 0; n < 100 && !gone; n += 1) {
        const stream = session.request({ ':path': '/' });
        stream.on('error', () => undefined);
        stream.close(constants.NGHTTP2_CANCEL);
      }
      if (!gone) setImmediate(flood);
    };
    flood();
    await expect.poll(() => gone, { timeout: 20_000 }).toBe(true);
    serve = (_request, response) => response.end('served');
    expect((await answerOf(http2().request({ ':path': '/' }))).body).toBe('served');
  });

  test('more streams than are allowed at once wait, and headers beyond the limit are refused', async () => {
    const session = http2();
    const [settings] = (await once(session, 'remoteSettings')) as [{ maxConcurrentStreams: number }];
    expect(settings).toMatchObject({
      maxConcurrentStreams: 128,
      maxHeaderListSize: serverLimits.maxHeaderBytes,
    });
    const stream = session.request({ ':path': '/', 'x-large': 'x'.repeat(2 * serverLimits.maxHeaderBytes) });
    const refused = await answerOf(stream).then(
      (answer) => answer.headers[':status'],
      () => 'reset',
    );
    expect(['reset', 431]).toContain(refused);
    expect((await answerOf(http2().request({ ':path': '/' }))).body).toBe('ok');
  });

  test('while the gateway leaves, a client is served once more and told to go, and what else is under way is finished', async () => {
    let answerNow = (): void => undefined;
    serve = (request, response) => {
      if (request.url !== '/long') return response.end('last');
      answerNow = () => response.end('long');
      return response.flushHeaders();
    };
    const session = http2();
    const long = session.request({ ':path': '/long' });
    const answer = answerOf(long);
    await once(long, 'response');
    void harness.gateway.leave();
    const goes = once(session, 'goaway');
    const closed = once(session, 'close');
    const last = Array.from({ length: 5 }, () => answerOf(session.request({ ':path': '/' })));
    for (const each of await Promise.all(last)) expect(each.body).toBe('last');
    await goes;
    answerNow();
    expect((await answer).body).toBe('long');
    await closed;
  });

  test('when the gateway stops, what is under way is finished', async () => {
    let answerNow = (): void => undefined;
    serve = (_request, response) => {
      response.write('first,');
      answerNow = () => response.end('last');
    };
    const session = http2();
    const stream = session.request({ ':path': '/' });
    const answer = answerOf(stream);
    await once(stream, 'data');
    const stopped = harness.gateway.stop(20_000);
    await once(session, 'goaway');
    answerNow();
    expect((await answer).body).toBe('first,last');
    await stopped;
  });
});

test('a connection of HTTP/2 on which nothing was asked for, or nothing more is, is ended', async () => {
  let nowMs = 0;
  const opened = new Http2Sessions(
    (_request, response) => response.end('ok'),
    () => nowMs,
  );
  const server = createServer().removeAllListeners('connection');
  server.on('connection', (socket) => opened.take(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const open = (): ClientHttp2Session => {
    const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    sessions.push(session);
    return session;
  };
  const silent = open();
  const asking = open();
  await answerOf(asking.request({ ':path': '/' }));
  await expect.poll(() => opened.size).toBe(2);
  const closed = once(silent, 'close');
  nowMs += serverLimits.headersTimeoutMs + 1;
  opened.sweep();
  await closed;
  await expect.poll(() => opened.size).toBe(1);
  expect((await answerOf(asking.request({ ':path': '/' }))).body).toBe('ok');
  const gone = once(asking, 'close');
  const told = once(asking, 'goaway');
  nowMs += serverLimits.keepAliveTimeoutMs + 1;
  opened.sweep();
  const [code, lastStream] = (await told) as [number, number];
  // What is on its way when it is told is served.
  expect([code, lastStream]).toEqual([constants.NGHTTP2_NO_ERROR, 2 ** 31 - 1]);
  await gone;

  // Who has just asked, or asks still, has some seconds when another gateway serves; who idles has them from then on.
  const idle = open();
  await answerOf(idle.request({ ':path': '/' }));
  opened.leave();
  nowMs += serverLimits.leavingKeepAliveMs;
  opened.sweep();
  expect([opened.size, idle.closed]).toEqual([1, false]);
  const ended = once(idle, 'close');
  nowMs += 1;
  opened.sweep();
  await ended;
  await expect.poll(() => opened.size).toBe(0);
  opened.closeAll();
  server.close();
});
