import { crc32 } from 'node:zlib';
import { expect, test } from 'vitest';
import { invokeComplete, payloadChunk } from './event-stream.ts';

/** Cuts a message as the format's description says, apart from the encoder. */
function decode(message: Buffer): { headers: Record<string, string>; payload: Buffer } {
  expect(message.readUInt32BE(0)).toBe(message.length);
  expect(message.readUInt32BE(8)).toBe(crc32(message.subarray(0, 8)));
  expect(message.readUInt32BE(message.length - 4)).toBe(crc32(message.subarray(0, message.length - 4)));
  const payloadAt = 12 + message.readUInt32BE(4);
  const headers: Record<string, string> = {};
  for (let at = 12; at < payloadAt;) {
    const nameEnd = at + 1 + message.readUInt8(at);
    const name = message.toString('utf8', at + 1, nameEnd);
    expect(message.readUInt8(nameEnd)).toBe(7);
    const valueEnd = nameEnd + 3 + message.readUInt16BE(nameEnd + 1);
    headers[name] = message.toString('utf8', nameEnd + 3, valueEnd);
    at = valueEnd;
  }
  return { headers, payload: message.subarray(payloadAt, message.length - 4) };
}

test('a part of an answer is an event that holds its bytes', () => {
  const bytes = Buffer.from([0, 255, 10, 128]);
  expect(decode(payloadChunk(bytes))).toEqual({
    headers: {
      ':message-type': 'event',
      ':event-type': 'PayloadChunk',
      ':content-type': 'application/octet-stream',
    },
    payload: bytes,
  });
  expect(decode(payloadChunk(Buffer.alloc(0))).payload).toHaveLength(0);
});

test('the last event is JSON, with only what there is to say', () => {
  const { headers, payload } = decode(invokeComplete({ ErrorCode: 'Unhandled', ErrorDetails: 'ä' }));
  expect(headers).toMatchObject({ ':event-type': 'InvokeComplete', ':content-type': 'application/json' });
  expect(JSON.parse(payload.toString())).toEqual({ ErrorCode: 'Unhandled', ErrorDetails: 'ä' });
  expect(decode(invokeComplete({})).payload.toString()).toBe('{}');
});
