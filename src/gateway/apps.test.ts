// What a client of an app sees by HTTP, with real runtimes and plain servers behind the gateway. WebSockets are in
// upgrades.test.ts, clients that do harm in hostile-clients.test.ts.
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage, type RequestListener } from 'node:http';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { InstanceId } from '../base/ids.ts';
import { Site } from './testing/site.ts';

const site = new Site();

describe('HTTP to an app', () => {
  test('M-D2: by path and by host, with where it came from and without what is for one hop', async () => {
    await site.plainApp((request, response) => {
      response.setHeader('Connection', 'x-secret');
      response.setHeader('X-Secret', '1');
      response.setHeader('X-Kept', '2');
      response.end(JSON.stringify({ url: request.url, headers: request.headers }));
    });
    const answer = await new Promise<IncomingMessage>((resolve) =>
      httpRequest(
        site.at('/a?b'),
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
      'x-forwarded-host': `127.0.0.1:${site.harness.port}`,
      'x-forwarded-port': String(site.harness.port),
      forwarded: `for=127.0.0.1;host="127.0.0.1:${site.harness.port}";proto=http`,
    });
    expect(seen.headers).not.toHaveProperty('x-hop');
    expect(seen.headers).not.toHaveProperty('te');
    expect(answer.headers).toMatchObject({ 'x-kept': '2' });
    expect(answer.headers).not.toHaveProperty('x-secret');
    const byHost = await site.raw(
      `GET /v1/own HTTP/1.1\r\nHost: SITE.acme.localhost:${site.harness.port}\r\nConnection: close\r\n\r\n`,
    ).text;
    expect(byHost).toContain('"url":"/v1/own"');
    expect(byHost).not.toContain('x-forwarded-prefix');
  });

  test('large bodies go through whole, both ways at once', async () => {
    await site.plainApp((request, response) => {
      response.writeHead(200);
      request.pipe(response);
    });
    const size = 20 * 1024 * 1024;
    const answer = await fetch(site.at(), { method: 'POST', body: Buffer.alloc(size, 'x') });
    const body = Buffer.from(await answer.arrayBuffer());
    expect(body.length).toBe(size);
    expect(body.equals(Buffer.alloc(size, 'x'))).toBe(true);
  });

  test('a client that reads slowly holds the app back, not the memory of the gateway', async () => {
    let written = 0;
    await site.plainApp((_request, response) => {
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
    const { socket } = site.raw('GET /w/acme/site/ HTTP/1.1\r\nHost: x\r\n\r\n');
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
    await site.plainApp((request, response) => {
      response.write('begun');
      request.on('close', () => response.destroy());
    });
    const open = (): number | undefined => site.harness.traffic.at(-1)?.openRequests;
    const asking = new AbortController();
    const { body } = await fetch(site.at(), { signal: asking.signal });
    await expect.poll(open).toBe(1);
    const told = site.harness.traffic.length;
    await expect.poll(() => site.harness.traffic.length).toBeGreaterThan(told + 1);
    expect(site.harness.traffic.at(-1)).toMatchObject({ openRequests: 1, bytesOut: 0 });
    asking.abort();
    await body?.cancel().catch(() => undefined);
    await expect.poll(open).not.toBe(1);
  });

  test('trailers, HEAD and empty answers', async () => {
    await site.plainApp((request, response) => {
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
    const head = await fetch(site.at(), { method: 'HEAD' });
    expect(head.headers.get('content-length')).toBe('5');
    expect((await fetch(site.at('/204'))).status).toBe(204);
    const text = await site.raw(
      'POST /w/acme/site/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-In\r\n\r\n1\r\na\r\n0\r\nX-In: yes\r\n\r\n',
    ).text;
    expect(text).toMatch(/X-Sum: got yes/i);
  });

  test('the head of an answer is there before its body, when that is not', async () => {
    let finish = (): void => undefined;
    await site.plainApp((_request, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      response.flushHeaders();
      finish = () => response.end('late');
    });
    const answer = await fetch(site.at());
    expect(answer.headers.get('content-type')).toBe('text/event-stream');
    finish();
    expect(await answer.text()).toBe('late');
  });

  test('Expect: 100-continue is answered by the app, or refused before the body is sent', async () => {
    const server = await site.plainApp((_request, response) => response.end('never'));
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
    const accepted = site.raw(`POST /w/acme/site/yes ${head}`, 200, 'hello');
    expect(await accepted.text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK[^]*hello/);
    expect(await site.raw(`POST /w/acme/site/no ${head}`).text).toMatch(/^HTTP\/1\.1 417/);
  });

  test('a client that leaves ends the request at the app, and an app that breaks off cuts the answer off', async () => {
    let closed = 0;
    await site.plainApp((request, response) => {
      response.on('close', () => (closed += 1));
      response.write('begun');
      if (request.url === '/break') setTimeout(() => response.destroy(), 50);
    });
    const { socket } = site.raw('GET /w/acme/site/ HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'data');
    socket.destroy();
    await expect.poll(() => closed).toBe(1);
    await expect(fetch(site.at('/break')).then((answer) => answer.text())).rejects.toThrow();
  });

  test.each([
    ['no HTTP', 'hello\r\n\r\n', /no valid HTTP/],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab', /no valid HTTP/],
    [
      'a head that is too large',
      `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`,
      /headers of more than/,
    ],
  ])('an app that answers with %s is a 502 that says so', async (_what, bytes, said) => {
    await site.plainApp((request) => request.socket.end(bytes));
    const answer = await fetch(site.at());
    expect(answer.status).toBe(502);
    expect(await answer.json()).toMatchObject({
      error: { code: 'WorkloadFailed', message: expect.stringMatching(said) },
    });
  });

  test('an app that ends the connection without an answer is a 502', async () => {
    await site.plainApp((request) => request.socket.destroy());
    const answer = await fetch(site.at(), { method: 'POST', body: 'x' });
    expect(answer.status).toBe(502);
    expect(await answer.json()).toMatchObject({ error: { code: 'WorkloadFailed' } });
  });

  test('a request waits for an app that restarts', async () => {
    const waiting = fetch(site.at());
    await sleep(100);
    await site.plainApp((_request, response) => response.end('back'));
    expect(await (await waiting).text()).toBe('back');
  });

  test('goes to the instance with the fewest clients', async () => {
    const held: string[] = [];
    const listener =
      (id: string): RequestListener =>
      () =>
        held.push(id);
    await site.plainApp(listener('a'), 'i-a');
    await site.plainApp(listener('b'), 'i-b');
    for (let count = 1; count <= 6; count += 1) {
      site.raw('GET /w/acme/site/ HTTP/1.1\r\nHost: x\r\n\r\n');
      await expect.poll(() => held.length).toBe(count);
    }
    expect(held.filter((id) => id === 'a')).toHaveLength(3);
  });

  test('goes to each instance in turn while all are idle', async () => {
    for (const id of ['a', 'b', 'c'])
      await site.plainApp((_request, response) => response.end(id), `i-${id}`);
    const answers: string[] = [];
    for (let count = 0; count < 6; count += 1) answers.push(await (await fetch(site.at())).text());
    expect(answers.slice(0, 3).toSorted()).toEqual(['a', 'b', 'c']);
    expect(answers.slice(3)).toEqual(answers.slice(0, 3));
  });

  test('M-D2: reaches a Node app in its sandbox socket, which may listen on any port', async () => {
    await site.harness.startInstance(
      'site',
      {
        'server.js': `require('http').createServer((q, s) => s.end('from ' + q.url)).listen(process.env.PORT)`,
      },
      { argv: ['server.js'] },
    );
    expect(await (await fetch(site.at('/x'))).text()).toBe('from /x');
  });
});

test('a retired app instance gets nothing new', async () => {
  await site.plainApp((_request, response) => response.end('old'), 'i-old');
  expect(await (await fetch(site.at())).text()).toBe('old');
  await site.harness.call('retire', { ids: ['i-old' as InstanceId], deadlineMs: Date.now() + 1000 });
  await site.plainApp((_request, response) => response.end('new'), 'i-new');
  await expect.poll(async () => (await fetch(site.at())).text()).toBe('new');
});
