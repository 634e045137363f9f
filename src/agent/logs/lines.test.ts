import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LineSplitter, maxLineBytes } from './lines.ts';

function split(chunks: readonly Uint8Array[]): string[] {
  const lines: string[] = [];
  const splitter = new LineSplitter((line) => lines.push(line));
  for (const chunk of chunks) splitter.push(Buffer.from(chunk));
  splitter.end();
  return lines;
}

test('lines come out as they went in, however the bytes were cut', () => {
  const line = fc.string({ unit: 'grapheme' }).filter((text) => !/[\n\r]/.test(text));
  fc.assert(
    fc.property(fc.array(line, { minLength: 1 }), fc.array(fc.nat(20)), (lines, cuts) => {
      let rest = Buffer.from(`${lines.join('\n')}\n`);
      const chunks: Buffer[] = [];
      for (const cut of cuts) {
        chunks.push(rest.subarray(0, cut));
        rest = rest.subarray(cut);
      }
      expect(split([...chunks, rest])).toEqual(lines);
    }),
  );
});

test('what has no line break at its end is a line too', () => {
  expect(split([Buffer.from('one\r\ntwo')])).toEqual(['one', 'two']);
});

test('a line that does not end is cut, and nothing of it is lost', () => {
  const lines = split([
    Buffer.alloc(maxLineBytes - 1, 120),
    Buffer.alloc(maxLineBytes + 2, 121),
    Buffer.from('\nz\n'),
  ]);
  expect(lines.map((line) => line.length)).toEqual([maxLineBytes, maxLineBytes, 1, 1]);
  expect(lines.join('').replace(/x+y+z/, '')).toBe('');
});

test('bytes that are no text become a line all the same', () => {
  expect(split([Buffer.from([0xff, 0xfe, 0x0a])])).toEqual(['\ufffd\ufffd']);
});

test('the chunk may be used again after it was pushed', () => {
  const lines: string[] = [];
  const splitter = new LineSplitter((line) => lines.push(line));
  const chunk = Buffer.from('abc');
  splitter.push(chunk);
  chunk.fill(120);
  splitter.push(Buffer.from('\n'));
  expect(lines).toEqual(['abc']);
});
