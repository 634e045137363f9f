// Connections that node:http serves, so that those that idle do not keep a gateway that leaves. Owns the set of them and
// nothing of how they are served: node:http's own time-out of an idle connection is made shorter, which it takes back by
// itself when a request has come.
import type { Socket } from 'node:net';
import { serverLimits } from './config.ts';

export class IdleConnections {
  readonly #sockets = new Set<Socket>();

  add(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  /** Whoever idles has so much less time to ask once more. */
  shorten(): void {
    for (const socket of this.#sockets) {
      // Set while it idles, and 0 while it does not.
      const { timeout = 0 } = socket;
      if (timeout >= serverLimits.keepAliveTimeoutMs) socket.setTimeout(serverLimits.leavingKeepAliveMs);
    }
  }
}
