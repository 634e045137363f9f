// What a client of an app sees that upgrades its connection, by WebSocket and otherwise: handed over to a real runtime, or carried to
// a plain server.
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { Site, upgrade } from './testing/site.ts';

const site = new Site();

function messages(socket: WebSocket): string[] {
  const list: string[] = [];
  socket.on('message', (data: Buffer) => list.push(data.toString()));
  return list;
}

describe('WebSocket and other upgrades to an app', () => {
  test('M-C5 M-E6: the socket itself is handed over: it goes on when the gateway is gone', async () => {
    await site.echoApp();
    const { socket, text } = site.raw(upgrade, 'early,');
    await once(socket, 'data');
    await site.harness.gateway.stop(0);
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
    await site.echoApp();
    const body = Array.from({ length: 5000 }, (_, n) => `${n},`).join('');
    const { socket, text } = site.raw(
      upgrade + body.slice(0, 100),
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
    const server = await site.plainApp((_request, response) => response.end());
    const sockets = new WebSocketServer({ server });
    sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
    const many = Array.from({ length: 40 }, () => new WebSocket(site.at('/ws').replace('http', 'ws')));
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
    await site.echoApp();
    site.harness.setTenant({ connectionLimit: 3 });
    await site.harness.call('sync', {});
    const open = Array.from({ length: 3 }, () => site.raw(upgrade));
    await Promise.all(open.map(({ socket }) => once(socket, 'data')));
    const refused = await site.raw(upgrade).text;
    expect(refused).toMatch(/^HTTP\/1\.1 429 Too Many Requests/);
    expect(refused).toContain('its limit is 3');
    open[0]?.socket.destroy();
    await expect
      .poll(async () => {
        const { socket } = site.raw(upgrade);
        const [data] = (await once(socket, 'data')) as [string];
        return data.slice(9, 12);
      })
      .toBe('101');
  });

  test('an instance that is gone is not waited for: another gets the connection', async () => {
    site.harness.announce('i-dead', 'site', { runDirectory: '/nowhere', mode: 'frames', port: null });
    await site.echoApp();
    const { socket } = site.raw(upgrade);
    const [data] = (await once(socket, 'data')) as [string];
    expect(data).toContain('101 Switching');
  });
});
