// Reads a client's connection into one buffer that all connections share, for whoever looks at the bytes at once and keeps
// nothing of them: a small request is spared a buffer and a stream's ticks. Owns where the bytes go.
//
//   taken at once ──release──▶ into the stream, as of any socket
//
// TLS has bytes only after it has decrypted them, and goes its own way.
import { Socket, type Server, type SocketConstructorOpts } from 'node:net';
import { TLSSocket } from 'node:tls';

/** @param bytes valid until it returns, in the first `length` of them */
type TakeBytes = (bytes: Buffer, length: number) => void;

/** As much as Node reads at once. One is enough: nobody reads while another's bytes are looked at. */
const shared = Buffer.allocUnsafeSlow(64 * 1024);

/** What of a connection's handle is used that Node does not describe. */
type Handle = SocketConstructorOpts['handle'] & { reading: boolean; readStop(): void };

/** Node's private fields of an accepted connection; the server counts its connections by them. */
interface Accepted {
  _handle: Handle | null | undefined;
  _server: Server | null;
}

export class ClientReads {
  /** The connection, in place of the one that was given. */
  readonly socket: Socket;
  #take: TakeBytes | undefined;

  /** @param accepted all that was read from it was taken out, and it is not to be used any more */
  constructor(accepted: Socket, take: TakeBytes) {
    this.#take = take;
    this.socket = accepted instanceof TLSSocket ? accepted : this.#inPlaceOf(accepted as Socket & Accepted);
    if (this.socket === accepted) accepted.on('data', this.#onData);
  }

  /** What is read from now on is the stream's. */
  release(): void {
    this.#take = undefined;
    this.socket.off('data', this.#onData);
  }

  /** Node lets only who makes a socket say where its bytes go. */
  #inPlaceOf(accepted: Socket & Accepted): Socket {
    const onread = { buffer: shared, callback: this.#onRead };
    const { _handle: handle, allowHalfOpen } = accepted;
    if (handle === undefined || handle === null) return accepted;
    // An end that was read already is read again, but only by who begins to read.
    if (accepted.bytesRead > 0) {
      handle.readStop();
      handle.reading = false;
    }
    const socket = new Socket({ handle, allowHalfOpen, onread }) as Socket & Accepted;
    socket._server = accepted._server;
    accepted._handle = null;
    accepted._server = null;
    return socket;
  }

  /** @returns false to read no more until the stream is read */
  readonly #onRead = (length: number): boolean => {
    if (this.#take === undefined) return this.socket.push(Buffer.from(shared.subarray(0, length)));
    this.#take(shared, length);
    return true;
  };

  readonly #onData = (chunk: Buffer): void => this.#take?.(chunk, chunk.length);
}
