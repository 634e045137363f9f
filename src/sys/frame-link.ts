// Frames over a connected Unix socket, or any other stream of bytes both ways: gathers writes of one turn of the event loop
// into one system call, cuts what arrives into frames, and ends in one place. Owns the socket. Does not own what frames mean.
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { FrameBatch } from '../base/frame-batch.ts';
import { encodeFrame, FrameDecoder, type Frame } from '../base/frame.ts';
import { copiedReads } from './shared-reads.ts';

export interface FrameLinkHandlers {
  readonly onFrame: (frame: Frame, link: FrameLink) => void;
  /** Called once, whichever side ended it. `error` is absent after an orderly end. */
  readonly onClose: (error: Error | undefined, link: FrameLink) => void;
}

export class FrameLink {
  readonly socket: Duplex;
  /** Whole buffers, in order, and behind them what was written since. */
  #gathered: Buffer[] = [];
  readonly #batch = new FrameBatch();
  #flushScheduled = false;
  #closed = false;
  #error: Error | undefined;
  readonly #decoder: FrameDecoder;

  /** To a Unix socket; `onOpen` is called once it is there, or `onClose`. Costs less to read than a socket that is given. */
  static connect(
    path: string,
    handlers: FrameLinkHandlers & { readonly onOpen: (link: FrameLink) => void },
  ): FrameLink {
    const socket = connect({ path, onread: copiedReads((chunk) => link.#take(chunk)) });
    const link = new FrameLink(socket, handlers);
    socket.once('connect', () => handlers.onOpen(link));
    return link;
  }

  constructor(socket: Duplex, handlers: FrameLinkHandlers) {
    this.socket = socket;
    this.#decoder = new FrameDecoder((frame) => handlers.onFrame(frame, this));
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', (error) => {
      this.#error ??= error;
    });
    socket.on('close', () => {
      this.#closed = true;
      this.#gathered = [];
      handlers.onClose(this.#error, this);
    });
  }

  #take(chunk: Buffer): void {
    try {
      this.#decoder.push(chunk);
    } catch (thrown) {
      // A peer that sends nonsense, or a handler that throws: either way the stream's state is unknown.
      this.destroy(thrown instanceof Error ? thrown : new Error(String(thrown)));
    }
  }

  get closed(): boolean {
    return this.#closed || this.socket.destroyed;
  }

  /** Bytes that the peer has not taken yet: what back-pressure is decided by. */
  get queuedBytes(): number {
    return this.socket.writableLength;
  }

  /** Queues a frame; false when the link is closed and nothing will be sent. */
  send(type: number, id: number, payload: Uint8Array | string): boolean {
    return this.sendEncoded(encodeFrame(type, id, payload));
  }

  /** Queues an already encoded frame. */
  sendEncoded(frame: Buffer): boolean {
    if (this.closed) return false;
    if (!this.#batch.empty) this.#gathered.push(this.#batch.take());
    this.#gathered.push(frame);
    this.#scheduleFlush();
    return true;
  }

  /** Queues what `write` writes: frames made in place, without a buffer of their own. */
  sendWritten(write: (batch: FrameBatch) => void): boolean {
    if (this.closed) return false;
    write(this.#batch);
    this.#scheduleFlush();
    return true;
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    if (!this.#batch.empty) this.#gathered.push(this.#batch.take());
    const gathered = this.#gathered;
    const [first] = gathered;
    if (first === undefined || this.closed) return;
    this.#gathered = [];
    this.socket.write(gathered.length === 1 ? first : Buffer.concat(gathered));
    // With nothing left to write the kernel has its own copy.
    if (this.socket.writableLength === 0) this.#batch.release();
  };

  /** Sends what is queued, then ends. */
  end(): void {
    this.#flush();
    this.socket.end();
  }

  destroy(error?: Error): void {
    this.#error ??= error;
    this.socket.destroy();
  }
}
