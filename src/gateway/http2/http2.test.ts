// What a client sees of HTTP/2, on a real gateway with an app behind it. Frames that no client would send: hostile.test.ts.
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { constants } from 'node:http2';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { serverLimits } from '../config.ts';
import { workloadOf } from '../testing/harness.ts';
import { answerOf, echo, host, SecureSite } from '../testing/secure-site.ts';

let site: SecureSite;

beforeEach(async () => {
  site = await SecureSite.start();
});
afterEach(() => site.close());

describe('HTTP/2', () => {
  test('requests reach an app as HTTP/1.1: one Host, one Cookie, nothing that is for one hop', async () => {
    site.serve = echo;
    const stream = site.http2().request(
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
      host: `${host}:${site.harness.tlsPort}`,
      cookie: 'a=1; b=2',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'https',
      'transfer-encoding': 'chunked',
    });
    expect(seen.headers).not.toHaveProperty('te');
  });

  test('trailers go both ways, repeated headers stay apart, and hints come before the answer', async () => {
    site.serve = (request, response) => {
      response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      request.resume().on('end', () => {
        response.writeHead(200, ['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'Trailer', 'X-Sum']);
        response.write('body');
        response.addTrailers({ 'X-Sum': `got ${request.trailers['x-in']}` });
        response.end();
      });
    };
    const stream = site
      .http2()
      .request({ ':method': 'POST', ':path': '/', trailer: 'x-in' }, { waitForTrailers: true });
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
    site.serve = (request, response) => {
      if (request.method === 'HEAD') response.writeHead(200, { 'Content-Length': '5' }).end();
      else response.writeHead(204).end();
    };
    site.app.on('checkContinue', (request: IncomingMessage, response) => {
      response.writeContinue();
      request.pipe(response);
    });
    const session = site.http2();
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
    site.serve = (request, response) => void request.pipe(response);
    const session = site.http2();
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
    site.serve = (_request, response) => {
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
    const stream = site.http2().request({ ':path': '/' });
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
    site.serve = (request, response) => {
      response.on('close', () => (closed += 1));
      response.write('begun');
      if (request.url === '/break') setTimeout(() => response.destroy(), 50);
    };
    const session = site.http2();
    const stream = session.request({ ':path': '/' });
    await once(stream, 'data');
    stream.close(constants.NGHTTP2_CANCEL);
    await expect.poll(() => closed).toBe(1);
    const broken = session.request({ ':path': '/break' });
    await expect(answerOf(broken)).rejects.toThrow(/NGHTTP2_INTERNAL_ERROR/);
    site.serve = (_request, response) => response.end('still here');
    expect((await answerOf(session.request({ ':path': '/' }))).body).toBe('still here');
  });

  test("a function's URL is served, and its event says by which protocol", async () => {
    site.harness.deploy(workloadOf('fn'));
    const code = 'exports.handler = async ({ body, requestContext: { http } }) => ({ body, http })';
    await site.harness.startInstance('fn', { 'index.js': code });
    const stream = site.http2().request({
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
    site.harness.deploy(workloadOf('fn'));
    site.harness.config = { tls: { port: 0 }, bodyFloor: { graceMs: 500, bytesPerSecond: 1_000_000_000 } };
    await site.harness.restartGateway();
    const session = site.http2();
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
    site.serve = () => (reached = true);
    const session = site.http2();
    const stream = session.request(headers);
    const refused = await answerOf(stream).then(
      (answer) => answer.headers[':status'],
      () => 'reset',
    );
    expect([400, 405, 'reset']).toContain(refused);
    expect(reached).toBe(false);
  });

  test('a client that opens and takes back without end is sent away, and others are served', async () => {
    site.serve = () => undefined;
    const session = site.http2();
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
    site.serve = (_request, response) => response.end('served');
    expect((await answerOf(site.http2().request({ ':path': '/' }))).body).toBe('served');
  });

  test('more streams than are allowed at once wait, and headers beyond the limit are refused', async () => {
    const session = site.http2();
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
    expect((await answerOf(site.http2().request({ ':path': '/' }))).body).toBe('ok');
  });

  test('while the gateway leaves, a client is served once more and told to go, and what else is under way is finished', async () => {
    let answerNow = (): void => undefined;
    site.serve = (request, response) => {
      if (request.url !== '/long') return response.end('last');
      answerNow = () => response.end('long');
      return response.flushHeaders();
    };
    const session = site.http2();
    const long = session.request({ ':path': '/long' });
    const answer = answerOf(long);
    await once(long, 'response');
    void site.harness.gateway.leave();
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
    site.serve = (_request, response) => {
      response.write('first,');
      answerNow = () => response.end('last');
    };
    const session = site.http2();
    const stream = session.request({ ':path': '/' });
    const answer = answerOf(stream);
    await once(stream, 'data');
    const stopped = site.harness.gateway.stop(20_000);
    await once(session, 'goaway');
    answerNow();
    expect((await answer).body).toBe('first,last');
    await stopped;
  });
});
