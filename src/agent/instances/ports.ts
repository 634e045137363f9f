// TCP ports of apps that are no frames runtime: finding one, and noticing when the app serves it.
import { connect, createServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { BellowsError } from '../../base/errors.ts';
import { ownerOfListener } from '../socket-owner.ts';

/** A refused connection costs 50 µs. */
const lookEveryMs = 20;

/** A port that nobody uses now. The kernel gives the same one again only when it has gone through all others. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

/**
 * Resolves when `uid` listens on the port. Another user may have taken it since it was chosen: what is sent there would
 * reach a stranger, so that is an error. @throws BellowsError Conflict, or Unavailable after `timeoutMs`
 */
export async function whenServed(port: number, uid: number, timeoutMs: number): Promise<void> {
  const untilMs = performance.now() + timeoutMs;
  while (performance.now() < untilMs) {
    if (await accepts(port)) {
      const owner = await ownerOfListener(port);
      if (owner === uid) return;
      if (owner !== undefined)
        throw new BellowsError(
          'Conflict',
          `Port ${port} was taken by user ${owner} before the app could listen.`,
          'Start it again.',
        );
    }
    await sleep(lookEveryMs);
  }
  throw new BellowsError('Unavailable', `Nothing listened on port ${port} within ${timeoutMs} ms.`);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
