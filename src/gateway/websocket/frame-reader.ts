// Cuts what a client sends into messages and control frames, and says what of it is wrong: a server's half of RFC 6455, with the
// bit of RFC 7692. Does no I/O. What is half there is plain bytes, which can be given to another process. A reader that
// `isIdle` knows nothing, and need not be kept.
//
//   push ──▶ bytes that are not looked at yet ──next──▶ a message, a control frame, what is broken, or nothing as long as more must come
import { isUtf8 } from 'node:buffer';
import type { Deflate } from './deflate.ts';
import { bits, closeCode, isCloseCode, lengthIn, maxControlBytes, opcode } from './frame.ts';
import { GrowingBytes } from './growing.ts';

export type Read =
  | { readonly is: 'message'; readonly data: Buffer; readonly isBinary: boolean }
  | { readonly is: 'ping'; readonly data: Buffer }
  | { readonly is: 'pong' }
  | { readonly is: 'close'; readonly code: number; readonly reason: string }
  /** Nothing after it can be understood. */
  | { readonly is: 'broken'; readonly code: number; readonly why: string };

/** A message that came in several frames, as far as they are there. */
export interface Fragments {
  readonly isBinary: boolean;
  readonly isCompressed: boolean;
  readonly bytes: Buffer;
}

/** What is half there. */
export interface ReaderState {
  readonly unread: Buffer;
  readonly fragments: Fragments | undefined;
}

interface Head {
  readonly kind: number;
  readonly isFinal: boolean;
  readonly isCompressed: boolean;
  readonly headBytes: number;
  readonly payloadBytes: number;
}

const maskBytes = 4;

function broken(code: number, why: string): Read {
  return { is: 'broken', code, why };
}

export class FrameReader {
  readonly #maxMessageBytes: number;
  readonly #deflate: Deflate | undefined;
  readonly #unread: GrowingBytes;
  /** Of the message whose first frame was there. */
  #fragments: { isBinary: boolean; isCompressed: boolean; bytes: GrowingBytes } | undefined;
  /** While they are looked at: bytes that will not be there later. */
  #passing: Buffer | undefined;

  /** @param deflate undefined where nothing may be compressed */
  constructor(maxMessageBytes: number, deflate: Deflate | undefined, state?: ReaderState) {
    this.#maxMessageBytes = maxMessageBytes;
    this.#deflate = deflate;
    this.#unread = new GrowingBytes(state?.unread);
    if (state?.fragments === undefined) return;
    const { isBinary, isCompressed, bytes } = state.fragments;
    this.#fragments = { isBinary, isCompressed, bytes: new GrowingBytes(bytes) };
  }

  get isIdle(): boolean {
    return this.#bytes.length === 0 && this.#fragments === undefined;
  }

  get state(): ReaderState {
    const fragments = this.#fragments;
    return {
      unread: this.#unread.bytes,
      fragments: fragments === undefined ? undefined : { ...fragments, bytes: fragments.bytes.bytes },
    };
  }

  /** @param bytes may change after {@link keep} was called */
  push(bytes: Buffer): void {
    this.keep();
    if (this.#unread.length > 0) this.#unread.add(bytes);
    else this.#passing = bytes;
  }

  /** Makes a copy of what was not looked at. */
  keep(): void {
    const passing = this.#passing;
    this.#passing = undefined;
    if (passing !== undefined) this.#unread.add(passing);
  }

  /** @returns undefined when more must come first */
  next(): Read | undefined {
    for (;;) {
      const bytes = this.#bytes;
      const head = this.#headOf(bytes);
      if (head === undefined || 'is' in head) return head;
      const { headBytes, payloadBytes, kind } = head;
      if (bytes.length < headBytes + payloadBytes) return undefined;
      const payload = unmasked(bytes, headBytes, payloadBytes);
      this.#used(headBytes + payloadBytes);
      const read = kind >= opcode.close ? control(kind, payload) : this.#data(head, payload);
      if (read !== undefined) return read;
    }
  }

  get #bytes(): Buffer {
    return this.#passing ?? this.#unread.bytes;
  }

  #used(count: number): void {
    if (this.#passing === undefined) this.#unread.drop(count);
    else this.#passing = this.#passing.length === count ? undefined : this.#passing.subarray(count);
  }

