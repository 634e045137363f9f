import { inflateRawSync, constants } from 'node:zlib';
import { expect, test } from 'vitest';
import { deflateWith, negotiateDeflate } from './deflate.ts';

const base = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover';

test.each([
  [undefined, undefined],
  ['', undefined],
  ['x-webkit-deflate-frame', undefined],
  ['permessage-deflate', base],
  // As Chromium, Firefox and Safari ask for it.
  ['permessage-deflate; client_max_window_bits', base],
  ['permessage-deflate; server_no_context_takeover; client_no_context_takeover', base],
  ['permessage-deflate; server_max_window_bits=10', `${base}; server_max_window_bits=10`],
  ['permessage-deflate; server_max_window_bits="15"', `${base}; server_max_window_bits=15`],
  ['permessage-deflate; server_max_window_bits=7, permessage-deflate', base],
  ['permessage-deflate; unheard_of', undefined],
  ['permessage-deflate; client_max_window_bits; client_max_window_bits', undefined],
  ['permessage-deflate; client_no_context_takeover=1', undefined],
  ['permessage-deflate; server_max_window_bits', undefined],
])('to the offer %j the answer is %j', (offer, answer) => {
  expect(negotiateDeflate(offer)?.answer).toBe(answer);
});

test.each([8, 9, 12, 15, null])('with a window of %j bits each message stands for itself', (bits) => {
  const text = 'all work and no play '.repeat(500);
  const data = deflateWith(bits).deflate(text)!;
  expect(data.length).toBeLessThan(text.length / 10);
  const windowBits = Math.max(9, bits ?? 15);
  const whole = Buffer.concat([data, Buffer.from([0, 0, 0xff, 0xff])]);
  expect(inflateRawSync(whole, { windowBits, finishFlush: constants.Z_SYNC_FLUSH }).toString()).toBe(text);
  expect(deflateWith(bits).inflate(data, text.length).toString()).toBe(text);
  expect(deflateWith(bits).inflate(data, text.length - 1)).toBe('tooLarge');
});

test('what is short is not worth it', () => {
  expect(deflateWith(null).deflate('x'.repeat(1023))).toBeUndefined();
});
