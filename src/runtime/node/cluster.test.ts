// An app that spreads its clients over several processes with Node's `cluster`, as its developer and its clients see it.
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { frameType } from '../../protocol/instance.ts';
import { counts, TestApp } from './testing/test-app.ts';

let app: TestApp;
beforeEach(() => {
  app = new TestApp();
});
afterEach(() => app.dispose());

/** Two workers; a request for /end ends the one that gets it, and another is forked in its place. */
const workers = {
  'server.mjs': `
    import cluster from 'node:cluster';
    import { createServer } from 'node:http';
    import { WebSocketServer } from 'ws';
    const { pid } = process;
    if (cluster.isPrimary) {
      cluster.fork();
      cluster.fork();
      cluster.on('exit', () => cluster.fork());
    } else {
      const server = createServer((request, response) => {
        if (request.url === '/end') setImmediate(() => process.exit());
        response.end(String(pid));
      });
      new WebSocketServer({ server }).on('connection', (socket) => {
        socket.send(String(pid));
        socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
      });
      server.listen(process.env.PORT, () => console.log('up', server.address().port));
    }`,
};

const up = 'up 3000\n';

/** Processes start and end slowly on a busy machine. */
const soon = <T>(read: () => T | Promise<T>): ReturnType<typeof expect.poll<T>> =>
  expect.poll(read, { timeout: 20_000 });

async function started(): Promise<void> {
  await app.started(workers);
  await soon(() => app.instance.output).toBe(up + up);
}

async function dial(port: number): Promise<{ socket: WebSocket; pid: string }> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
  app.atEnd(() => socket.terminate());
  const [data] = (await once(socket, 'message')) as [Buffer];
  return { socket, pid: data.toString() };
}

describe('M-D2: an app of several processes', () => {
  test('has its requests in all of them, in turn', async () => {
    await started();
    const pids: string[] = [];
    for (let request = 0; request < 4; request += 1) pids.push((await app.get()).body);
    expect(new Set(pids)).toHaveProperty('size', 2);
  });

  test('has its WebSockets in all of them: they outlive the gateway, arrive unchanged, and are counted', async () => {
    await started();
    const { port, die } = await app.gateway();
    const ada = await dial(port);
    const grace = await dial(port);
    expect(ada.pid).not.toBe(grace.pid);
    die();
    const sent = Buffer.alloc(3_000_000, 'a message of three megabytes');
    for (const { socket } of [ada, grace]) {
      const echo = once(socket, 'message') as Promise<[Buffer]>;
      socket.send(sent);
      expect(sent.equals((await echo)[0])).toBe(true);
    }
    ada.socket.close(4321, 'enough');
    expect(((await once(ada.socket, 'close')) as [number])[0]).toBe(4321);
    grace.socket.terminate();
    await soon(() => counts(app.client)?.open).toBe(0);
  });

  test('is reached again when all its processes have ended and others came', async () => {
    await started();
    for (let worker = 0; worker < 2; worker += 1) await app.get('/end');
    await soon(() => app.instance.output).toBe(up.repeat(4));
    await soon(async () => (await app.get().catch(() => undefined))?.status).toBe(200);
    const { port } = await app.gateway();
    expect((await dial(port)).socket.readyState).toBe(WebSocket.OPEN);
  });

  test('ends, all of it, when it is stopped', async () => {
    await started();
    const { body } = await app.get();
    app.client.send(frameType.shutdown);
    expect(await app.instance.exited()).toBe(0);
    const gone = (): boolean => {
      try {
        return !process.kill(Number(body), 0);
      } catch {
        return true;
      }
    };
    await soon(gone).toBe(true);
  });
});
