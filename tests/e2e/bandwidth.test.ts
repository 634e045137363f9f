// What a client receives in a second, against the limit: through the gateway, and over a connection of its own to the app.
// Two limits in one run, compared with each other; and changed while a connection is in use.
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tarGzOf } from '../support/archives.ts';
import { Bellows, eventually } from '../support/bellows.ts';

const floodApp = {
  'bellows.json': JSON.stringify({ kind: 'app', start: 'node server.js', memory: '160MiB' }),
  'server.js': `
    const { createServer } = require('node:http');
    const chunk = Buffer.alloc(64 * 1024, 'x');
    const flood = (to) => {
      const go = () => { while (to.writable && to.write(chunk)); };
      to.on('drain', go).on('error', () => {}); go();
    };
    let received = 0; let told = {};
    process.on('bellows:grant', (grant) => { told = grant; });
    createServer((request, response) => {
      if (request.url === '/flood') return flood(response);
      if (request.url === '/received') return response.end(JSON.stringify({ received, told }));
      received = 0;
      request.on('data', (data) => { received += data.length; }).on('end', () => response.end('ok'));
    }).on('upgrade', (request, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: flood\\r\\n\\r\\n');
      flood(socket);
    }).listen(Number(process.env.PORT));
  `,
};
const mb = 1_000_000;
/** Of a limit: what a burst at the beginning, heads and a busy machine may change over these seconds. */
const tolerance = 0.25;
const settleMs = 700;
const measureMs = 3000;

let bellows: Bellows;
beforeAll(async () => {
  bellows = await Bellows.start({ args: ['--no-examples'] });
  const deployed = await bellows.v1('PUT', '/workloads/default/flood', await tarGzOf(floodApp));
  expect(deployed.status).toBeLessThan(300);
  await eventually(async () => (await fetch(`${bellows.url}/w/default/flood/received`)).ok);
});
afterAll(() => bellows.stop());

interface Part {
  readonly resource: string;
  readonly after: string;
  readonly status: string;
}
interface Transaction {
  readonly status: string;
  readonly connections: { readonly dropped: number };
  readonly instances: readonly { readonly changes: readonly Part[] }[];
}

async function limitTo(bytesPerSecond: number): Promise<Transaction> {
  const answer = await bellows.v1<Transaction>('PATCH', '/workloads/default/flood', {
    bandwidth: bytesPerSecond,
  });
  expect(answer.body.status, JSON.stringify(answer.body)).toBe('applied');
  return answer.body;
}

/** Counts what arrives, until it is destroyed. */
class Receiver {
  bytes = 0;
  readonly #stream: Readable;

  constructor(stream: Readable) {
    this.#stream = stream;
    stream.on('data', (chunk: Buffer) => (this.bytes += chunk.length));
    stream.on('error', () => undefined);
  }

  static async get(path: string): Promise<Receiver> {
    const stream = await new Promise<Readable>((resolve, reject) => {
      request(`${bellows.url}/w/default/flood${path}`, resolve).once('error', reject).end();
    });
    return new Receiver(stream);
  }

  static upgrade(): Receiver {
    const socket: Socket = connect(bellows.port, '127.0.0.1');
    socket.write(
      'GET /w/default/flood/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: flood\r\n\r\n',
    );
    return new Receiver(socket);
  }

  /** Bytes per second, after what was saved up at the beginning is through. */
  async rate(): Promise<number> {
    await sleep(settleMs);
    const [before, began] = [this.bytes, performance.now()];
    await sleep(measureMs);
    return ((this.bytes - before) * 1000) / (performance.now() - began);
  }

  get isOpen(): boolean {
    return !this.#stream.destroyed;
  }

  close(): void {
    this.#stream.destroy();
  }
}

const expectRatio = (rate: number, to: number): void => {
  expect(rate / to).toBeGreaterThan(1 - tolerance);
  expect(rate / to).toBeLessThan(1 + tolerance);
};

