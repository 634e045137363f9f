// What a client sees when its tenant is at a limit that the gateway counts: connections, concurrency and requests per second. Real runtimes and
// plain servers behind the gateway; `ws`, the WebSocket of Node itself, fetch and the AWS SDK in front of it.
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { connect, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import type { TenantId, WorkloadKey } from '../base/ids.ts';
import { Harness, testTenant, workloadOf } from './testing/harness.ts';

let harness: Harness;
const servers: Server[] = [];
const sockets: WebSocket[] = [];

beforeEach(async () => {
  harness = await new Harness().start();
  harness.deploy(workloadOf('site', { kind: 'app' }));
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.terminate();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  await harness.dispose();
});

const wsModule = JSON.stringify(createRequire(import.meta.url).resolve('ws'));
const echoApp = `
  const { createServer } = require('http');
  const { WebSocketServer } = require(${wsModule});
  const server = createServer((request, response) => response.end('fine'));
  new WebSocketServer({ server }).on('connection', (socket) => socket.on('message', (data) => socket.send(String(data))));
  server.listen(process.env.PORT);`;

const startEchoApp = (): Promise<string> =>
  harness.startInstance('site', { 'server.js': echoApp }, { argv: ['server.js'] });

const at = (path = '/'): string => `${harness.url}/w/acme/site${path}`;

async function limit(
  limits: Partial<Record<'connectionLimit' | 'concurrencyLimit' | 'requestLimit', number | null>>,
): Promise<void> {
  harness.setTenant(limits);
  await harness.call('sync', {});
}

/** What a client of the `ws` package is told: `open`, or how it was closed. */
function dial(protocols: string[] = []): Promise<{ socket: WebSocket; told: string }> {
  const socket = new WebSocket(at('/chat').replace('http', 'ws'), protocols);
  sockets.push(socket);
  return new Promise((resolve) => {
    socket.on('error', (error) => resolve({ socket, told: error.message }));
    socket.once('close', (code, reason) => resolve({ socket, told: `${code} ${reason.toString()}` }));
    // A refusal comes right behind the handshake: an echo comes from the app only.
    socket.once('open', () => socket.send('hello'));
    socket.once('message', () => resolve({ socket, told: 'open' }));
  });
}

const refusal = (most: number): string =>
  `1013 The tenant acme has as many connections open as its limit allows: ${most}.`;

async function inUse(): Promise<unknown> {
  return (await harness.call('usage', {}))[0];
}

async function echoes(socket: WebSocket, text: string): Promise<boolean> {
  const answer = once(socket, 'message');
  socket.send(text);
  const [data] = (await answer) as [Buffer];
  return data.toString() === text;
}

/** A server behind a port, as an app in any language is, whose answers the test gives. */
async function plainApp(): Promise<{ server: Server; held: ServerResponse[] }> {
  const held: ServerResponse[] = [];
  const server = createServer((_request, response) => void held.push(response)).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  harness.announce('i-plain', 'site', { runDirectory: harness.root, mode: 'tcp', port });
  return { server, held };
}

describe('a WebSocket beyond the limit', () => {
  test('is opened and closed with 1013 and the limit, and those that are open go on', async () => {
    await startEchoApp();
    await limit({ connectionLimit: 2 });
    const first = await dial();
    const second = await dial();
    expect([first.told, second.told]).toEqual(['open', 'open']);
    expect((await dial()).told).toBe(refusal(2));
    expect(await echoes(first.socket, 'still here')).toBe(true);
    first.socket.close();
    await expect.poll(async () => (await dial()).told).toBe('open');
    expect(await echoes(second.socket, 'and here')).toBe(true);
  });

  test("tells a browser's kind of client too, also one that offers subprotocols", async () => {
    await startEchoApp();
    await limit({ connectionLimit: 0 });
    const socket = new globalThis.WebSocket(at('/chat').replace('http', 'ws'), ['graphql-ws', 'chat']);
    const events: string[] = [];
    socket.addEventListener('open', () => events.push(`open ${socket.protocol}`));
    const { code, reason, wasClean } = await new Promise<CloseEvent>((resolve) =>
      socket.addEventListener('close', resolve),
    );
    expect(events).toEqual(['open graphql-ws']);
    expect({ code, wasClean, told: `${code} ${reason}` }).toEqual({
      code: 1013,
      wasClean: true,
      told: refusal(0),
    });
  });

  test('is not held open by a client that says nothing', async () => {
    await startEchoApp();
    await limit({ connectionLimit: 0 });
    const socket = connect({ port: harness.port, host: '127.0.0.1', allowHalfOpen: true });
    socket.on('error', () => undefined);
    socket.write(
      'GET /w/acme/site/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    const [head] = (await once(socket.setEncoding('latin1'), 'data')) as [string];
    expect(head).toContain('Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x88');
    await once(socket, 'end');
    socket.destroy();
  });

  test('that is carried through the gateway counts as one that was handed over', async () => {
    const { server } = await plainApp();
    new WebSocketServer({ server }).on('connection', (socket) =>
      socket.on('message', (data: Buffer) => socket.send(data.toString())),
    );
    await limit({ connectionLimit: 1 });
    const first = await dial();
    expect(first.told).toBe('open');
    expect((await dial()).told).toBe(refusal(1));
    first.socket.terminate();
    await expect.poll(async () => (await dial()).told).toBe('open');
  });

  test('as many at once as the limit allows are all let in, whatever the order of what happens to each', async () => {
    await startEchoApp();
    await limit({ connectionLimit: 12 });
    for (let round = 0; round < 5; round += 1) {
      const all = await Promise.all(Array.from({ length: 12 }, () => dial()));
      expect(all.map((each) => each.told)).toEqual(Array.from({ length: 12 }, () => 'open'));
      for (const { socket } of all) socket.terminate();
      await expect.poll(inUse).toMatchObject({ connections: 0 });
    }
  });

  test('many at once are let in up to the limit and not one more', async () => {
    await startEchoApp();
    await limit({ connectionLimit: 7 });
    const told = (await Promise.all(Array.from({ length: 30 }, () => dial()))).map((each) => each.told);
    expect(told.filter((each) => each === 'open')).toHaveLength(7);
    expect(told.filter((each) => each === refusal(7))).toHaveLength(23);
  });
});

test('M-C3: a limit lowered below what is open drops nothing, lets nobody in until there are fewer, and raised lets in at once', async () => {
  await startEchoApp();
  const open = await Promise.all(Array.from({ length: 5 }, () => dial()));
  expect(open.map(({ told }) => told)).toEqual(Array.from({ length: 5 }, () => 'open'));
  await limit({ connectionLimit: 2 });
  expect((await dial()).told).toBe(refusal(2));
  expect(await inUse()).toMatchObject({ connections: 5, concurrency: 0 });
  for (const { socket } of open) expect(await echoes(socket, 'kept')).toBe(true);
  await limit({ connectionLimit: 6 });
  expect((await dial()).told).toBe('open');
  expect((await dial()).told).toBe(refusal(6));
  await limit({ connectionLimit: null });
  expect((await dial()).told).toBe('open');
});

test('M-E6: a new gateway counts what the one before it has handed over', async () => {
  await startEchoApp();
  await limit({ connectionLimit: 3 });
  const { socket } = await dial();
  await dial();
  await harness.restartGateway();
  await expect.poll(inUse).toMatchObject({ connections: 2, concurrency: 0 });
  const [third, fourth] = await Promise.all([dial(), dial()]);
  expect([third.told, fourth.told].toSorted()).toEqual([refusal(3), 'open'].toSorted());
  expect(await echoes(socket, 'from before')).toBe(true);
  socket.close();
  await expect.poll(async () => (await dial()).told).toBe('open');
});

describe('a request beyond the limit of connections', () => {
  test('is answered 429 with the limit while others are in use, whose answers come all the same', async () => {
    const { held } = await plainApp();
    await limit({ connectionLimit: 2 });
    const under = [fetch(at()), fetch(at())];
    await expect.poll(() => held.length).toBe(2);
    const refused = await fetch(at(), { method: 'POST', body: 'x'.repeat(100_000) });
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(await refused.json()).toEqual({
      error: {
        code: 'LimitReached',
        message: 'The tenant acme has 2 connections open, and its limit is 2.',
        hint: 'Close some, or raise the limit: PUT /v1/tenants/acme/limits {"connections": …}.',
      },
    });
    held[0]?.end('one');
    expect(await (await Promise.race(under)).text()).toBe('one');
    const third = fetch(at());
    await expect.poll(() => held.length).toBe(3);
    held[1]?.end('two');
    held[2]?.end('three');
    expect(await (await third).text()).toBe('three');
    await Promise.all(under);
  });

  test('is let in again after a client that left without its answer', async () => {
    const { held } = await plainApp();
    await limit({ connectionLimit: 1 });
    const leaving = new AbortController();
    const left = fetch(at(), { signal: leaving.signal }).catch(() => 'left');
    await expect.poll(() => held.length).toBe(1);
    expect((await fetch(at())).status).toBe(429);
    leaving.abort();
    expect(await left).toBe('left');
    const next = fetch(at());
    await expect
      .poll(() => held.length, { message: 'the request that follows to reach the app' })
      .toBeGreaterThan(1);
    held[1]?.end('next');
    expect(await (await next).text()).toBe('next');
  });
});

describe('invocations beyond the limit of concurrency', () => {
  const slow = {
    'index.js':
      'exports.handler = (event) => event.rawPath || event.wait ? new Promise((r) => setTimeout(r, 1500, "done")) : "quick"',
  };

  async function deployTwo(): Promise<void> {
    for (const name of ['one', 'two']) {
      harness.deploy(workloadOf(name));
      await harness.startInstance(name, slow);
    }
  }

  function invoke(name: string, event: unknown): Promise<string> {
    const sdk = new LambdaClient({
      endpoint: harness.url,
      region: 'us-east-1',
      credentials: testTenant,
      maxAttempts: 1,
    });
    return sdk
      .send(new InvokeCommand({ FunctionName: name, Payload: JSON.stringify(event) }))
      .then(
        ({ Payload }) => Buffer.from(Payload ?? []).toString(),
        (error: { name: string; Reason: string; message: string; retryAfterSeconds: string }) =>
          `${error.name} ${error.Reason} ${error.retryAfterSeconds}: ${error.message}`,
      )
      .finally(() => sdk.destroy());
  }

  test("of all a tenant's functions: TooManyRequestsException with the limit, by the SDK, and 429 at a URL", async () => {
    await deployTwo();
    expect([await invoke('one', {}), await invoke('two', {})]).toEqual(['"quick"', '"quick"']);
    await limit({ concurrencyLimit: 1 });
    const running = invoke('one', { wait: true });
    await expect
      .poll(() => invoke('two', {}))
      .toBe(
        'TooManyRequestsException ConcurrentInvocationLimitExceeded 1: Rate Exceeded. The tenant acme runs 1 invocations, and its limit is 1.',
      );
    expect(await inUse()).toMatchObject({ connections: 0, concurrency: 1 });
    const refused = await fetch(`${harness.url}/w/acme/two/`);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(await refused.json()).toEqual({
      message: 'Too Many Requests',
      Reason: 'ConcurrentInvocationLimitExceeded',
      detail: 'Rate Exceeded. The tenant acme runs 1 invocations, and its limit is 1.',
    });
    await limit({ concurrencyLimit: 2 });
    expect(await invoke('two', {})).toBe('"quick"');
    await limit({ concurrencyLimit: 0 });
    expect(await invoke('two', {})).toContain('its limit is 0');
    expect(await running).toBe('"done"');
  });

  test('M-E6: counts what still runs for a gateway that was killed, until that has ended', async () => {
    const ending = join(harness.root, 'ends-when-this-is-there');
    harness.deploy(workloadOf('one', { timeoutMs: 60_000 }));
    await harness.startInstance('one', {
      'index.js': `const { existsSync } = require('node:fs');
        exports.handler = async () => { while (!existsSync(${JSON.stringify(ending)})) await new Promise((r) => setTimeout(r, 10)); };`,
    });
    harness.deploy(workloadOf('two'));
    await harness.startInstance('two', slow);
    await limit({ concurrencyLimit: 1 });
    const running = invoke('one', {});
    await expect.poll(inUse).toMatchObject({ concurrency: 1 });
    await harness.restartGateway();
    expect(await running).not.toBe('null');
    await expect.poll(inUse).toMatchObject({ concurrency: 1 });
    expect(await invoke('two', {})).toContain('runs 1 invocations, and its limit is 1');
    writeFileSync(ending, '');
    await expect.poll(() => invoke('two', {})).toBe('"quick"');
    await expect.poll(inUse).toMatchObject({ concurrency: 0 });
  });

  test('that the controller asks for are told to be throttled, with the limit', async () => {
    await deployTwo();
    await limit({ concurrencyLimit: 0 });
    const workload = workloadOf('one').key;
    const asked = { workload, requestId: crypto.randomUUID(), event: '{}', clientContext: '' };
    expect(await harness.call('invoke', asked)).toEqual({
      outcome: 'throttled',
      payload: 'Rate Exceeded. The tenant acme runs 0 invocations, and its limit is 0.',
    });
    await limit({ concurrencyLimit: 1 });
    expect(await harness.call('invoke', asked)).toEqual({ outcome: 'ok', payload: '"quick"' });
  });
});

describe('requests beyond the limit per second', () => {
  const explained = (most: number): string =>
    `The tenant acme sends more requests than its limit of ${most} per second.`;

  async function deployAll(): Promise<void> {
    await startEchoApp();
    harness.deploy(workloadOf('quick'));
    await harness.startInstance('quick', { 'index.js': 'exports.handler = () => "quick"' });
  }

  const sdk = (): LambdaClient =>
    new LambdaClient({ endpoint: harness.url, region: 'us-east-1', credentials: testTenant, maxAttempts: 1 });

  test('are refused, each in the way of what was asked for, with the limit and when to come again', async () => {
    await deployAll();
    // None at all, so that no time that passes lets one in.
    await limit({ requestLimit: 0 });
    const app = await fetch(at());
    expect([app.status, app.headers.get('retry-after')]).toEqual([429, '60']);
    expect(await app.json()).toEqual({
      error: {
        code: 'LimitReached',
        message: explained(0),
        hint: 'Send less often, or raise the limit: PUT /v1/tenants/acme/limits {"requests": …}.',
      },
    });
    const url = await fetch(`${harness.url}/w/acme/quick/`, { method: 'POST', body: 'x'.repeat(100_000) });
    expect([url.status, url.headers.get('retry-after')]).toEqual([429, '60']);
    expect(await url.json()).toEqual({
      message: 'Too Many Requests',
      Reason: 'CallerRateLimitExceeded',
      detail: `Rate Exceeded. ${explained(0)}`,
    });
    expect((await dial()).told).toBe(`1013 ${explained(0)}`);
    const client = sdk();
    await expect(client.send(new InvokeCommand({ FunctionName: 'quick' }))).rejects.toMatchObject({
      name: 'TooManyRequestsException',
      Reason: 'CallerRateLimitExceeded',
      retryAfterSeconds: '60',
      message: `Rate Exceeded. ${explained(0)}`,
    });
    const event = new InvokeCommand({ FunctionName: 'quick', InvocationType: 'Event' });
    await expect(client.send(event)).rejects.toMatchObject({ name: 'TooManyRequestsException' });
    client.destroy();
    expect(harness.enqueued).toEqual([]);
  });

  test('hold nothing back of what is open, and are let in again as soon as the limit is raised', async () => {
    await deployAll();
    const { socket } = await dial();
    await limit({ requestLimit: 0 });
    expect(await echoes(socket, 'kept')).toBe(true);
    expect((await fetch(at())).status).toBe(429);
    await limit({ requestLimit: null });
    expect(await (await fetch(at())).text()).toBe('fine');
    expect(await (await fetch(`${harness.url}/w/acme/quick/`)).text()).toBe('"quick"');
    expect((await dial()).told).toBe('open');
  });

  test("M-C2: a flood of one tenant's is let in up to its limit, and takes not one from another tenant", async () => {
    const other = { ...testTenant, id: 'globex' as TenantId, accessKeyId: 'AKIAOTHER' };
    harness.change({ change: 'tenant', tenant: other });
    const theirs = workloadOf('calm', { tenant: other.id, key: 'globex/calm' as WorkloadKey });
    harness.deploy(workloadOf('quick'));
    harness.deploy(theirs);
    const code = { 'index.js': 'exports.handler = () => "quick"' };
    await harness.startInstance('quick', code);
    await harness.startInstance('calm', code, { tenant: other.id });
    await limit({ requestLimit: 20 });
    const begunMs = performance.now();
    const statuses = async (path: string, count: number): Promise<number[]> =>
      Promise.all(Array.from({ length: count }, async () => (await fetch(`${harness.url}${path}`)).status));
    const [flood, calm] = await Promise.all([
      statuses('/w/acme/quick/', 400),
      statuses('/w/globex/calm/', 100),
    ]);
    const most = 20 + ((performance.now() - begunMs) / 1000) * 20;
    const letIn = flood.filter((status) => status === 200).length;
    expect(letIn).toBeGreaterThanOrEqual(20);
    expect(letIn).toBeLessThanOrEqual(Math.ceil(most));
    expect(flood.filter((status) => status === 429)).toHaveLength(400 - letIn);
    expect(calm).toEqual(Array.from({ length: 100 }, () => 200));
  });
});
