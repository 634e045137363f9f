// Frames as clients send them, cut at every place, and what no client may send.
import { deflateRawSync, constants } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { deflateWith } from './deflate.ts';
import { closeFrame, frame, opcode } from './frame.ts';
import { FrameReader, type Read } from './frame-reader.ts';

const mostBytes = 1_000;
const mask = [0x37, 0xfa, 0x21, 0x3d];

/** As a client sends it. @param first the whole first byte */
function sent(first: number, payload: string | Buffer): Buffer {
  const bytes = Buffer.from(payload);
  const length =
    bytes.length < 126
      ? [bytes.length]
      : bytes.length < 65_536
        ? [126, bytes.length >> 8, bytes.length & 0xff]
        : [127, 0, 0, 0, 0, 0, bytes.length >> 16, (bytes.length >> 8) & 0xff, bytes.length & 0xff];
  length[0]! |= 0x80;
  return Buffer.from([first, ...length, ...mask, ...bytes.map((byte, at) => byte ^ mask[at & 3]!)]);
}

const compressed = (text: string): Buffer =>
  deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);

function told(read: Read): string {
  switch (read.is) {
    case 'message':
      return read.isBinary ? `bytes ${read.data.toString('hex')}` : `text ${read.data.toString()}`;
    case 'ping':
      return `ping ${read.data.toString()}`;
    case 'pong':
      return 'pong';
    case 'close':
      return `close ${read.code} ${read.reason}`;
    case 'broken':
      return `broken ${read.code}`;
  }
}

/** @param then between two pieces, in place of the reader */
function heard(pieces: readonly Buffer[], then = (reader: FrameReader): FrameReader => reader): string[] {
  let reader = new FrameReader(mostBytes, deflateWith(null));
  const all: string[] = [];
  // One buffer for all, as the gateway reads them.
  const shared = Buffer.alloc(70_000);
  for (const piece of pieces) {
    piece.copy(shared);
    reader.push(shared.subarray(0, piece.length));
    for (let read = reader.next(); read !== undefined; read = reader.next()) {
      all.push(told(read));
      if (read.is === 'broken') return all;
    }
    reader.keep();
    shared.fill(0);
    reader = then(reader);
  }
  if (reader.isIdle) all.push('idle');
  return all;
}

const talk = Buffer.concat([
  sent(0x81, 'one'),
  sent(0x01, 'tw'),
  sent(0x89, 'there?'),
  sent(0x00, ''),
  sent(0x80, 'ö!'),
  sent(0x82, Buffer.alloc(300, 7)),
  sent(0x8a, ''),
  sent(0xc1, compressed('three '.repeat(20))),
  sent(0x41, compressed('four').subarray(0, 2)),
  sent(0x80, compressed('four').subarray(2)),
  sent(0xc1, ''),
  sent(0x88, Buffer.from([0x0f, 0xa0, 0x62, 0x79, 0x65])),
]);
const inWords = [
  'text one',
  'ping there?',
  'text twö!',
  `bytes ${'07'.repeat(300)}`,
  'pong',
  `text ${'three '.repeat(20)}`,
  'text four',
  'text ',
  'close 4000 bye',
  'idle',
];

test('messages, pieces of them and control frames in between are read, in order', () => {
  expect(heard([talk])).toEqual(inWords);
});

test('the same comes of it wherever it is cut, and byte by byte', () => {
  for (let at = 1; at < talk.length; at += 1)
    expect(heard([talk.subarray(0, at), talk.subarray(at)])).toEqual(inWords);
  expect(heard([...talk].map((byte) => Buffer.from([byte])))).toEqual(inWords);
});

test('the same comes of it when another reader goes on with what is half there, at every place', () => {
  const copied = (reader: FrameReader): FrameReader => {
    const { unread, fragments } = reader.state;
    return new FrameReader(mostBytes, deflateWith(null), {
      unread: Buffer.from(unread),
      fragments: fragments === undefined ? undefined : { ...fragments, bytes: Buffer.from(fragments.bytes) },
    });
  };
  for (let at = 1; at < talk.length; at += 1)
    expect(heard([talk.subarray(0, at), talk.subarray(at)], copied)).toEqual(inWords);
});