describe('M-A5: bandwidth of an app', () => {
  test.each([
    ['through the gateway', () => Receiver.get('/flood')],
    ['over a connection that was handed over', async () => Receiver.upgrade()],
  ])(
    '%s: a client gets what the limit says, and four times as much after it was raised',
    async (_way, open) => {
      await limitTo(mb);
      const receiver = await open();
      const slow = await receiver.rate();
      const { connections } = await limitTo(4 * mb);
      const fast = await receiver.rate();
      expect(connections.dropped).toBe(0);
      expect(receiver.isOpen).toBe(true);
      receiver.close();
      console.log(
        `bandwidth ${_way}: ${(slow / mb).toFixed(2)} of 1 MB/s, ${(fast / mb).toFixed(2)} of 4 MB/s`,
      );
      expectRatio(slow, mb);
      expectRatio(fast, 4 * mb);
      expectRatio(fast / slow, 4);
    },
    30_000,
  );

  test('two handed-over connections share what their instance has', async () => {
    await limitTo(4 * mb);
    const both = [Receiver.upgrade(), Receiver.upgrade()];
    const rates = await Promise.all(both.map((receiver) => receiver.rate()));
    for (const receiver of both) receiver.close();
    expectRatio(rates[0]! + rates[1]!, 4 * mb);
  }, 30_000);

  test('what a client sends reaches the app at the limit', async () => {
    await limitTo(mb);
    const upload = request(`${bellows.url}/w/default/flood/upload`, { method: 'POST' });
    upload.on('error', () => undefined);
    const chunk = Buffer.alloc(64 * 1024);
    const go = (): void => {
      while (upload.write(chunk));
    };
    upload.on('drain', go);
    go();
    const received = async (): Promise<number> =>
      ((await (await fetch(`${bellows.url}/w/default/flood/received`)).json()) as { received: number })
        .received;
    await sleep(settleMs);
    const [before, began] = [await received(), performance.now()];
    await sleep(measureMs);
    const rate = (((await received()) - before) * 1000) / (performance.now() - began);
    upload.destroy();
    expectRatio(rate, mb);
  }, 30_000);

  test("M-E2: a tenant's limit holds for all that it runs, and the app is told of it", async () => {
    await limitTo(4 * mb);
    const answer = await bellows.v1<Transaction>('PUT', '/tenants/default/limits', { bandwidth: '2MB/s' });
    expect(answer.body.status).toBe('applied');
    const receivers = [await Receiver.get('/flood'), await Receiver.get('/flood')];
    const rates = await Promise.all(receivers.map((receiver) => receiver.rate()));
    for (const receiver of receivers) receiver.close();
    expectRatio(rates[0]! + rates[1]!, 2 * mb);
    await eventually(async () => {
      const { told } = (await (await fetch(`${bellows.url}/w/default/flood/received`)).json()) as {
        told: { bandwidthBytesPerSecond?: number; phase?: string };
      };
      return told.bandwidthBytesPerSecond === 2 * mb && told.phase === 'current';
    });
    await bellows.v1('PUT', '/tenants/default/limits', { bandwidth: null });
  }, 30_000);
});

test('M-A5: what a function answers comes at the limit, and twice as fast at twice the limit', async () => {
  const deployed = await bellows.v1(
    'PUT',
    '/workloads/default/big',
    await tarGzOf({
      'bellows.json': '{"kind":"function","handler":"index.handler","url":true,"bandwidth":"1MB/s"}',
      'index.mjs': `const body = 'x'.repeat(128 * 1024); export const handler = async () => ({ statusCode: 200, body });`,
    }),
  );
  expect(deployed.status).toBeLessThan(300);
  const rate = async (): Promise<number> => {
    const call = async (): Promise<number> =>
      (await (await fetch(`${bellows.url}/w/default/big/`)).arrayBuffer()).byteLength;
    // What was saved up is through.
    for (let each = 0; each < 4; each += 1) await call();
    let bytes = 0;
    const began = performance.now();
    while (performance.now() - began < measureMs) bytes += await call();
    return (bytes * 1000) / (performance.now() - began);
  };
  const slow = await rate();
  await bellows.v1('PATCH', '/workloads/default/big', { bandwidth: '2MB/s' });
  const fast = await rate();
  expectRatio(slow, mb);
  expectRatio(fast, 2 * mb);
}, 30_000);

test('M-A5: one request changes all four resources, and answers for each of them', async () => {
  const answer = await bellows.v1<Transaction>('PATCH', '/workloads/default/flood', {
    memory: '192MiB',
    cpu: '500m',
    storage: '1GiB',
    bandwidth: '10MB/s',
  });
  const [instance] = answer.body.instances;
  expect(
    Object.fromEntries(instance!.changes.map(({ resource, after, status }) => [resource, [after, status]])),
  ).toEqual({
    memory: ['192MiB', 'applied'],
    cpu: ['500m', 'applied'],
    storage: ['1GiB', 'applied'],
    bandwidth: ['10MB/s', 'applied'],
  });
  const resized = await bellows.cli(
    'resize',
    'flood',
    '--storage',
    '600MiB',
    '--bandwidth',
    '20MB/s',
    '--json',
  );
  expect(resized.code, resized.stderr).toBe(0);
});
