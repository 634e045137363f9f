// A tunnel between a client and an app behind a plain port: bytes both ways, nothing parsed. Each side's end is the other's, too:
// a half-close stays one, and a reset is a reset, lest what came before it be taken for all there was.
import type { Socket } from 'node:net';
import { carry } from '../bandwidth/carry.ts';
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
  const gone = Promise.withResolvers<'clientGone'>();
  const onClientGone = (): void => gone.resolve('clientGone');
  client.once('close', onClientGone);
  client.setNoDelay(true);
  const connecting = instance.upstream.connect();
  const connected = connecting.then(
    (app): 'passed' => {
      client.off('close', onClientGone);
      if (client.destroyed) app.destroy();
      else join(instance, client, app, chunks, onClose);
      return 'passed';
    },
    (): 'instanceGone' => {
      // It may be tried many times before somebody takes it.
      client.off('close', onClientGone);
      return 'instanceGone';
    },
  );
  return Promise.race([gone.promise, connected]);
}

/** From here on the two are one connection. */
function join(
  instance: AppInstance,
  client: Socket,
  app: Socket,
  chunks: readonly Buffer[],
  onClose: (client: Socket) => void,
): void {
  app.setNoDelay(true);
  instance.tunnels.opened();
  // Who ended it: the first side to say that it sends no more, or to go without a word.
  let endedBy: 'client' | 'server' | undefined;
  client.once('end', () => (endedBy ??= 'client'));
  app.once('end', () => (endedBy ??= 'server'));
  for (const chunk of chunks) app.write(chunk);
  // Ends the other side when one side ends, and stops reading when the other is slow.
  carry(client, app, instance.line, 'in');
  carry(app, client, instance.line, 'out');
  app.once('close', () => {
    instance.tunnels.closed(endedBy ?? 'server');
    onClose(client);
    endAsDid(app, client);
  });
  client.once('close', () => {
    endedBy ??= 'client';
    endAsDid(client, app);
  });
  app.on('error', () => app.destroy());
}

/** @param closed gone, both ways @param other is to go, too */
function endAsDid(closed: Socket, other: Socket): void {
  // It has ended in order what it had to say: that is passed on to the last byte, and what else the other says goes to nobody.
  if (other.writableEnded) other.destroySoon();
  else if (closed.errored === null) other.destroy();
  else breakOff(other);
}

/** Neither TLS nor a Unix socket knows resets; over TLS, an end without its closing message says that it is none. */
function breakOff(socket: Socket): void {
  try {
    socket.resetAndDestroy();
  } catch {
    socket.destroy();
  }
}