test('what was not looked at yet is given on with what is half there', () => {
  const reader = new FrameReader(mostBytes, undefined);
  reader.push(talk);
  expect(told(reader.next()!)).toBe('text one');
  reader.keep();
  const next = new FrameReader(mostBytes, deflateWith(null), reader.state);
  expect(told(next.next()!)).toBe('ping there?');
  expect(told(next.next()!)).toBe('text twö!');
});

describe('what no client may send', () => {
  test.each([
    ['an opcode for data that nobody knows', sent(0x83, 'x'), 1002],
    ['an opcode for control that nobody knows', sent(0x8b, 'x'), 1002],
    ['a reserved bit', sent(0x91, 'x'), 1002],
    ['a compressed ping', sent(0xc9, 'x'), 1002],
    ['a frame without a mask', frame(opcode.text, 'x'), 1002],
    ['a ping in pieces', sent(0x09, 'x'), 1002],
    ['a ping that is too long', sent(0x89, 'x'.repeat(126)), 1002],
    ['a piece of nothing', sent(0x80, 'x'), 1002],
    ['a message within another', Buffer.concat([sent(0x01, 'x'), sent(0x81, 'y')]), 1002],
    ['a compressed second piece', Buffer.concat([sent(0x01, 'x'), sent(0xc0, 'y')]), 1002],
    ['a close frame of one byte', sent(0x88, 'x'), 1002],
    ['a close code that is never sent', sent(0x88, Buffer.from([0x03, 0xee])), 1002],
    ['a reason that is no text', sent(0x88, Buffer.from([0x03, 0xe8, 0xff])), 1007],
    ['a text that is none', sent(0x81, Buffer.from([0xff])), 1007],
    ['half a character', Buffer.concat([sent(0x01, 'a'), sent(0x80, Buffer.from([0xc3]))]), 1007],
    ['what is no compression', sent(0xc1, Buffer.from([0xff, 0xff, 1])), 1007],
    ['a message that is too large', sent(0x82, Buffer.alloc(mostBytes + 1)), 1009],
    ['the same by its length alone', sent(0x82, Buffer.alloc(70_000)).subarray(0, 10), 1009],
    ['the same in pieces', Buffer.concat([sent(0x02, Buffer.alloc(mostBytes)), sent(0x80, 'x')]), 1009],
    ['little that becomes too much', sent(0xc2, compressed('x'.repeat(mostBytes + 1))), 1009],
  ])('%s is broken', (_what, bytes, code) => {
    expect(heard([bytes])).toEqual([`broken ${code}`]);
  });

  test('compression that was not agreed on is broken', () => {
    const reader = new FrameReader(mostBytes, undefined);
    reader.push(sent(0xc1, compressed('x')));
    expect(told(reader.next()!)).toBe('broken 1002');
  });
});

test('a message of exactly the most bytes is taken', () => {
  expect(heard([sent(0x82, Buffer.alloc(mostBytes))])).toHaveLength(2);
});

describe('a close frame', () => {
  test('has code and reason, or neither', () => {
    expect(closeFrame(1013, 'full').toString('latin1')).toBe('\x88\x06\x03\xf5full');
    expect(closeFrame(1005, '').toString('latin1')).toBe('\x88\x00');
  });

  test('is never longer than a control frame may be, and ends with a whole character', () => {
    const long = closeFrame(1013, 'ä'.repeat(500));
    expect(long[1]).toBe(124);
    expect(long.subarray(4).toString()).toBe('ä'.repeat(61));
  });
});

test.each([
  [125, 2],
  [126, 4],
  [65_535, 4],
  [65_536, 10],
])('a frame of %i bytes has a head of %i', (bytes, head) => {
  expect(frame(opcode.binary, Buffer.alloc(bytes))).toHaveLength(head + bytes);
});
