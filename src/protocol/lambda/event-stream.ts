// AWS's event stream encoding (application/vnd.amazon.eventstream), as far as answers of InvokeWithResponseStream need it: one
// event is one message. Owns the bytes. Does not own when they are sent. Pure.
//
//   u32 length of all │ u32 length of headers │ u32 CRC of these two │ headers │ payload │ u32 CRC of all before      big endian
//   header: u8 length, name, u8 type (7 is a string), u16 length, value
import { Buffer } from 'node:buffer';
import { crc32 } from 'node:zlib';

export const eventStreamContentType = 'application/vnd.amazon.eventstream';

const preludeBytes = 12;
const checksumBytes = 4;
const stringType = 7;

function headersOf(headers: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(
    Object.entries(headers).map(([name, value]) => {
      const encoded = Buffer.alloc(1 + name.length + 3 + value.length);
      encoded.writeUInt8(name.length, 0);
      encoded.write(name, 1, 'latin1');
      encoded.writeUInt8(stringType, 1 + name.length);
      encoded.writeUInt16BE(value.length, 2 + name.length);
      encoded.write(value, 4 + name.length, 'latin1');
      return encoded;
    }),
  );
}

/** @param headers as {@link headersOf} makes them */
function messageOf(headers: Buffer, payload: Uint8Array): Buffer {
  const payloadAt = preludeBytes + headers.length;
  const checksumAt = payloadAt + payload.length;
  const message = Buffer.allocUnsafe(checksumAt + checksumBytes);
  message.writeUInt32BE(message.length, 0);
  message.writeUInt32BE(headers.length, 4);
  message.writeUInt32BE(crc32(message.subarray(0, 8)), 8);
  message.set(headers, preludeBytes);
  message.set(payload, payloadAt);
  message.writeUInt32BE(crc32(message.subarray(0, checksumAt)), checksumAt);
  return message;
}

const chunkHeaders = headersOf({
  ':event-type': 'PayloadChunk',
  ':content-type': 'application/octet-stream',
  ':message-type': 'event',
});
const completeHeaders = headersOf({
  ':event-type': 'InvokeComplete',
  ':content-type': 'application/json',
  ':message-type': 'event',
});

/** A part of what the function answers, copied. */
export function payloadChunk(bytes: Uint8Array): Buffer {
  return messageOf(chunkHeaders, bytes);
}

export interface InvokeComplete {
  /** Absent when the function ended well. */
  readonly ErrorCode?: string;
  readonly ErrorDetails?: string;
  /** Base64. */
  readonly LogResult?: string;
}

/** The last event of an invocation. */
export function invokeComplete(complete: InvokeComplete): Buffer {
  return messageOf(completeHeaders, Buffer.from(JSON.stringify(complete)));
}
