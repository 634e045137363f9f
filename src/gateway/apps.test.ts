// What a client of an app sees, by HTTP and by WebSocket, with real runtimes and plain servers behind the gateway.
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type RequestListener,
  type Server,
} from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import type { InstanceId } from '../base/ids.ts';
import { Harness, workloadOf } from './testing/harness.ts';

let harness: Harness;
const servers: Server[] = [];
const clients: Socket[] = [];

beforeEach(async () => {
  harness = await new Harness().start({}, (request, response) =>
    response.end(`controller ${request.method} ${request.url}`),
  );
  harness.deploy(workloadOf('site', { kind: 'app' }));
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  await harness.dispose();
});

/** A plain server behind a port, as an app in any language is. */
async function plainApp(listener: RequestListener, id = 'i-plain'): Promise<Server> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  harness.announce(id, 'site', {
    runDirectory: harness.root,
    mode: 'tcp',
    port: (server.address() as AddressInfo).port,
  });
  return server;
}

const at = (path = '/'): string => `${harness.url}/w/acme/site${path}`;

/** Sends bytes as they are, and collects what comes back until the connection ends. */
function raw(...parts: (string | Buffer | number)[]): {
  readonly socket: Socket;
  readonly text: Promise<string>;
} {
  const socket = connect({ port: harness.port, host: '127.0.0.1', allowHalfOpen: true });
  clients.push(socket);
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk));
  socket.on('error', () => {});
  void (async () => {
    for (const part of parts) {
      if (typeof part === 'number') await sleep(part);
      else socket.write(part);
    }
  })();
  return {
    socket,
    text: new Promise((resolve) => socket.once('close', () => resolve(text)).once('end', () => socket.end())),
  };
}

function messages(socket: WebSocket): string[] {
  const list: string[] = [];
  socket.on('message', (data: Buffer) => list.push(data.toString()));
  return list;
}

