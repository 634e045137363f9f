// What clients and functions see of held connections: their begin, their end and what they may be. Real runtimes behind the
// gateway, `ws` in front of it. What becomes of messages is messages.test.ts.
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { workloadOf } from '../testing/harness.ts';
import { closed, eventsOf, HeldChat, routesOf, soon } from '../testing/held-chat.ts';

let chat: HeldChat;
beforeEach(() => {
  chat = new HeldChat();
});
afterEach(() => chat.dispose());

describe('a connection', () => {
  test('M-D2: gives the function its begin, its messages by their routes and its end, and the client the answers in order', async () => {
    await chat.start();
    const client = await chat.connected('/?room=a', [], {
      headers: { 'User-Agent': 'tester', 'X-Token': 't' },
    });
    for (const text of ['plain', '{"action":"other"}', 'quiet']) client.socket.send(text);
    client.socket.send(Buffer.from([0, 255]));
    client.socket.send('last');
    await soon(() => client.told).toEqual(['plain', '{"action":"other"}', 'base64:AP8=', 'last']);
    const connection = (await eventsOf(client))[0]?.requestContext['connectionId'];
    client.socket.close(4001, 'done');
    await closed(client);
    const other = await chat.connected();
    await soon(async () => routesOf(await eventsOf(other))).toContain('$disconnect');
    const events = await eventsOf(other);
    expect(routesOf(events).slice(0, 6)).toEqual([
      '$connect',
      ...Array.from({ length: 5 }, () => '$default'),
    ]);
    expect(events[0]).toMatchObject({
      headers: { 'User-Agent': 'tester', 'X-Token': 't', 'X-Forwarded-For': '127.0.0.1' },
      queryStringParameters: { room: 'a' },
      requestContext: { eventType: 'CONNECT', connectionId: connection, identity: { userAgent: 'tester' } },
    });
    expect(events[4]).toMatchObject({ body: 'AP8=', isBase64Encoded: true });
    expect(events.find(({ requestContext }) => requestContext['routeKey'] === '$disconnect')).toMatchObject({
      requestContext: {
        eventType: 'DISCONNECT',
        connectionId: connection,
        disconnectStatusCode: 4001,
        disconnectReason: 'done',
      },
    });
  });

  test('that the function refuses gets its status and body, and nothing is said of its end', async () => {
    await chat.start();
    expect(await chat.refusal('/?status=401')).toEqual({ status: 401, body: 'never mind' });
    const failed = await chat.refusal('/?throw=1');
    expect(failed.status).toBe(502);
    expect(JSON.parse(failed.body)).toEqual({
      message: 'Internal server error',
      connectionId: expect.any(String) as string,
      requestId: expect.any(String) as string,
    });
    const client = await chat.connected();
    expect(routesOf(await eventsOf(client))).toEqual(['$connect', '$connect', '$connect']);
    expect(await chat.harness.call('usage', {})).toMatchObject([{ connections: 1 }]);
  });

  test('speaks the subprotocol that the function chose, if it was offered', async () => {
    await chat.start();
    expect((await chat.connected('/', ['first', 'second'])).socket.protocol).toBe('second');
    expect((await chat.connected()).socket.protocol).toBe('');
    await chat.deploy({ routes: ['$default'] });
    expect((await chat.connected('/', ['first', 'second'])).socket.protocol).toBe('first');
  });

  test('is compressed where the client offers it, and keeps no window', async () => {
    await chat.start();
    const client = await chat.connected('/', [], { perMessageDeflate: true });
    expect(client.socket.extensions).toBe('permessage-deflate');
    const long = 'a'.repeat(100_000);
    client.socket.send(long);
    await soon(() => client.told).toEqual([long]);
  });

  test('that asks for no WebSocket is told so, and a function without routes is served as ever', async () => {
    await chat.start();
    const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '7' };
    const asked = request(`${chat.harness.url}/w/acme/chat`, { headers }).end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    expect([answer.statusCode, answer.headers['sec-websocket-version']]).toEqual([426, '13']);
    answer.resume();
    chat.harness.deploy(workloadOf('chat'));
    await chat.harness.call('sync', {});
    expect((await chat.refusal()).status).toBe(200);
  });

  test('pings are answered by the gateway, though the function has no instance', async () => {
    await chat.deployed({ routes: ['$default'] });
    const client = await chat.connected();
    const pong = once(client.socket, 'pong');
    client.socket.ping('are you there');
    expect(String(((await pong) as [Buffer])[0])).toBe('are you there');
    expect(chat.harness.traffic.every(({ requests }) => requests <= 1)).toBe(true);
  });

  test('that sends more at once than a message may have is closed with 1009', async () => {
    await chat.start();
    const client = await chat.connected();
    client.socket.send('x'.repeat(128 * 1024 + 1));
    expect(await closed(client)).toMatch(/^1009 /);
  });
});

