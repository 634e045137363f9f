// A client of an app whose machine does not take it yet, since it is being woken for example: how long it waits, and what it is
// told then.
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { Harness, workloadOf } from '../testing/harness.ts';

const longEnoughMs = 60_000;
let harness: Harness;
let server: Server;
const sockets = new Set<Socket>();

/** An app in a machine whose door takes nobody in until it is said to be awake. */
async function sleepingApp(appWaitMs: number): Promise<{ wake: () => void; tries: () => number }> {
  harness = await new Harness().start({ appWaitMs });
  let tries = 0;
  let isAwake = false;
  server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    tries += 1;
    if (!isAwake) {
      socket.destroy();
      return;
    }
    socket.once('data', () => {
      socket.write('{}\n');
      socket.once('data', (head: Buffer) => socket.write(answerTo(head.toString('latin1'))));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  harness.deploy(workloadOf('dozer', { kind: 'app' }));
  harness.announce('i-dozer', 'dozer', {
    runDirectory: harness.root,
    mode: 'frames',
    port: null,
    door: { host: '127.0.0.1', port: (server.address() as AddressInfo).port, token: 'secret' },
  });
  return { wake: () => (isAwake = true), tries: () => tries };
}

const answerTo = (head: string): string =>
  /^upgrade:/im.test(head)
    ? 'HTTP/1.1 418 I am a teapot\r\nContent-Length: 0\r\n\r\n'
    : 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nawake';

const get = (): Promise<Response> => fetch(`${harness.url}/w/acme/dozer/`);
/** What an upgrade is answered with. */
const upgrade = async (): Promise<{ status: number | undefined; retryAfter: string | undefined }> => {
  const socket = new WebSocket(`ws://127.0.0.1:${harness.port}/w/acme/dozer/`);
  socket.on('error', () => undefined);
  const [, answer] = (await once(socket, 'unexpected-response')) as [
    unknown,
    { statusCode?: number; headers: Record<string, string>; destroy: () => void },
  ];
  answer.destroy();
  return { status: answer.statusCode, retryAfter: answer.headers['retry-after'] };
};

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  server.close();
  await harness.dispose();
});

test('it waits until it is taken, by HTTP and by an upgrade', async () => {
  const { wake, tries } = await sleepingApp(longEnoughMs);
  const warnings: string[] = [];
  const onWarning = ({ message }: Error): void => void warnings.push(message);
  process.on('warning', onWarning);
  const [first, second] = [get(), upgrade()];
  // More often than Node thinks that anybody listens to one socket.
  await expect.poll(tries).toBeGreaterThan(30);
  wake();
  expect(await (await first).text()).toBe('awake');
  expect(await second).toMatchObject({ status: 418 });
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});

test('after its time it is told to come again, and when', async () => {
  const { tries } = await sleepingApp(200);
  const answer = await get();
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
  expect(await answer.json()).toMatchObject({ error: { code: 'NotReady' } });
  expect(await upgrade()).toEqual({ status: 503, retryAfter: '1' });
  expect(tries()).toBeGreaterThan(1);
});
