// A WebSocket client that costs little, so that ten thousand of them in one process are not what is measured: frames over a
// socket of node:net, text alone, no extension. Owns the handshake and the framing. What is said is ./talker.ts.
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';

export interface Target {
  readonly port: number;
  readonly path: string;
  /** An address of the loopback network to come from: each has some 28,000 ports for one destination. */
  readonly sourceAddress: string;
}

export interface Listener {
  onText(text: string): void;
  /** Whatever the reason: the peer's close, a broken socket, or a frame that no server may send. */
  onClose(): void;
}

const opcode = { text: 0x1, close: 0x8, ping: 0x9, pong: 0xa } as const;
const finalBit = 0x80;
const maskBit = 0x80;
/** From here on a frame's length takes two more bytes; nothing of the benches is so long. */
const extendedLength = 126;
/** Of a mask that changes nothing, which the protocol allows. */
const noMask = [0, 0, 0, 0];

/** @throws RangeError for more than 125 bytes */
function frame(kind: number, payload: Buffer): Buffer {
  if (payload.length >= extendedLength) throw new RangeError(`a frame of ${payload.length} bytes`);
  return Buffer.concat([Buffer.from([finalBit | kind, maskBit | payload.length, ...noMask]), payload]);
}

/** Open, once its promise resolves. */
export class LeanWebSocket {
  readonly #socket: Socket;
  readonly #listener: Listener;
  #rest: Buffer;

  private constructor(socket: Socket, rest: Buffer, listener: Listener) {
    this.#socket = socket;
    this.#rest = rest;
    this.#listener = listener;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.once('close', () => listener.onClose());
    if (rest.length > 0) this.#read(Buffer.alloc(0));
  }

  static open({ port, path, sourceAddress }: Target, listener: Listener): Promise<LeanWebSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress: sourceAddress, noDelay: true });
      let head = Buffer.alloc(0);
      const fail = (why: string): void => {
        socket.destroy();
        reject(new Error(`a WebSocket was not opened: ${why}`));
      };
      const onEnd = (): void => fail('the connection was closed');
      // It stays, so that a later one is heard of as the close that follows it.
      socket.on('error', (error) => fail(error.message)).once('close', onEnd);
      const onData = (chunk: Buffer): void => {
        head = Buffer.concat([head, chunk]);
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return;
        const status = head.toString('latin1', 0, head.indexOf('\r\n'));
        if (!status.startsWith('HTTP/1.1 101 ')) {
          fail(status);
          return;
        }
        socket.off('data', onData).off('close', onEnd);
        resolve(new LeanWebSocket(socket, head.subarray(end + 4), listener));
      };
      socket.on('data', onData);
      socket.write(
        `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
          `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
      );
    });
  }

  get isOpen(): boolean {
    return this.#socket.writable;
  }

  send(text: string): void {
    this.#socket.write(frame(opcode.text, Buffer.from(text)));
  }

  /** Without a word: what is measured is over. */
  end(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (bytes.length >= 2) {
      const first = bytes.readUInt8(0);
      const length = bytes.readUInt8(1);
      // Masked by a server, longer than anything that was sent, or in parts.
      if (length >= extendedLength + 1 || (first & finalBit) === 0) {
        this.#socket.destroy();
        return;
      }
      const headBytes = length === extendedLength ? 4 : 2;
      if (bytes.length < headBytes) break;
      const payloadBytes = length === extendedLength ? bytes.readUInt16BE(2) : length;
      if (bytes.length < headBytes + payloadBytes) break;
      this.#frame(first & 0x0f, bytes.subarray(headBytes, headBytes + payloadBytes));
      bytes = bytes.subarray(headBytes + payloadBytes);
    }
    this.#rest = bytes;
  }

  #frame(kind: number, payload: Buffer): void {
    if (kind === opcode.text) this.#listener.onText(payload.toString());
    else if (kind === opcode.ping) this.#socket.write(frame(opcode.pong, payload));
    else if (kind === opcode.close) this.#socket.destroy();
  }
}
