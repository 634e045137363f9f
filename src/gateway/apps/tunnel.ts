// A tunnel between a client and an app behind a plain port: bytes both ways, nothing parsed, half-close kept.
import { connect, type Socket } from 'node:net';
import type { AppInstance } from './app-instance.ts';

/**
 * Resolves as soon as the tunnel stands; it then lives on by itself.
 * @param chunks what the client has sent so far, as it is to be seen by the app
 * @param onClose called when it has ended, to count what went over the client's connection
 */
export function tunnel(
  instance: AppInstance,
  client: Socket,
  chunks: readonly Buffer[],
  onClose: (client: Socket) => void,
): Promise<'passed' | 'instanceGone' | 'clientGone'> {
  return new Promise((resolve) => {
    const { address } = instance.upstream;
    const app =
      'port' in address
        ? connect({ ...address, allowHalfOpen: true })
        : connect({ path: address.socketPath, allowHalfOpen: true });
    app.setNoDelay(true);
    client.setNoDelay(true);
    const onClientGone = (): void => {
      app.destroy();
      resolve('clientGone');
    };
    client.once('close', onClientGone);
    app.once('error', () => {
      client.off('close', onClientGone);
      resolve('instanceGone');
    });
    app.once('connect', () => {
      client.off('close', onClientGone);
      instance.openTunnels += 1;
      for (const chunk of chunks) app.write(chunk);
      // pipe() ends the other side when one side ends, and stops reading when the other is slow.
      client.pipe(app);
      app.pipe(client);
      app.once('close', () => {
        instance.openTunnels -= 1;
        onClose(client);
        // An orderly end has been passed on by then; anything else must reach the client, too.
        if (app.errored !== null || !client.writableEnded) client.destroy();
      });
      client.once('close', () => app.destroy());
      resolve('passed');
    });
    app.on('error', () => app.destroy());
  });
}
