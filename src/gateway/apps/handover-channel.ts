// The kept-open Unix socket over which client sockets are handed to one instance (SCM_RIGHTS).
// Owns the socket, which is never read or written but by src/sys/fd-passing.ts.
import { connect, type Socket } from 'node:net';
import { sendFd, socketFd } from '../../sys/fd-passing.ts';

export class HandoverChannel {
  readonly #path: string;
  #socket: Socket | undefined;
  #opening: Promise<Socket> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Resolves when a descriptor can be sent. Rejects when nothing listens. */
  async open(): Promise<void> {
    if (this.#socket !== undefined && !this.#socket.destroyed) return;
    this.#opening ??= this.#connect();
    try {
      this.#socket = await this.#opening;
    } finally {
      this.#opening = undefined;
    }
  }

  /**
   * Hands a copy of the client's socket over. On `sent` the caller destroys its own.
   * @throws when the instance has closed its end, or `open` was not waited for
   */
  send(client: Socket, payload: Uint8Array): 'sent' | 'again' {
    if (this.#socket === undefined || this.#socket.destroyed) throw new Error('the channel is not open');
    return sendFd(socketFd(this.#socket), socketFd(client), payload);
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  #connect(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.#path);
      // Before it is connected, so that Node never reads from it.
      socket.pause();
      socket.once('connect', () => resolve(socket));
      socket.on('error', reject);
      socket.once('close', () => {
        if (this.#socket === socket) this.#socket = undefined;
      });
    });
  }
}