describe('HTTP to an app', () => {
  test('M-D2: by path and by host, with where it came from and without what is for one hop', async () => {
    await plainApp((request, response) => {
      response.setHeader('Connection', 'x-secret');
      response.setHeader('X-Secret', '1');
      response.setHeader('X-Kept', '2');
      response.end(JSON.stringify({ url: request.url, headers: request.headers }));
    });
    const answer = await new Promise<IncomingMessage>((resolve) =>
      httpRequest(
        at('/a?b'),
        {
          headers: {
            Connection: 'keep-alive, x-hop',
            'X-Hop': '1',
            'X-Forwarded-For': '1.2.3.4',
            'X-Forwarded-Proto': 'https',
            Forwarded: 'for=1.2.3.4',
            'X-Forwarded-Prefix': '/evil',
            TE: 'trailers',
          },
        },
        resolve,
      ).end(),
    );
    const seen = (await new Response(Readable.toWeb(answer) as ReadableStream).json()) as {
      url: string;
      headers: Record<string, string>;
    };
    expect(seen.url).toBe('/a?b');
    expect(seen.headers).toMatchObject({
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-prefix': '/w/acme/site',
      'x-forwarded-host': `127.0.0.1:${harness.port}`,
      'x-forwarded-port': String(harness.port),
      forwarded: `for=127.0.0.1;host="127.0.0.1:${harness.port}";proto=http`,
    });
    expect(seen.headers).not.toHaveProperty('x-hop');
    expect(seen.headers).not.toHaveProperty('te');
    expect(answer.headers).toMatchObject({ 'x-kept': '2' });
    expect(answer.headers).not.toHaveProperty('x-secret');
    const byHost = await raw(
      `GET /v1/own HTTP/1.1\r\nHost: SITE.acme.localhost:${harness.port}\r\nConnection: close\r\n\r\n`,
    ).text;
    expect(byHost).toContain('"url":"/v1/own"');
    expect(byHost).not.toContain('x-forwarded-prefix');
  });

  test('large bodies go through whole, both ways at once', async () => {
    await plainApp((request, response) => {
      response.writeHead(200);
      request.pipe(response);
    });
    const size = 20 * 1024 * 1024;
    const answer = await fetch(at(), { method: 'POST', body: Buffer.alloc(size, 'x') });
    const body = Buffer.from(await answer.arrayBuffer());
    expect(body.length).toBe(size);
    expect(body.equals(Buffer.alloc(size, 'x'))).toBe(true);
  });

  test('a client that reads slowly holds the app back, not the memory of the gateway', async () => {
    let written = 0;
    await plainApp((_request, response) => {
      const more = (): void => {
        while (written < 256 * 1024 * 1024) {
          written += 65536;
          if (!response.write(Buffer.alloc(65536))) {
            response.once('drain', more);
            return;
          }
        }
        response.end();
      };
      more();
    });
    const { socket } = raw('GET /w/acme/site/ HTTP/1.1\r\nHost: x\r\n\r\n');
    socket.pause();
    let before = -1;
    // Until it stands still.
    while (written !== before) {
      before = written;
      await sleep(200);
    }
    expect(written).toBeLessThan(64 * 1024 * 1024);
  });

  test('as long as an answer has not ended the controller is told, also when nothing goes through: who has to answer is not put on disk', async () => {
    await plainApp((request, response) => {
      response.write('begun');
      request.on('close', () => response.destroy());
    });
    const open = (): number | undefined => harness.traffic.at(-1)?.openRequests;
    const asking = new AbortController();
    const { body } = await fetch(at(), { signal: asking.signal });
    await expect.poll(open).toBe(1);
    const told = harness.traffic.length;
    await expect.poll(() => harness.traffic.length).toBeGreaterThan(told + 1);
    expect(harness.traffic.at(-1)).toMatchObject({ openRequests: 1, bytesOut: 0 });
    asking.abort();
    await body?.cancel().catch(() => undefined);
    await expect.poll(open).not.toBe(1);
  });

  test('trailers, HEAD and empty answers', async () => {
    await plainApp((request, response) => {
      if (request.method === 'HEAD') response.setHeader('Content-Length', '5');
      else if (request.url === '/204') response.statusCode = 204;
      else {
        response.setHeader('Trailer', 'X-Sum');
        request.resume().on('end', () => {
          response.write('body');
          response.addTrailers({ 'X-Sum': `got ${request.trailers['x-in']}` });
          response.end();
        });
        return;
      }
      response.end();
    });
    const head = await fetch(at(), { method: 'HEAD' });
    expect(head.headers.get('content-length')).toBe('5');
    expect((await fetch(at('/204'))).status).toBe(204);
    const text = await raw(
      'POST /w/acme/site/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-In\r\n\r\n1\r\na\r\n0\r\nX-In: yes\r\n\r\n',
    ).text;
    expect(text).toMatch(/X-Sum: got yes/i);
  });

  test('the head of an answer is there before its body, when that is not', async () => {
    let finish = (): void => undefined;
    await plainApp((_request, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      response.flushHeaders();
      finish = () => response.end('late');
    });
    const answer = await fetch(at());
    expect(answer.headers.get('content-type')).toBe('text/event-stream');
    finish();
    expect(await answer.text()).toBe('late');
  });

  test('Expect: 100-continue is answered by the app, or refused before the body is sent', async () => {
    const server = await plainApp((_request, response) => response.end('never'));
    server.on('checkContinue', (request: IncomingMessage, response) => {
      if (request.url === '/no') {
        response.writeHead(417, { Connection: 'close' }).end();
        return;
      }
      response.writeContinue();
      request.pipe(response);
    });
    const head =
      'HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n';
    const accepted = raw(`POST /w/acme/site/yes ${head}`, 200, 'hello');
    expect(await accepted.text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK[^]*hello/);
    expect(await raw(`POST /w/acme/site/no ${head}`).text).toMatch(/^HTTP\/1\.1 417/);
  });

  test('a client that leaves ends the request at the app, and an app that breaks off cuts the answer off', async () => {
    let closed = 0;
    await plainApp((request, response) => {
      response.on('close', () => (closed += 1));
      response.write('begun');
      if (request.url === '/break') setTimeout(() => response.destroy(), 50);
    });
    const { socket } = raw('GET /w/acme/site/ HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'data');
    socket.destroy();
    await expect.poll(() => closed).toBe(1);
    await expect(fetch(at('/break')).then((answer) => answer.text())).rejects.toThrow();
  });

  test('an app that ends the connection without an answer is a 502', async () => {
    await plainApp((request) => request.socket.destroy());
    const answer = await fetch(at(), { method: 'POST', body: 'x' });
    expect(answer.status).toBe(502);
    expect(await answer.json()).toMatchObject({ error: { code: 'WorkloadFailed' } });
  });

  test('a request waits for an app that restarts', async () => {
    const waiting = fetch(at());
    await sleep(100);
    await plainApp((_request, response) => response.end('back'));
    expect(await (await waiting).text()).toBe('back');
  });

  test('goes to the instance with the fewest clients', async () => {
    const held: string[] = [];
    const listener =
      (id: string): RequestListener =>
      () =>
        held.push(id);
    await plainApp(listener('a'), 'i-a');
    await plainApp(listener('b'), 'i-b');
    for (let count = 1; count <= 6; count += 1) {
      raw('GET /w/acme/site/ HTTP/1.1\r\nHost: x\r\n\r\n');
      await expect.poll(() => held.length).toBe(count);
    }
    expect(held.filter((id) => id === 'a')).toHaveLength(3);
  });

  test('goes to each instance in turn while all are idle', async () => {
    for (const id of ['a', 'b', 'c']) await plainApp((_request, response) => response.end(id), `i-${id}`);
    const answers: string[] = [];
    for (let count = 0; count < 6; count += 1) answers.push(await (await fetch(at())).text());
    expect(answers.slice(0, 3).toSorted()).toEqual(['a', 'b', 'c']);
    expect(answers.slice(3)).toEqual(answers.slice(0, 3));
  });

  test('M-D2: reaches a Node app in its sandbox socket, which may listen on any port', async () => {
    await harness.startInstance(
      'site',
      {
        'server.js': `require('http').createServer((q, s) => s.end('from ' + q.url)).listen(process.env.PORT)`,
      },
      { argv: ['server.js'] },
    );
    expect(await (await fetch(at('/x'))).text()).toBe('from /x');
  });
});

const echoServer = `
  const { createServer } = require('http');
  const { createHash } = require('crypto');
  const server = createServer();
  server.on('upgrade', (request, socket, head) => {
    socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\nX-Url: ' + request.url + '\\r\\nX-From: ' + request.headers['x-forwarded-for'] + '\\r\\n\\r\\n');
    if (head.length) socket.write(head);
    socket.pipe(socket);
  });
  server.listen(process.env.PORT);`;
const upgrade = (extra = ''): string =>
  `GET /w/acme/site/chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n${extra}\r\n`;

describe('WebSocket and other upgrades to an app', () => {
  test('M-C5 M-E6: the socket itself is handed over: it goes on when the gateway is gone', async () => {
    await harness.startInstance('site', { 'server.js': echoServer }, { argv: ['server.js'] });
    const { socket, text } = raw(upgrade(), 'early,');
    await once(socket, 'data');
    await harness.gateway.stop(0);
    for (let n = 0; n < 50; n += 1) {
      socket.write(`${n},`);
      await sleep(1);
    }
    await sleep(50);
    socket.end();
    const answer = await text;
    expect(answer).toContain('X-Url: /chat\r\nX-From: 127.0.0.1\r\n');
    expect(answer.slice(answer.indexOf('\r\n\r\n') + 4)).toBe(
      `early,${Array.from({ length: 50 }, (_, n) => `${n},`).join('')}`,
    );
  });

  test('what is sent while it is handed over arrives once and in order', async () => {
    await harness.startInstance('site', { 'server.js': echoServer }, { argv: ['server.js'] });
    const body = Array.from({ length: 5000 }, (_, n) => `${n},`).join('');
    const { socket, text } = raw(
      upgrade() + body.slice(0, 100),
      body.slice(100, 5000),
      1,
      body.slice(5000),
      100,
    );
    await sleep(300);
    socket.end();
    const answer = await text;
    expect(answer.slice(answer.indexOf('\r\n\r\n') + 4)).toBe(body);
  });

  test('many at once, through a real WebSocket server behind a port: tunnelled, in order, with half-close', async () => {
    const { WebSocketServer } = await import('ws');
    const server = await plainApp((_request, response) => response.end());
    const sockets = new WebSocketServer({ server });
    sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
    const many = Array.from({ length: 40 }, () => new WebSocket(at('/ws').replace('http', 'ws')));
    const received = many.map(messages);
    await Promise.all(many.map((socket) => once(socket, 'open')));
    for (let n = 0; n < 20; n += 1) for (const socket of many) socket.send(String(n));
    const expected = Array.from({ length: 20 }, (_, n) => String(n));
    for (const list of received) await expect.poll(() => list).toEqual(expected);
    for (const socket of many) socket.close();
    await Promise.all(many.map((socket) => once(socket, 'close')));
    sockets.close();
  });

  test("more than the tenant's limit are refused with 429 and the limit, and fewer are let in again", async () => {
    await harness.startInstance('site', { 'server.js': echoServer }, { argv: ['server.js'] });
    harness.setTenant({ connectionLimit: 3 });
    await harness.call('sync', {});
    const open = Array.from({ length: 3 }, () => raw(upgrade()));
    await Promise.all(open.map(({ socket }) => once(socket, 'data')));
    const refused = await raw(upgrade()).text;
    expect(refused).toMatch(/^HTTP\/1\.1 429 Too Many Requests/);
    expect(refused).toContain('its limit is 3');
    open[0]?.socket.destroy();
    await expect
      .poll(async () => {
        const { socket } = raw(upgrade());
        const [data] = (await once(socket, 'data')) as [string];
        return data.slice(9, 12);
      })
      .toBe('101');
  });

  test('an instance that is gone is not waited for: another gets the connection', async () => {
    harness.announce('i-dead', 'site', { runDirectory: '/nowhere', mode: 'frames', port: null });
    await harness.startInstance('site', { 'server.js': echoServer }, { argv: ['server.js'] });
    const { socket } = raw(upgrade());
    const [data] = (await once(socket, 'data')) as [string];
    expect(data).toContain('101 Switching');
  });
});

describe('clients that are slow, wrong or hostile', () => {
  test.each([
    ['no HTTP', 'nonsense\r\n\r\n', 400],
    ['TLS', Buffer.from('16030100a5010000a10303', 'hex').toString('latin1'), 400],
    ['an endless head', `GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(40_000)}\r\n\r\n`, 431],
    [
      'two lengths',
      'POST /w/acme/site/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na',
      400,
    ],
    [
      'a length and chunks',
      'POST /w/acme/site/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    [
      'a broken chunk',
      'POST /w/acme/site/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
      400,
    ],
    ['a bare line feed in a header', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n\0', 400],
    ['an old protocol', 'GET /\r\n\r\n', 400],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['HTTP/2 in the clear', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
  ])('%s is answered, and the next client served', async (_what, text, status) => {
    await plainApp((request, response) => request.resume().on('end', () => response.end('fine')));
    expect(await raw(text).text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(await (await fetch(at())).text()).toBe('fine');
  });

  test('connections that break at any moment leave the gateway well', async () => {
    await plainApp((request, response) => request.pipe(response));
    await harness.startInstance('site', { 'server.js': echoServer }, { argv: ['server.js'] });
    const whole = [
      upgrade(),
      'POST /w/acme/site/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc',
      'POST /2015-03-31/functions/x/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{',
    ];
    for (const text of whole) {
      for (const delayMs of [0, 1, 5, 20]) {
        const { socket } = raw(text);
        await once(socket, 'connect');
        await sleep(delayMs);
        socket.resetAndDestroy();
      }
    }
    await expect.poll(async () => (await fetch(`${harness.url}/healthz`)).status).toBe(200);
  });

  test("what is the controller's goes to it, and its restart is waited for", async () => {
    expect(await (await fetch(`${harness.url}/v1/tenants?x=1`, { method: 'PUT', body: 'x' })).text()).toBe(
      'controller PUT /v1/tenants?x=1',
    );
    expect(await (await fetch(`${harness.url}/2015-03-31/functions/`)).text()).toBe(
      'controller GET /2015-03-31/functions/',
    );
  });
});

test('a retired app instance gets nothing new', async () => {
  await plainApp((_request, response) => response.end('old'), 'i-old');
  expect(await (await fetch(at())).text()).toBe('old');
  await harness.call('retire', { ids: ['i-old' as InstanceId], deadlineMs: Date.now() + 1000 });
  await plainApp((_request, response) => response.end('new'), 'i-new');
  await expect.poll(async () => (await fetch(at())).text()).toBe('new');
});
