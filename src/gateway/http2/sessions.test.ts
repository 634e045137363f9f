// When connections of HTTP/2 are ended that idle.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect as connectHttp2, constants, type ClientHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { serverLimits } from '../config.ts';
import { Http2Sessions } from './sessions.ts';
import { answerOf } from '../testing/secure-site.ts';

test('a connection of HTTP/2 on which nothing was asked for, or nothing more is, is ended', async () => {
  let nowMs = 0;
  const opened = new Http2Sessions(
    (_request, response) => response.end('ok'),
    () => nowMs,
  );
  const server = createServer().removeAllListeners('connection');
  server.on('connection', (socket) => opened.take(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const clients: ClientHttp2Session[] = [];
  const open = (): ClientHttp2Session => {
    const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    clients.push(session);
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
  for (const client of clients) client.destroy();
  server.close();
});
