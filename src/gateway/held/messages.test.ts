// What becomes of the messages of held connections, whatever happens to the function's instances. Real runtimes behind the
// gateway, `ws` in front of it.
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import { closed, connectionIdOf, eventsOf, HeldChat, routesOf, soon } from '../testing/held-chat.ts';

let chat: HeldChat;
beforeEach(() => {
  chat = new HeldChat();
});
afterEach(() => chat.dispose());

const numbers = (count: number): string[] => Array.from({ length: count }, (_, index) => `message ${index}`);

describe('a message', () => {
  test('that no route takes is answered in its turn', async () => {
    await chat.start({ routes: ['$connect', 'events'] });
    const client = await chat.connected();
    const connectionId = await connectionIdOf(client);
    client.socket.send('{"action":"nowhere"}');
    await soon(() => client.told).toHaveLength(1);
    expect(JSON.parse(client.told[0] ?? '')).toEqual({
      message: 'Forbidden',
      connectionId,
      requestId: expect.any(String) as string,
    });
  });

  test('is answered by those routes alone that are said to; that it failed is told by all', async () => {
    await chat.start({ routeResponses: ['events'] });
    const client = await chat.connected();
    for (const text of ['unanswered', '{"action":"fail"}', '{"action":"events"}']) client.socket.send(text);
    await soon(() => client.told).toHaveLength(2);
    expect(JSON.parse(client.told[0] ?? '')).toMatchObject({ message: 'Internal server error' });
    expect(client.told[1]).toContain('unanswered');
    // A change is for what comes next, over the connections that there are.
    await chat.deploy({ routeResponses: [] });
    for (const action of ['events', 'fail']) client.socket.send(JSON.stringify({ action }));
    await soon(() => client.told).toHaveLength(3);
    expect(JSON.parse(client.told[2] ?? '')).toMatchObject({ message: 'Internal server error' });
    await chat.deploy({});
    client.socket.send('answered');
    await soon(() => client.told[3]).toBe('answered');
  });

  test("that failed is told as API Gateway tells it, in order with its neighbours' answers", async () => {
    await chat.start();
    const client = await chat.connected();
    const connectionId = await connectionIdOf(client);
    for (const text of ['before', '{"action":"fail"}', 'after']) client.socket.send(text);
    await soon(() => client.told).toHaveLength(3);
    expect([client.told[0], client.told[2]]).toEqual(['before', 'after']);
    expect(JSON.parse(client.told[1] ?? '')).toEqual({
      message: 'Internal server error',
      connectionId,
      requestId: expect.any(String) as string,
    });
  });

  test('M-C4: in which the instance dies is told so once, and those behind it wait for the next instance', async () => {
    const first = await chat.start();
    const client = await chat.connected();
    chat.startWhenAsked();
    for (const text of ['before', '{"action":"crash"}', ...numbers(50)]) client.socket.send(text);
    await soon(() => chat.harness.discarded.map(({ id }) => id)).toEqual([first]);
    chat.harness.gone(first, 'chat', 'exit status 3');
    await soon(() => client.told).toHaveLength(52);
    expect(JSON.parse(client.told[1] ?? '')).toMatchObject({ message: 'Internal server error' });
    expect(client.told.toSpliced(1, 1)).toEqual(['before', ...numbers(50)]);
  });

  test('M-C4: waits while the function has no instance and none can be had, and is not lost, doubled or reordered', async () => {
    await chat.deployed({ routes: ['$default'] });
    const some = await Promise.all(Array.from({ length: 10 }, () => chat.connected()));
    let refusals = 0;
    let started: Promise<string> | undefined;
    chat.harness.onAcquire = () => {
      refusals += 1;
      if (refusals <= 3) return Promise.reject(new BellowsError('NoRoom', 'No room.'));
      return (started ??= chat.startInstance());
    };
    for (const text of numbers(50)) for (const { socket } of some) socket.send(text);
    for (const { told } of some) await soon(() => told).toEqual(numbers(50));
    expect(refusals).toBeGreaterThan(3);
  });

  test.each([
    ['concurrency', { concurrencyLimit: 0 }],
    ['requests', { requestLimit: 0 }],
  ])("M-C4: waits at its tenant's limit of %s until it is raised", async (_what, limits) => {
    await chat.start({ routes: ['$default'] });
    const client = await chat.connected();
    chat.harness.setTenant(limits);
    await chat.harness.call('sync', {});
    for (const text of numbers(10)) client.socket.send(text);
    // What was sent before a ping was looked at before its pong.
    const pong = once(client.socket, 'pong');
    client.socket.ping();
    await pong;
    expect(client.told).toEqual([]);
    chat.harness.setTenant({});
    await soon(() => client.told).toEqual(numbers(10));
  });

  test('M-C4: finds the new code from its deployment on, while the connection stays', async () => {
    await chat.start({ routes: ['$default'] });
    const client = await chat.connected();
    client.socket.send('old');
    await soon(() => client.told).toEqual(['old']);
    const newCode = {
      'index.js': 'exports.handler = async ({ body }) => ({ statusCode: 200, body: `new ${body}` });',
    };
    chat.startWhenAsked(() => chat.harness.startInstance('chat', newCode, { generation: 'g2' }));
    await chat.deploy({ routes: ['$default'] }, 'g2');
    for (const text of numbers(20)) client.socket.send(text);
    await soon(() => client.told).toHaveLength(21);
    expect(client.told.slice(1)).toEqual(numbers(20).map((text) => `new ${text}`));
  });

  test('that was sent right before the end is handed over, and the end after it', async () => {
    await chat.deployed({ routes: ['$disconnect', '$default', 'events'] });
    const client = await chat.connected();
    for (const text of numbers(5)) client.socket.send(text);
    client.socket.close(1000);
    await closed(client);
    chat.startWhenAsked();
    const other = await chat.connected();
    await soon(async () => routesOf(await eventsOf(other))).toContain('$disconnect');
    const events = await eventsOf(other);
    expect(events.map(({ body }) => body)).toEqual([...numbers(5), undefined]);
  });
});
