// Where a supervisor comes for the sockets that this gateway accepts from, when the one that had made them was killed:
// `run/gateway-PID-ports.sock`. Who connects is sent each, with its port, and then the end. Owns that socket. The kernel's queue of
// who has connected and was not accepted yet stays with what was sent; a socket made anew would have another.
import { createServer, type Server } from 'node:net';
import { sendFd, socketFd } from '../sys/fd-passing.ts';
import { listenAtSocket } from '../sys/listen-at-socket.ts';

export interface ListeningPort {
  readonly port: number;
  readonly fd: number;
}

export class PortsDoor {
  readonly #server: Server;

  /** @param ports those that are accepted from now */
  constructor(ports: () => readonly ListeningPort[]) {
    // Not read by Node: see src/sys/fd-passing.ts.
    this.#server = createServer({ pauseOnConnect: true }, (caller) => {
      caller.on('error', () => undefined);
      try {
        for (const { port, fd } of ports())
          sendFd(socketFd(caller), fd, Buffer.from(JSON.stringify({ port })));
      } catch {
        // Who came for them has gone.
      }
      caller.destroy();
    });
  }

  listen(path: string): Promise<void> {
    return listenAtSocket(this.#server, path);
  }

  close(): void {
    this.#server.close();
  }
}
