// Takes client sockets that gateways hand over on `h.sock`. Owns those connections and makes sockets of descriptors.
// Does not own what becomes of a socket (app-host.ts).
import { createServer, Socket, type Server } from 'node:net';
import process from 'node:process';
import { receiveFd, socketFd } from '../../sys/fd-passing.ts';
import { nextTurn } from './primordials.ts';

/** Errors of one hand-over, after which the next can still be taken. */
const lostOne: ReadonlySet<string> = new Set(['EBADMSG', 'EMFILE']);

export class HandoverReceiver {
  readonly server: Server;
  /** Gateways' connections; Node must never read them. A new gateway comes while the old one's is still here. */
  readonly #senders = new Map<Socket, number>();
  readonly #onSocket: (socket: Socket, early: Buffer) => void;
  readonly #onLost: () => void;
  readonly #allowHalfOpen: () => boolean;
  #scheduled = false;

  /** @param onLost one was handed over and could not be taken */
  constructor(
    allowHalfOpen: () => boolean,
    onSocket: (socket: Socket, early: Buffer) => void,
    onLost: () => void,
  ) {
    this.#allowHalfOpen = allowHalfOpen;
    this.#onSocket = onSocket;
    this.#onLost = onLost;
    this.server = createServer({ pauseOnConnect: true }, (sender) => {
      sender.on('error', () => {});
      sender.unref();
      this.#senders.set(sender, socketFd(sender));
      sender.once('close', () => this.#senders.delete(sender));
      // The notice may have overtaken the acceptance of the connection that it is about.
      this.announced();
    });
  }

  /** A gateway says that a descriptor waits. */
  announced(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // In a turn of its own, so that the app's handlers do not run inside the cutting of frames.
    nextTurn(() => {
      this.#scheduled = false;
      this.sweep();
    });
  }

  /** Takes everything that waits, and forgets gateways that are gone. */
  sweep(): void {
    for (const [sender, fd] of this.#senders) {
      for (let socket = this.#take(sender, fd); socket !== undefined; socket = this.#take(sender, fd)) {
        this.#onSocket(socket.socket, socket.early);
      }
    }
  }

  #take(sender: Socket, fd: number): { readonly socket: Socket; readonly early: Buffer } | undefined {
    for (;;) {
      try {
        const received = receiveFd(fd);
        if (received === 'again') return undefined;
        if (received === 'closed') break;
        const socket = new Socket({
          fd: received.fd,
          readable: true,
          writable: true,
          allowHalfOpen: this.#allowHalfOpen(),
        });
        return { socket, early: received.bytes };
      } catch (error) {
        process.stderr.write(`bellows: a connection could not be taken over: ${String(error)}\n`);
        this.#onLost();
        // This one is lost (no descriptors left, or not a hand-over); those behind it are not.
        if (!lostOne.has((error as NodeJS.ErrnoException).code ?? '')) break;
      }
    }
    sender.destroy();
    this.#senders.delete(sender);
    return undefined;
  }
}
