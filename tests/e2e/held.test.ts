// A function with WebSocket routes as its users see it, on this host: through the sandbox, the SDK inside and outside, and
// everything that may happen behind connections that stay. What the gateway does alone is in src/gateway/held.
import {
  ApiGatewayManagementApiClient,
  DeleteConnectionCommand,
  GetConnectionCommand,
} from '@aws-sdk/client-apigatewaymanagementapi';
import { UpdateFunctionCodeCommand } from '@aws-sdk/client-lambda';
import { once } from 'node:events';
import { join } from 'node:path';
import { build } from 'rolldown';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { tarGzOf, zipOf } from '../support/archives.ts';
import { Bellows, eventually, projectRoot } from '../support/bellows.ts';

let bellows: Bellows;
let code: string;
beforeAll(async () => {
  const input = join(projectRoot, 'tests', 'fixtures', 'held-chat', 'index.mjs');
  const { output } = await build({ input, platform: 'node', write: false, output: { codeSplitting: false } });
  code = output[0].code;
  bellows = await Bellows.start();
  const manifest = {
    kind: 'function',
    handler: 'index.handler',
    timeout: 30,
    websocket: { routes: ['$connect', '$default', 'who-am-i', 'post'] },
  };
  const archive = await tarGzOf({ 'index.mjs': code, 'bellows.json': JSON.stringify(manifest) });
  expect(await bellows.v1('PUT', '/workloads/default/chat', archive)).toMatchObject({
    status: 201,
    body: { websocket: { ...manifest.websocket, idleTimeout: 600, maxDuration: null } },
  });
});
afterAll(async () => {
  await bellows.stop();
});

const address = (token: string): string =>
  `ws://127.0.0.1:${bellows.port}/w/default/chat/?token=${encodeURIComponent(token)}`;

async function dial(): Promise<WebSocket> {
  const socket = new WebSocket(address('let me in'));
  await once(socket, 'open');
  return socket;
}

async function ask(socket: WebSocket, message: string): Promise<string> {
  const answer = once(socket, 'message') as Promise<[Buffer]>;
  socket.send(message);
  return (await answer)[0].toString();
}

/** A client that sends numbered messages and keeps all that it is told. */
class Talker {
  readonly told: string[] = [];
  sent = 0;
  closes = 0;
  readonly #socket: WebSocket;
  readonly #timer: NodeJS.Timeout;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data: Buffer) => this.told.push(data.toString()));
    socket.on('close', () => (this.closes += 1));
    this.#timer = setInterval(() => {
      socket.send(`#${this.sent}`);
      this.sent += 1;
    }, 20);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  close(): void {
    this.stop();
    this.#socket.terminate();
  }
}

/** Waits until each has been told of messages that it had not sent before. */
async function goOn(talkers: readonly Talker[], what: string): Promise<void> {
  const marks = talkers.map(({ sent }) => sent + 5);
  await eventually(() => talkers.every(({ told }, index) => told.length >= marks[index]!), {
    timeoutMs: 60_000,
    what: () =>
      `messages to be answered after ${what}: ${talkers.map(({ told, sent, closes }, index) => `${told.length} of ${marks[index]}, ${sent} sent, ${closes} closes`).join('; ')}`,
  });
}

test('M-D2: the function refuses whom it likes, and the unmodified SDK manages connections, from inside and outside', async () => {
  const refused = new WebSocket(address('guessed'));
  const [error] = (await once(refused, 'error')) as [Error];
  expect(error.message).toBe('Unexpected server response: 403');
  const [ada, bob] = [await dial(), await dial()];
  const id = await ask(ada, '{"action":"who-am-i"}');
  for (const endpoint of ['of the environment', 'of the event']) {
    const posted = once(ada, 'message') as Promise<[Buffer]>;
    bob.send(JSON.stringify({ action: 'post', to: id, text: `hello ${endpoint}`, endpoint }));
    expect((await posted)[0].toString()).toBe(`hello ${endpoint}`);
  }
  const client = new ApiGatewayManagementApiClient({
    endpoint: `${bellows.url}/w/default/chat`,
    region: 'us-east-1',
    credentials: bellows.credentials.tenants['default']!,
  });
  try {
    const seen = await client.send(new GetConnectionCommand({ ConnectionId: id }));
    expect(seen.Identity?.SourceIp).toBe('127.0.0.1');
    const ended = once(ada, 'close') as Promise<[number]>;
    await client.send(new DeleteConnectionCommand({ ConnectionId: id }));
    expect((await ended)[0]).toBe(1000);
    await expect(client.send(new GetConnectionCommand({ ConnectionId: id }))).rejects.toThrow(
      expect.objectContaining({ name: 'GoneException' }) as Error,
    );
  } finally {
    client.destroy();
    bob.terminate();
  }
});

test('M-C4: connections stay through resizes, new code, kill -9 of the controller and of instances; each message is answered once and in order', async () => {
  const talkers = await Promise.all(Array.from({ length: 10 }, async () => new Talker(await dial())));
  const sdk = bellows.lambda();
  try {
    await goOn(talkers, 'the start');
    for (const memory of ['192MiB', '128MiB', '256MiB', '160MiB']) {
      const resized = await bellows.v1('PATCH', '/workloads/default/chat', { memory });
      expect([200, 202]).toContain(resized.status);
      await goOn(talkers, `the resize to ${memory}`);
    }
    const newCode = code.replace('"v1"', '"v2"');
    expect(newCode).not.toBe(code);
    const ZipFile = await zipOf({ 'index.mjs': newCode });
    await sdk.send(new UpdateFunctionCodeCommand({ FunctionName: 'chat', ZipFile }));
    await goOn(talkers, 'the new code');
    for (const { told } of talkers) expect(told.at(-1)).toMatch(/ by v2$/);
    const controller = bellows.pidOf('controller')!;
    process.kill(controller, 'SIGKILL');
    await goOn(talkers, 'the kill of the controller');
    await eventually(
      async () => {
        const next = bellows.pidOf('controller');
        return next !== undefined && next !== controller && (await bellows.instances()).length > 0;
      },
      { timeoutMs: 60_000, what: () => 'the next controller to know what runs' },
    );
    const killed = (await bellows.instances()).filter(({ workload }) => workload.endsWith('chat'));
    expect(killed).not.toHaveLength(0);
    for (const { pid } of killed) process.kill(pid, 'SIGKILL');
    await goOn(talkers, 'the kill of the instances');
    for (const talker of talkers) talker.stop();
    await eventually(() => talkers.every(({ told, sent }) => told.length >= sent), {
      timeoutMs: 60_000,
      what: () =>
        `an answer to every message: ${talkers.map(({ told, sent }) => `${told.length} of ${sent}`).join()}`,
    });
    let broken = 0;
    for (const { told, sent, closes } of talkers) {
      expect({ told: told.length, closes }).toEqual({ told: sent, closes: 0 });
      for (const [number, text] of told.entries()) {
        if (text.startsWith(`#${number} by v`)) continue;
        // What an instance had begun when it was killed is told to have come to nothing, in its place.
        expect(JSON.parse(text)).toMatchObject({ message: 'Internal server error' });
        broken += 1;
      }
    }
    expect(broken).toBeLessThanOrEqual(killed.length);
  } finally {
    for (const talker of talkers) talker.close();
    sdk.destroy();
  }
});

test('M-C4: deleting the function ends its connections with 1001', async () => {
  const socket = await dial();
  const ended = once(socket, 'close') as Promise<[number]>;
  await bellows.v1('DELETE', '/workloads/default/chat');
  expect((await ended)[0]).toBe(1001);
});
