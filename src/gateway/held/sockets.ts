// The socket of one held connection, and the WebSocket protocol's course on it. While nothing is under way it is a socket that
// reads into the buffer of all, and this; what is half read is a FrameReader for as long as it is. Owns the socket, and when
// its frames are looked at. Does not own frames (websocket/), nor what messages mean (connection.ts).
//
//   open ──we close──▶ asked ──the client's close frame──▶ ending ──▶ closed
//     └──the client's close frame, or what is no frame──▶ ┘   └─30 s─▶ ┘
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { ClientReads } from '../lane/client-reads.ts';
import type { Deflate } from '../websocket/deflate.ts';
import { closeCode, closeFrame, frame, opcode } from '../websocket/frame.ts';
import { FrameReader, type Read, type ReaderState } from '../websocket/frame-reader.ts';
import { heldBounds } from './bounds.ts';
import type { ClientSocket, Ending, HeldConnection } from './connection.ts';

/** What `ws` gives a client for its close frame, and nginx by default for the end of its side. */
const endingMs = 30_000;

const lost: Ending = { code: closeCode.abnormal, reason: '' };

type Course =
  | { readonly is: 'open' }
  /** Our close frame is out. */
  | { readonly is: 'asked'; readonly late: NodeJS.Timeout }
  /** Our side has ended; what still comes is not looked at. */
  | { readonly is: 'ending'; readonly how: Ending; readonly late: NodeJS.Timeout };

const open: Course = { is: 'open' };

export class HeldSocket implements ClientSocket {
  readonly #socket: Socket;
  readonly #connection: HeldConnection;
  readonly #deflate: Deflate | undefined;
  #course: Course = open;
  /** Undefined when nothing is half read. */
  #reader: FrameReader | undefined;
  #isPaused = false;
  #isReading = false;

  /**
   * @param accepted not to be used any more
   * @param deflate what was agreed on; undefined: nothing is compressed
   * @param state what was half read of it elsewhere
   */
  constructor(
    accepted: Socket,
    connection: HeldConnection,
    deflate: Deflate | undefined,
    state?: ReaderState,
  ) {
    this.#connection = connection;
    this.#deflate = deflate;
    if (state !== undefined) this.#reader = new FrameReader(heldBounds.messageBytes, deflate, state);
    this.#socket = new ClientReads(accepted, this.#onBytes).socket;
    this.#socket.on('end', this.#onEnd).on('error', ignore).on('close', this.#onClose);
  }

  get bufferedAmount(): number {
    return this.#socket.writableLength;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get movable(): ClientSocket['movable'] {
    const socket = this.#socket;
    // What TLS has negotiated is in this process alone, and what the kernel has not taken yet is sent in order by one only.
    const stays = socket instanceof TLSSocket || this.#course.is !== 'open' || socket.writableLength > 0;
    if (stays || socket.destroyed || this.#isReading) return undefined;
    const deflate = this.#deflate ? { serverWindowBits: this.#deflate.serverWindowBits } : null;
    return { socket, deflate, reader: this.#reader?.state };
  }

  /** What is said before the first frame. */
  greet(head: string): void {
    this.#socket.write(head, 'latin1');
  }

  /** Takes what was read before it was ours. */
  take(bytes: Buffer): void {
    this.#onBytes(bytes, bytes.length);
  }

  send(data: string | Buffer): void {
    const smaller = this.#deflate?.deflate(data);
    const kind = typeof data === 'string' ? opcode.text : opcode.binary;
    this.#socket.write(frame(kind, smaller ?? data, smaller !== undefined));
  }

  pause(): void {
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#read();
    if (!this.#isPaused) this.#socket.resume();
  }

  close(code: number, reason: string): void {
    if (this.#course.is !== 'open') return;
    this.#socket.write(closeFrame(code, reason));
    this.#course = { is: 'asked', late: this.#endLate() };
  }

  terminate(): void {
    this.#socket.destroy();
  }

  abandon(): void {
    this.#socket.off('close', this.#onClose);
    this.#socket.destroy();
  }

  readonly #onBytes = (bytes: Buffer, length: number): void => {
    if (this.#course.is === 'ending' || length === 0) return;
    const reader = (this.#reader ??= new FrameReader(heldBounds.messageBytes, this.#deflate));
    reader.push(bytes.subarray(0, length));
    this.#read();
    reader.keep();
  };

  /** Looks at what is there, as far as the connection takes it. */
  #read(): void {
    const reader = this.#reader;
    // What is taken may be done with at once, and ask for more.
    if (reader === undefined || this.#isReading) return;
    this.#isReading = true;
    while (!this.#isPaused && this.#course.is !== 'ending') {
      const read = reader.next();
      if (read === undefined) break;
      this.#heard(read);
    }
    this.#isReading = false;
    if (reader.isIdle || this.#course.is === 'ending') this.#reader = undefined;
  }

  #heard(read: Read): void {
    switch (read.is) {
      case 'message':
        this.#connection.received(read.data, read.isBinary);
        return;
      case 'ping':
        this.#connection.touched();
        // Who leaves what it gets unread needs no more of it.
        if (this.#course.is === 'open' && this.bufferedAmount <= heldBounds.mostUnsentBytes)
          this.#socket.write(frame(opcode.pong, read.data));
        return;
      case 'pong':
        this.#connection.touched();
        return;
      case 'close':
        this.#end({ code: read.code, reason: read.reason });
        return;
      case 'broken':
        this.#end({ code: read.code, reason: '' });
    }
  }

  /** Answers with a close frame, unless ours is out, and ends our side. */
  #end(how: Ending): void {
    const late = this.#course.is === 'open' ? this.#endLate() : this.#course.late;
    if (this.#course.is === 'open') this.#socket.write(closeFrame(how.code, how.reason));
    this.#course = { is: 'ending', how, late };
    this.#socket.end();
    // Else its end would not be seen.
    this.#isPaused = false;
    this.#socket.resume();
  }

  #endLate(): NodeJS.Timeout {
    return setTimeout(() => this.#socket.destroy(), endingMs);
  }

  readonly #onEnd = (): void => {
    this.#socket.end();
  };

  readonly #onClose = (): void => {
    const course = this.#course;
    if (course.is !== 'open') clearTimeout(course.late);
    this.#reader = undefined;
    this.#connection.disconnected(course.is === 'ending' ? course.how : lost);
  };
}

function ignore(): void {}
