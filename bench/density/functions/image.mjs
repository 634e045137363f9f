// A picture is decoded, made half as large, and encoded again as PNG.
import { createHash } from 'node:crypto';
import { decode, encode } from 'fast-png';

const width = 900;
const height = 600;

function picture(seed) {
  const data = new Uint8Array(width * height * 3);
  for (let at = 0; at < data.length; at += 1) data[at] = (at * (seed + 3) + (at >> 9)) & 0xff;
  return encode({ width, height, data, channels: 3, depth: 8 });
}

function half({ width, height, data, channels }) {
  const smaller = new Uint8Array((width / 2) * (height / 2) * channels);
  let to = 0;
  for (let y = 0; y < height; y += 2) {
    for (let x = 0; x < width; x += 2) {
      for (let channel = 0; channel < channels; channel += 1) {
        const at = (y * width + x) * channels + channel;
        const below = at + width * channels;
        smaller[to++] = (data[at] + data[at + channels] + data[below] + data[below + channels]) / 4;
      }
    }
  }
  return { width: width / 2, height: height / 2, data: smaller, channels, depth: 8 };
}

export const work = async (seed) =>
  createHash('sha256')
    .update(encode(half(decode(picture(seed)))))
    .digest('hex');