  /** @returns undefined when it is not whole yet */
  #headOf(bytes: Buffer): Head | Read | undefined {
    const [first, second] = bytes;
    if (first === undefined || second === undefined) return undefined;
    const kind = first & bits.opcode;
    const isFinal = (first & bits.final) !== 0;
    const isCompressed = (first & bits.reserved1) !== 0;
    const wrong = this.#whatIsWrong(kind, first, second);
    if (wrong !== undefined) return broken(closeCode.protocolError, wrong);
    const short = second & bits.length;
    const lengthBytes = short === lengthIn.twoBytes ? 2 : short === lengthIn.eightBytes ? 8 : 0;
    if (bytes.length < 2 + lengthBytes) return undefined;
    const payloadBytes =
      lengthBytes === 0
        ? short
        : lengthBytes === 2
          ? bytes.readUInt16BE(2)
          : Number(bytes.readBigUInt64BE(2));
    const ofMessage = kind === opcode.continuation ? (this.#fragments?.bytes.length ?? 0) : 0;
    if (ofMessage + payloadBytes > this.#maxMessageBytes) return this.#tooLarge();
    return { kind, isFinal, isCompressed, headBytes: 2 + lengthBytes + maskBytes, payloadBytes };
  }

  #whatIsWrong(kind: number, first: number, second: number): string | undefined {
    if ((first & bits.reserved2And3) !== 0) return 'a reserved bit is set';
    const isFirstOfMessage = kind === opcode.text || kind === opcode.binary;
    if ((first & bits.reserved1) !== 0 && (this.#deflate === undefined || !isFirstOfMessage))
      return 'something is compressed that may not be';
    if ((second & bits.mask) === 0) return 'a frame is not masked';
    if (kind >= opcode.close) {
      if (kind > opcode.pong) return `there is no opcode ${kind}`;
      if ((first & bits.final) === 0) return 'a control frame is in pieces';
      return (second & bits.length) > maxControlBytes ? 'a control frame is too long' : undefined;
    }
    if (kind > opcode.binary) return `there is no opcode ${kind}`;
    if (isFirstOfMessage === (this.#fragments === undefined)) return undefined;
    return isFirstOfMessage ? 'a message begins within another' : 'nothing is there to be continued';
  }

  #tooLarge(): Read {
    return broken(closeCode.tooLarge, `a message has more than ${this.#maxMessageBytes} bytes`);
  }

  #data({ kind, isFinal, isCompressed }: Head, payload: Buffer): Read | undefined {
    const fragments = this.#fragments;
    if (!isFinal) {
      if (fragments === undefined)
        this.#fragments = {
          isBinary: kind === opcode.binary,
          isCompressed,
          bytes: new GrowingBytes(payload),
        };
      else fragments.bytes.add(payload);
      return undefined;
    }
    this.#fragments = undefined;
    if (fragments === undefined) return this.#message(payload, kind === opcode.binary, isCompressed);
    fragments.bytes.add(payload);
    return this.#message(fragments.bytes.bytes, fragments.isBinary, fragments.isCompressed);
  }

  #message(sent: Buffer, isBinary: boolean, isCompressed: boolean): Read {
    const data = isCompressed ? this.#deflate?.inflate(sent, this.#maxMessageBytes) : sent;
    if (data === 'tooLarge') return this.#tooLarge();
    if (data === undefined || data === 'invalid')
      return broken(closeCode.invalidData, 'what should be compressed is not');
    if (!isBinary && !isUtf8(data)) return broken(closeCode.invalidData, 'a text is not valid UTF-8');
    return { is: 'message', data, isBinary };
  }
}

function control(kind: number, payload: Buffer): Read {
  if (kind === opcode.ping) return { is: 'ping', data: payload };
  if (kind === opcode.pong) return { is: 'pong' };
  if (payload.length === 0) return { is: 'close', code: closeCode.noStatus, reason: '' };
  if (payload.length === 1) return broken(closeCode.protocolError, 'a close code has two bytes');
  const code = payload.readUInt16BE(0);
  if (!isCloseCode(code)) return broken(closeCode.protocolError, `nobody may close with ${code}`);
  const reason = payload.subarray(2);
  if (!isUtf8(reason)) return broken(closeCode.invalidData, 'a reason is not valid UTF-8');
  return { is: 'close', code, reason: reason.toString('utf8') };
}

/** A copy. The mask is what stands before the payload. */
function unmasked(bytes: Buffer, at: number, length: number): Buffer {
  const payload = Buffer.allocUnsafe(length);
  const maskAt = at - maskBytes;
  for (let index = 0; index < length; index += 1)
    payload[index] = (bytes[at + index] ?? 0) ^ (bytes[maskAt + (index & 3)] ?? 0);
  return payload;
}
