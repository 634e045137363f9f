// Counts an app's direct client connections, and who ended them. Owns the counts. Does not own the sockets.
import type { Socket } from 'node:net';
import type { ConnectionCounts } from '../../model/instance.ts';
import { startTimer } from './primordials.ts';

/** The protocol's promise: at most one `connections` frame in this time. */
const tellEveryMs = 50;
/** A WebSocket close frame (RFC 6455, 5.5.1): opcode with FIN, length and mask bit, and from a client a mask of 4 bytes. */
const closeOpcode = 0x88;
const maskBit = 0x80;
const serverHeadBytes = 2;
const clientHeadBytes = 6;
/** Errors that say the peer is gone. */
const lostPeer: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT']);

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
    let first: 'client' | 'server' | undefined;
    const clientEnds = (): void => {
      first ??= socket.writableEnded ? 'server' : 'client';
    };
    // First in line, to see whether our side has ended already; a peer's reset comes as an error.
    socket.prependListener('end', clientEnds);
    socket.prependListener('error', (error: NodeJS.ErrnoException) => {
      if (lostPeer.has(error.code ?? '')) clientEnds();
    });
    // After a WebSocket's closing handshake the server ends the connection, whoever asked for it. Only these
    // two methods see frames of an upgraded connection without taking them from the app.
    const push = socket.push.bind(socket);
    socket.push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
      if (chunk !== null && isWebSocketClose(chunk, maskBit)) clientEnds();
      return push(chunk, encoding);
    };
    const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
    socket.write = (...args: unknown[]): boolean => {
      if (isWebSocketClose(args[0], 0)) first ??= 'server';
      return write(...args);
    };
    socket.once('close', () => {
      this.#open -= 1;
      if (first === 'client') this.#closedByClient += 1;
      else this.#closedByServer += 1;
      this.#changed();
    });
  }

  /** One was handed over and is closed already: who counts what it handed over must hear of it. */
  lost(): void {
    this.#closedByServer += 1;
    this.#changed();
  }

  #changed(): void {
    this.#timer ??= startTimer(() => {
      this.#timer = undefined;
      this.#onChange();
    }, tellEveryMs).unref();
  }
}

/** Whether this is a whole close frame, as both sides send it: alone, and masked by the client only. */
function isWebSocketClose(chunk: unknown, mask: 0 | typeof maskBit): boolean {
  if (!(chunk instanceof Uint8Array) || chunk[0] !== closeOpcode) return false;
  const length = chunk[1];
  if (length === undefined || (length & maskBit) !== mask) return false;
  const headBytes = mask === 0 ? serverHeadBytes : clientHeadBytes;
  return chunk.length === headBytes + (length & ~maskBit);
}
