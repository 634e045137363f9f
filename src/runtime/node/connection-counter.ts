// Counts an app's direct client connections, and who ended them. Owns the counts. Does not own the sockets.
import type { Socket } from 'node:net';
import type { ConnectionCounts } from '../../model/instance.ts';
import { startTimer } from './primordials.ts';

/** The protocol's promise: at most one `connections` frame in this time. */
const tellEveryMs = 50;
/** Head and mask of a client's WebSocket close frame; its payload is at most 125 bytes (RFC 6455, 5.5.1). */
const closeOpcode = 0x88;
const maskBit = 0x80;
const closeHeadBytes = 6;

export class ConnectionCounter {
  #open = 0;
  #closedByClient = 0;
  #closedByServer = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #onChange: () => void;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  get counts(): ConnectionCounts {
    return { open: this.#open, closedByClient: this.#closedByClient, closedByServer: this.#closedByServer };
  }

  add(socket: Socket): void {
    this.#open += 1;
    this.#changed();
    let clientEnded = false;
    // First in line, to see whether our side has ended already; a peer's reset comes as an error.
    socket.prependListener('end', () => {
      clientEnded ||= !socket.writableEnded;
    });
    socket.prependListener('error', (error: NodeJS.ErrnoException) => {
      clientEnded ||=
        !socket.writableEnded &&
        (error.code === 'ECONNRESET' || error.code === 'EPIPE' || error.code === 'ETIMEDOUT');
    });
    // After a WebSocket's closing handshake it is the server that ends the connection, at the client's wish.
    const push = socket.push.bind(socket);
    socket.push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
      if (chunk !== null && isWebSocketClose(chunk)) clientEnded ||= !socket.writableEnded;
      return push(chunk, encoding);
    };
    socket.once('close', () => {
      this.#open -= 1;
      if (clientEnded) this.#closedByClient += 1;
      else this.#closedByServer += 1;
      this.#changed();
    });
  }

  #changed(): void {
    this.#timer ??= startTimer(() => {
      this.#timer = undefined;
      this.#onChange();
    }, tellEveryMs).unref();
  }
}

function isWebSocketClose(chunk: Buffer): boolean {
  const length = chunk[1];
  return (
    chunk[0] === closeOpcode &&
    length !== undefined &&
    (length & maskBit) !== 0 &&
    chunk.length === closeHeadBytes + (length & ~maskBit)
  );
}
