// The socket on which the supervisor is asked for something: run/supervisor.sock. Owns listening and its links. What is done
// is passed in.
import { createServer, type Server } from 'node:net';
import type { Protocol, ResultOf } from '../protocol/rpc.ts';
import { RpcPeer } from '../protocol/rpc-link.ts';
import { supervisorProtocol, type SupervisorProtocol } from '../protocol/supervisor.ts';
import { listenAtSocket } from '../sys/listen-at-socket.ts';

const nothingServed = { methods: {}, events: {} } satisfies Protocol;
type Peer = RpcPeer<SupervisorProtocol, typeof nothingServed>;

export class ControlServer {
  readonly #path: string;
  readonly #server: Server;
  readonly #links = new Set<Peer>();

  /** The socket is in a directory that only this user may enter. */
  constructor(path: string, upgrade: () => Promise<ResultOf<SupervisorProtocol['methods']['upgrade']>>) {
    this.#path = path;
    this.#server = createServer((socket) => {
      const peer: Peer = new RpcPeer<SupervisorProtocol, typeof nothingServed>(socket, {
        local: supervisorProtocol,
        remote: nothingServed,
        handlers: { upgrade },
        onClose: () => this.#links.delete(peer),
        // Told to whoever asked; there is nothing else to do about it here.
        onDefect: () => undefined,
      });
      this.#links.add(peer);
    });
  }

  async listen(): Promise<void> {
    // One that was killed left its name behind; who holds the data directory's lock is the only one.
    await listenAtSocket(this.#server, this.#path);
  }

  /** Who was just answered has its answer. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const link of this.#links) link.close();
    await closed;
  }
}
