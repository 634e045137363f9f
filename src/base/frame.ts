// The framing of every Unix socket inside Bellows: [u32 payload length][u8 type][u32 id][payload], little endian.
// Owns encoding and incremental decoding. Does not own sockets, nor what a frame means (src/protocol). Pure.
// Buffer is imported, not taken from the global object: beside user code the global may be anything.
import { Buffer } from 'node:buffer';

/** A frame's header: 4 bytes of payload length, 1 of type, 4 of id. */
export const frameHeaderBytes = 9;
/** The largest are events and answers of 6 MB: a streamed answer comes in pieces, and an archive of 50 MB in a file, not in a frame. */
export const maxFramePayloadBytes = 32 * 1024 * 1024;

export interface Frame {
  readonly type: number;
  readonly id: number;
  /** A view into the received chunk: copy it to keep it past the handler's return. */
  readonly payload: Buffer;
}

/** Writes a header for a payload of `payloadLength` bytes into `target` at `offset`. */
export function writeFrameHeader(
  target: Buffer,
  offset: number,
  type: number,
  id: number,
  payloadLength: number,
): void {
  target.writeUInt32LE(payloadLength, offset);
  target.writeUInt8(type, offset + 4);
  target.writeUInt32LE(id, offset + 5);
}

/** One frame as one buffer. */
export function encodeFrame(type: number, id: number, payload: Uint8Array | string): Buffer {
  const length = typeof payload === 'string' ? Buffer.byteLength(payload) : payload.byteLength;
  const buffer = Buffer.allocUnsafe(frameHeaderBytes + length);
  writeFrameHeader(buffer, 0, type, id, length);
  if (typeof payload === 'string') buffer.write(payload, frameHeaderBytes);
  else buffer.set(payload, frameHeaderBytes);
  return buffer;
}

/** Cuts a byte stream into frames. Chunks go in as they come; `onFrame` is called for each whole frame, in order. */
export class FrameDecoder {
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  /** How many bytes must be there before it is worth looking again. */
  #neededBytes = frameHeaderBytes;
  readonly #onFrame: (frame: Frame) => void;

  constructor(onFrame: (frame: Frame) => void) {
    this.#onFrame = onFrame;
  }

  /** @throws RangeError when the peer announces a frame that is too large: the stream can not be trusted any more. */
  push(chunk: Buffer): void {
    this.#pendingBytes += chunk.length;
    if (this.#pendingBytes < this.#neededBytes) {
      this.#pending.push(chunk);
      return;
    }
    let buffer = chunk;
    if (this.#pending.length > 0) {
      this.#pending.push(chunk);
      buffer = Buffer.concat(this.#pending, this.#pendingBytes);
      this.#pending = [];
    }
    let offset = 0;
    this.#neededBytes = frameHeaderBytes;
    while (buffer.length - offset >= frameHeaderBytes) {
      const length = buffer.readUInt32LE(offset);
      if (length > maxFramePayloadBytes)
        throw new RangeError(`a frame of ${length} bytes is larger than ${maxFramePayloadBytes}`);
      const end = offset + frameHeaderBytes + length;
      if (end > buffer.length) {
        this.#neededBytes = frameHeaderBytes + length;
        break;
      }
      const type = buffer.readUInt8(offset + 4);
      const id = buffer.readUInt32LE(offset + 5);
      const payload = buffer.subarray(offset + frameHeaderBytes, end);
      offset = end;
      this.#onFrame({ type, id, payload });
    }
    this.#pendingBytes = buffer.length - offset;
    if (this.#pendingBytes > 0) this.#pending.push(offset === 0 ? buffer : buffer.subarray(offset));
  }
}
