// The answer to a request that the lane took: heads as node:http writes them, one write for an answer that is whole,
// chunked coding for one that is streamed. Owns its bytes. Does not own the connection (lane-connection.ts), and
// checks no names and values: who answers has validated what came from user code (url/response.ts).
import { EventEmitter } from 'node:events';
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Answer } from '../exchange.ts';
import { serverLimits } from '../config.ts';

/** Above this a copy of the body costs more than writing it beside its head. */
const maxJoinedBytes = 16 * 1024;
const keepAliveLines = `Connection: keep-alive\r\nKeep-Alive: timeout=${serverLimits.keepAliveTimeoutMs / 1000}\r\n\r\n`;
const closeLines = 'Connection: close\r\n\r\n';

/** What an answer needs of the connection it goes out over. */
export interface AnswerOwner {
  readonly socket: Socket;
  /** Whether no further request is taken on the connection. */
  readonly ending: boolean;
  /** The answer is whole. */
  answered(answer: LaneAnswer): void;
}

/** How the body's end is told (RFC 9112, 6.3). */
type Framing = 'length' | 'chunked' | 'none';

export class LaneAnswer extends EventEmitter<{ close: []; drain: [] }> implements Answer {
  readonly #owner: AnswerOwner;
  #closes = false;
  #framing: Framing = 'length';
  #contentLength = 0;
  /** Composed and not yet sent: it goes out together with the first of the body. */
  #head = '';
  #bytesSent = 0;
  #headersSent = false;
  #ended = false;
  #destroyed = false;

  constructor(owner: AnswerOwner) {
    super();
    this.#owner = owner;
  }

  get headersSent(): boolean {
    return this.#headersSent;
  }

  get writableEnded(): boolean {
    return this.#ended;
  }

  get destroyed(): boolean {
    return this.#destroyed;
  }

  /** Whether the connection ends with it; known once the head is. */
  get closes(): boolean {
    return this.#closes;
  }

  /** Head, body and coding, as far as it was given to the connection. */
  get bytesSent(): number {
    return this.#bytesSent;
  }

  writeHead(status: number, headers: readonly string[]): void {
    if (this.#headersSent) throw new Error('an answer has one head');
    this.#headersSent = true;
    this.#closes = this.#owner.ending;
    let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'unknown'}\r\n`;
    let length: string | undefined;
    let hasDate = false;
    for (let index = 0; index + 1 < headers.length; index += 2) {
      const name = headers[index] ?? '';
      const value = headers[index + 1] ?? '';
      // Told apart by length first: most names are none of these.
      switch (name.length) {
        case 4:
          hasDate ||= name.toLowerCase() === 'date';
          break;
        case 10:
          if (name.toLowerCase() === 'connection') {
            this.#closes ||= value === 'close';
            continue;
          }
          break;
        case 14:
          if (name.toLowerCase() === 'content-length') length = value;
      }
      text += `${name}: ${value}\r\n`;
    }
    if (!hasDate) text += dateLine();
    if (status === 204 || status === 304) this.#framing = 'none';
    else if (length !== undefined) this.#contentLength = Number(length);
    else {
      this.#framing = 'chunked';
      text += 'Transfer-Encoding: chunked\r\n';
    }
    this.#head = text + (this.#closes ? closeLines : keepAliveLines);
  }

  flushHeaders(): void {
    if (this.#head === '') return;
    this.#send(this.#head);
    this.#head = '';
  }

  write(chunk: Buffer): boolean {
    if (this.#ended || this.#destroyed || this.#framing === 'none' || chunk.length === 0) return true;
    if (this.#framing === 'length') {
      this.flushHeaders();
      return this.#send(chunk);
    }
    const { socket } = this.#owner;
    socket.cork();
    this.#send(`${this.#head}${chunk.length.toString(16)}\r\n`);
    this.#head = '';
    this.#send(chunk);
    const takesMore = this.#send('\r\n');
    socket.uncork();
    return takesMore;
  }

  end(body: string | Buffer = ''): void {
    if (this.#ended || this.#destroyed) return;
    if (this.#framing === 'chunked') {
      if (body.length > 0) this.write(typeof body === 'string' ? Buffer.from(body) : body);
      this.#send(`${this.#head}0\r\n\r\n`);
    } else this.#endPlain(this.#framing === 'none' ? '' : body);
    this.#head = '';
    this.#ended = true;
    this.#owner.answered(this);
    this.#close();
  }

  /** Head and body in one write, where that is no more work than two. */
  #endPlain(body: string | Buffer): void {
    if (typeof body !== 'string') {
      if (body.length <= maxJoinedBytes) this.#send(this.#head + body.toString('latin1'));
      else this.#sendBoth(body);
    } else if (body.length === this.#contentLength || body === '') {
      // As many bytes as UTF-16 units: it is ASCII, and goes through latin1, as the head does, unchanged.
      this.#send(this.#head + body);
    } else this.#sendBoth(Buffer.from(body));
  }

  #sendBoth(body: Buffer): void {
    const { socket } = this.#owner;
    socket.cork();
    this.flushHeaders();
    this.#send(body);
    socket.uncork();
  }

  #send(bytes: string | Buffer): boolean {
    this.#bytesSent += bytes.length;
    const { socket } = this.#owner;
    // A client that has ended its side or is gone takes nothing any more; 'close' tells of it.
    if (!socket.writable) return true;
    return typeof bytes === 'string' ? socket.write(bytes, 'latin1') : socket.write(bytes);
  }

  /** Breaks the connection off; 'close' follows. */
  destroy(): void {
    this.#owner.socket.destroy();
  }

  /** The connection is gone. */
  connectionClosed(): void {
    this.#close();
  }

  #close(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.emit('close');
  }
}

let dateOfSecond = { second: Number.NaN, line: '' };

/** Made once a second, as node:http does. */
function dateLine(): string {
  const nowMs = Date.now();
  const second = Math.floor(nowMs / 1000);
  if (dateOfSecond.second !== second)
    dateOfSecond = { second, line: `Date: ${new Date(nowMs).toUTCString()}\r\n` };
  return dateOfSecond.line;
}
