// Clients that are slow, wrong or hostile, to an app: each is answered or let go, and the next is served.
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Site, upgrade } from './testing/site.ts';

const site = new Site();

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
    await site.plainApp((request, response) => request.resume().on('end', () => response.end('fine')));
    expect(await site.raw(text).text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(await (await fetch(site.at())).text()).toBe('fine');
  });

  test('connections that break at any moment leave the gateway well', async () => {
    await site.plainApp((request, response) => request.pipe(response));
    await site.echoApp();
    const whole = [
      upgrade,
      'POST /w/acme/site/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc',
      'POST /2015-03-31/functions/x/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{',
    ];
    for (const text of whole) {
      for (const delayMs of [0, 1, 5, 20]) {
        const { socket } = site.raw(text);
        await once(socket, 'connect');
        await sleep(delayMs);
        socket.resetAndDestroy();
      }
    }
    await expect.poll(async () => (await fetch(`${site.harness.url}/healthz`)).status).toBe(200);
  });

  test("what is the controller's goes to it, and its restart is waited for", async () => {
    expect(
      await (await fetch(`${site.harness.url}/v1/tenants?x=1`, { method: 'PUT', body: 'x' })).text(),
    ).toBe('controller PUT /v1/tenants?x=1');
    expect(await (await fetch(`${site.harness.url}/2015-03-31/functions/`)).text()).toBe(
      'controller GET /2015-03-31/functions/',
    );
  });
});
