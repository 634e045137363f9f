// An app that asks for its clients' HTTP connections, as these clients see it: by its host they are the app's from the first
// request on, and everything that may not be given away is served through the gateway as ever.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Harness, workloadOf } from './testing/harness.ts';

let harness: Harness;
const clients: Client[] = [];

/** Says what it was asked and by whom, and how long the body was. */
const code = {
  'server.js': `
    require('node:http').createServer(async (request, response) => {
      let bytes = 0;
      for await (const chunk of request) bytes += chunk.length;
      const { url, headers, socket } = request;
      response.end(JSON.stringify({ url, bytes, from: socket.remotePort, forwardedFor: headers['x-forwarded-for'] ?? null }));
    }).listen(process.env.PORT);`,
};

interface Answer {
  readonly status: number;
  readonly body: string;
}

interface Said {
  readonly url: string;
  readonly bytes: number;
  /** Its client's port, when the app has the client's own connection. */
  readonly from: number;
  readonly forwardedFor: string | null;
}

/** One connection, kept open, whose requests are written as they are. */
class Client {
  readonly socket: Socket;
  #text = '';

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1' });
    this.socket.setEncoding('latin1').on('data', (chunk: string) => (this.#text += chunk));
    this.socket.on('error', () => {});
  }

  /** The next answer; all have a Content-Length here. */
  async answer(): Promise<Answer> {
    for (;;) {
      const head = /^HTTP\/1.1 (\d+)[^]*?\r\ncontent-length: (\d+)[^]*?\r\n\r\n/i.exec(this.#text);
      const end = head === null ? Infinity : head[0].length + Number(head[2]);
      if (head !== null && this.#text.length >= end) {
        const body = this.#text.slice(head[0].length, end);
        this.#text = this.#text.slice(end);
        return { status: Number(head[1]), body };
      }
      await once(this.socket, 'data');
    }
  }

  async ask(request: string): Promise<Said> {
    this.socket.write(request);
    return JSON.parse((await this.answer()).body) as Said;
  }
}

function client(): Client {
  const one = new Client(harness.port);
  clients.push(one);
  return one;
}

const get = (path = '/', more = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: site.acme.localhost:${harness.port}\r\n${more}\r\n`;

async function started(directHttp: boolean): Promise<void> {
  harness.deploy(workloadOf('site', { kind: 'app', directHttp }));
  await harness.startInstance('site', code, { argv: ['server.js'] });
  await harness.call('sync', {});
}

beforeEach(() => {
  harness = new Harness();
});
afterEach(async () => {
  for (const { socket } of clients.splice(0)) socket.destroy();
  await harness.dispose();
});

const through = { from: 0, forwardedFor: '127.0.0.1' };
const direct = ({ socket }: Client): Partial<Said> => ({ from: socket.localPort!, forwardedFor: null });

describe('M-D2: a connection by the host of an app that asks for its connections', () => {
  test('is the app’s from its first request on, and goes on without the gateway', async () => {
    await harness.start();
    await started(true);
    const one = client();
    expect(await one.ask(get('/a'))).toMatchObject({ url: '/a', ...direct(one) });
    const { port } = harness;
    await harness.gateway.stop(0);
    expect(await one.ask(`GET /b HTTP/1.1\r\nHost: site.acme.localhost:${port}\r\n\r\n`)).toMatchObject({
      url: '/b',
      ...direct(one),
    });
  });

  test('loses no byte of what was sent ahead: requests in one packet, a body in several', async () => {
    await harness.start();
    await started(true);
    const body = 'x'.repeat(100_000);
    const post = get('/post', `Content-Length: ${body.length}\r\n`).replace('GET', 'POST');
    const one = client();
    expect(await one.ask(`${get('/a')}${get('/b')}${post}${body.slice(0, 10_000)}`)).toMatchObject({
      url: '/a',
      ...direct(one),
    });
    expect(JSON.parse((await one.answer()).body)).toMatchObject({ url: '/b' });
    one.socket.write(body.slice(10_000));
    expect(JSON.parse((await one.answer()).body)).toMatchObject({ url: '/post', bytes: body.length });
  });

  test.each([
    ['the app did not ask for it', false, {}, (): string => get()],
    ['it came by path', true, {}, (): string => get('/w/acme/site/').replace('site.acme.', '')],
    ['it came from a proxy that is believed', true, { trustedProxies: ['127.0.0.1'] }, (): string => get()],
    [
      'its first request is not plain',
      true,
      {},
      (): string => get('/', 'Transfer-Encoding: chunked\r\n') + '0\r\n\r\n',
    ],
  ])('is served through the gateway when %s', async (_why, directHttp, config, request) => {
    harness.config = config;
    await harness.start();
    await started(directHttp);
    expect(await client().ask(request())).toMatchObject(through);
  });

  test('that has carried a request for a function stays the gateway’s', async () => {
    await harness.start();
    await started(true);
    harness.deploy(workloadOf('fn'));
    await harness.startInstance('fn', {
      'index.js': `exports.handler = async () => ({ statusCode: 200, body: '{}' })`,
    });
    await harness.call('sync', {});
    const one = client();
    await one.ask(get().replace('site.', 'fn.'));
    expect(await one.ask(get())).toMatchObject(through);
  });

  test('waits for an instance as ever, and is refused over the tenant’s limits as ever', async () => {
    await harness.start();
    harness.deploy(workloadOf('site', { kind: 'app', directHttp: true }));
    await harness.call('sync', {});
    const early = client();
    const answer = early.ask(get('/early'));
    await started(true);
    expect(await answer).toMatchObject({ url: '/early' });
    harness.setTenant({ connectionLimit: 2 });
    await harness.call('sync', {});
    const held = client();
    expect(await held.ask(get())).toMatchObject(direct(held));
    const second = client();
    expect(await second.ask(get())).toMatchObject(direct(second));
    const third = client();
    third.socket.write(get());
    expect(await third.answer()).toMatchObject({
      status: 429,
      body: expect.stringContaining('connections') as string,
    });
    held.socket.destroy();
    await expect
      .poll(
        async () => {
          const next = client();
          next.socket.write(get());
          return (await next.answer()).status;
        },
        { timeout: 20_000 },
      )
      .toBe(200);
    harness.setTenant({ connectionLimit: null, requestLimit: 0.001 });
    await harness.call('sync', {});
    // What is sent on a connection that was given away is the app's own to bound.
    expect(await second.ask(get())).toMatchObject(direct(second));
    const late = client();
    late.socket.write(get());
    expect(await late.answer()).toMatchObject({
      status: 429,
      body: expect.stringContaining('requests') as string,
    });
  });
});