describe('how long a connection lasts', () => {
  let nowMs = Date.now();
  const pass = (ms: number): void => void (nowMs += ms);
  beforeEach(() => {
    chat.harness.clock = { nowMs: () => nowMs, monotonicMs: () => performance.now() };
  });

  test('one that carries nothing is closed after its idle time, and its function is told; a ping keeps one open', async () => {
    await chat.start({ idleTimeoutMs: 60_000 });
    const idle = await chat.connected();
    const pinging = await chat.connected();
    pass(59_000);
    const pong = once(pinging.socket, 'pong');
    pinging.socket.ping();
    await pong;
    pass(1_000);
    expect(await closed(idle)).toBe('1001 Idle for too long.');
    expect(pinging.socket.readyState).toBe(WebSocket.OPEN);
    await soon(async () => (await eventsOf(pinging)).at(-1)?.requestContext).toMatchObject({
      routeKey: '$disconnect',
      disconnectStatusCode: 1001,
    });
  });

  test('one is closed after its longest time though it is used, and by default after none', async () => {
    await chat.start({ maxDurationMs: 7_200_000 });
    const client = await chat.connected();
    pass(7_200_000);
    expect(await closed(client)).toBe('1001 Open for too long.');
    await chat.deploy();
    const lasting = await chat.connected();
    pass(365 * 86_400_000);
    lasting.socket.send('still here');
    await soon(() => lasting.told).toEqual(['still here']);
  });
});

describe('ends that are not the client’s', () => {
  test('deleting the function closes its connections with 1001', async () => {
    await chat.start();
    const client = await chat.connected();
    const ending = closed(client);
    chat.harness.change({ change: 'workloadGone', key: workloadOf('chat').key });
    expect(await ending).toBe('1001 The function was deleted.');
    await soon(() => chat.harness.call('usage', {})).toMatchObject([{ connections: 0 }]);
  });

  test('an orderly stop of the gateway closes them with 1001', async () => {
    await chat.start();
    const client = await chat.connected();
    const ending = closed(client);
    await chat.harness.gateway.stop(5_000);
    expect(await ending).toBe('1001 Bellows stops.');
  });
});

describe('limits and counts', () => {
  test("M-C3: they count against their tenant's limit of connections, and are refused as direct ones are", async () => {
    await chat.start();
    chat.harness.setTenant({ connectionLimit: 1 });
    await chat.harness.call('sync', {});
    const first = await chat.connected();
    expect(await closed(chat.dial())).toBe(
      '1013 The tenant acme has as many connections open as its limit allows: 1.',
    );
    first.socket.send('still here');
    await soon(() => first.told).toEqual(['still here']);
    first.socket.terminate();
    await soon(() => chat.harness.call('usage', {})).toMatchObject([{ connections: 0 }]);
    await chat.connected();
  });

  test('what the gateway reports has how many there are', async () => {
    await chat.start();
    await chat.connected();
    await chat.connected();
    await soon(() => chat.harness.traffic.some(({ connections }) => connections === 2)).toBe(true);
  });
});
