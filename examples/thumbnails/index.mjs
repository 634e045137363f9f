// A function with a native dependency (sharp): photographs in, thumbnails out.
//   invoked:      {"image": "<base64>"} or {"photo": "chelsea"}, and {"width": 160, "format": "webp"}
//                 answers {"format", "width", "height", "bytes", "original", "image": "<base64>"}
//   at its URL:   GET ?photo=coffee&width=320 or POST an image: answers the thumbnail itself; GET / lists the samples
import { readFile, readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

const photos = fileURLToPath(new URL('./photos/', import.meta.url));
const formats = ['jpeg', 'png', 'webp', 'avif'];
/** A thumbnail, not a poster: also bounds what one call costs. */
const maxWidth = 1024;
/** 64 megapixels decode to 256 MB at most; a larger picture is refused before it is decoded. */
const limitInputPixels = 64_000_000;

// libvips keeps no cache and one thread: an instance has one call at a time and a memory limit.
sharp.cache(false);
sharp.concurrency(1);

class BadInput extends Error {
  name = 'BadInput';
}

export async function handler(event) {
  if (event?.requestContext?.http !== undefined) return atUrl(event);
  const original = await originalOf(event ?? {});
  const { data, info } = await thumbnail(original, event ?? {});
  return {
    format: info.format,
    width: info.width,
    height: info.height,
    bytes: data.length,
    original: await describe(original),
    image: data.toString('base64'),
  };
}

async function atUrl(event) {
  const query = event.queryStringParameters ?? {};
  try {
    const posted = event.requestContext.http.method === 'POST' && event.body;
    if (!posted && query.photo === undefined) return page();
    const image = event.isBase64Encoded ? event.body : Buffer.from(event.body ?? '').toString('base64');
    const original = await originalOf(posted ? { image } : { photo: query.photo });
    const { data, info } = await thumbnail(original, query);
    return {
      statusCode: 200,
      headers: {
        'content-type': `image/${info.format === 'heif' ? 'avif' : info.format}`,
        'cache-control': 'public, max-age=3600',
      },
      body: data.toString('base64'),
      isBase64Encoded: true,
    };
  } catch (error) {
    if (!(error instanceof BadInput)) throw error;
    return {
      statusCode: 400,
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      body: `${error.message}\n`,
    };
  }
}

async function originalOf({ image, photo }) {
  if (typeof image === 'string' && image !== '') return Buffer.from(image, 'base64');
  const names = await samples();
  const name = photo ?? names[0];
  if (!names.includes(name))
    throw new BadInput(`There is no photo "${name}". Choose one of: ${names.join(', ')}.`);
  return readFile(`${photos}${name}.jpg`);
}

async function samples() {
  return (await readdir(photos)).map((file) => file.replace(/\.jpg$/, '')).sort();
}

async function thumbnail(original, { width = 160, format = 'jpeg' }) {
  const pixels = Number(width);
  if (!Number.isInteger(pixels) || pixels < 1 || pixels > maxWidth)
    throw new BadInput(`The width ${width} is not a whole number from 1 to ${maxWidth}.`);
  if (!formats.includes(format))
    throw new BadInput(`The format ${format} is not one of ${formats.join(', ')}.`);
  try {
    return await sharp(original, { limitInputPixels })
      .rotate()
      .resize({ width: pixels, withoutEnlargement: true })
      .toFormat(format)
      .toBuffer({ resolveWithObject: true });
  } catch (error) {
    throw new BadInput(`This is not an image that can be read: ${error.message}.`, { cause: error });
  }
}

async function describe(original) {
  const { format, width, height } = await sharp(original).metadata();
  return { format, width, height, bytes: original.length };
}

async function page() {
  const names = await samples();
  const figures = names.map(
    (name) =>
      `<figure><img src="?photo=${name}&amp;width=240" width="240" alt="Sample photograph: ${name}"><figcaption>${name}</figcaption></figure>`,
  );
  const body = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Thumbnails</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
  body { margin: 2rem auto; max-width: 52rem; padding: 0 1rem; }
  main { display: flex; flex-wrap: wrap; gap: 1rem; }
  figure { margin: 0; } img { border-radius: .5rem; display: block; } code { font-size: .9em; }
</style>
<h1>Thumbnails</h1>
<p>Made on demand from the photographs in this function's package.
Send your own: <code>curl --data-binary @photo.jpg -H 'content-type: image/jpeg' URL?width=160 -o thumbnail.jpg</code></p>
<main>${figures.join('\n')}</main>
</html>`;
  return { statusCode: 200, headers: { 'content-type': 'text/html; charset=utf-8' }, body };
}
