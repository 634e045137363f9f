// Reads a client's connection into one buffer that all connections share, for whoever looks at the bytes at once and keeps
// nothing of them: a small request is spared a buffer and a stream's ticks. Owns whose the bytes are.
//
//   taken at once ──release──▶ into the stream, as of any socket
//
// TLS has bytes only after it has decrypted them, and goes its own way.
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { readAnew, sharedBuffer } from '../../sys/shared-reads.ts';

/** @param bytes valid until it returns, in the first `length` of them */
type TakeBytes = (bytes: Buffer, length: number) => void;

export class ClientReads {
  /** The connection, in place of the one that was given. */
  readonly socket: Socket;
  #take: TakeBytes | undefined;

  /** @param accepted all that was read from it was taken out, and it is not to be used any more */
  constructor(accepted: Socket, take: TakeBytes) {
    this.#take = take;
    this.socket =
      accepted instanceof TLSSocket
        ? accepted
        : readAnew(accepted, { buffer: sharedBuffer, callback: this.#onRead });
    if (this.socket === accepted) accepted.on('data', this.#onData);
  }

  /** What is read from now on is the stream's. */
  release(): void {
    this.#take = undefined;
    this.socket.off('data', this.#onData);
  }

  /** @returns false to read no more until the stream is read */
  readonly #onRead = (length: number): boolean => {
    if (this.#take === undefined) return this.socket.push(Buffer.from(sharedBuffer.subarray(0, length)));
    this.#take(sharedBuffer, length);
    return true;
  };

  readonly #onData = (chunk: Buffer): void => this.#take?.(chunk, chunk.length);
}
