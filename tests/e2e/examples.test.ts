// A first start as README.md tells it: the examples are there and answer, and every command that is printed works.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { Bellows, projectRoot } from '../support/bellows.ts';

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A line as a person pastes it into a terminal, in the checkout. */
async function shell(line: string, env: Readonly<Record<string, string>> = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const options = { cwd: projectRoot, env: { ...process.env, ...env } };
    const child = execFile('sh', ['-c', line], options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : (child.exitCode ?? -1), stdout, stderr }),
    );
  });
}

const printedCommands = (bellows: Bellows): string[] =>
  [...bellows.output.matchAll(/^ {2}(npx bellows .*)$/gm)].map((match) => match[1]!);

interface ImageSize {
  readonly width: number;
  readonly height: number;
}

/** Of a JPEG, by its frame header (ITU-T T.81, B.2.2), with no image library. */
function jpegSize(bytes: Buffer): ImageSize {
  expect(bytes.subarray(0, 2).toString('hex')).toBe('ffd8');
  expect(bytes.subarray(-2).toString('hex')).toBe('ffd9');
  for (let at = 2; at < bytes.length;) {
    const marker = bytes[at + 1]!;
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return { height: bytes.readUInt16BE(at + 5), width: bytes.readUInt16BE(at + 7) };
    at += 2 + bytes.readUInt16BE(at + 2);
  }
  throw new Error('no frame in this JPEG');
}

/** Of a PNG, by its first chunk (RFC 2083, 4.1.1). */
function pngSize(bytes: Buffer): ImageSize {
  expect(bytes.subarray(12, 16).toString()).toBe('IHDR');
  return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) };
}

describe('bellows up with the examples, on a fresh data directory', () => {
  let bellows: Bellows;
  beforeAll(async () => {
    bellows = await Bellows.start({ args: [] });
  });
  afterAll(async () => {
    await bellows.stop();
  });

  test('all three are deployed, and no warning was printed', () => {
    expect(bellows.output).toContain('Deploying the examples hello, chat, thumbnails');
    expect(bellows.output).not.toContain('warning');
    expect(bellows.output).toContain(`${bellows.url}/w/default/chat/`);
  });

  test('the three commands that it prints are those of README.md, and work as printed', async () => {
    const commands = printedCommands(bellows);
    const readme = readFileSync(join(projectRoot, 'README.md'), 'utf8');
    expect(commands).toHaveLength(3);
    for (const line of commands)
      expect(readme).toContain(line.replace(` --data-dir ${bellows.dataDirectory}`, ''));
    const [invoke, resize, ps] = [
      await shell(commands[0]!),
      await shell(commands[1]!),
      await shell(commands[2]!),
    ];
    expect(invoke, invoke.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(invoke.stdout)).toMatchObject({ message: 'Hello, Ada!', memory: '128MiB' });
    expect(resize, resize.stderr).toMatchObject({ code: 0 });
    expect(resize.stdout).toContain('256MiB');
    expect(ps, ps.stderr).toMatchObject({ code: 0 });
    expect(ps.stdout).toMatch(/chat.*256MiB/);
  });

  test('the JavaScript of README.md calls hello through the AWS SDK', async () => {
    const readme = readFileSync(join(projectRoot, 'README.md'), 'utf8');
    const code = /```js\n([\s\S]*?)```/.exec(readme)![1]!;
    expect(code).toContain('http://127.0.0.1:8080');
    const home = mkdtempSync(join(tmpdir(), 'bellows-home-'));
    try {
      symlinkSync(bellows.dataDirectory, join(home, '.bellows'));
      const here = code.replace('http://127.0.0.1:8080', bellows.url);
      const ran = await shell('exec node --input-type=module -e "$CODE"', { HOME: home, CODE: here });
      expect(ran, ran.stderr).toMatchObject({ code: 0 });
      expect(ran.stdout).toContain('Hello, Ada!');
    } finally {
      rmSync(home, { recursive: true });
    }
  });

  test('hello answers at its URL too', async () => {
    const answer = await fetch(`${bellows.url}/w/default/hello/?name=Grace`);
    expect(await answer.json()).toMatchObject({ message: 'Hello, Grace!' });
  });

  test('chat serves its page, and tells everybody what one says and what it may use', async () => {
    const page = await fetch(`${bellows.url}/w/default/chat/`);
    expect(page.headers.get('content-type')).toContain('text/html');
    expect(await page.text()).toContain('<title>Chat on Bellows</title>');
    const url = `ws://127.0.0.1:${bellows.port}/w/default/chat/`;
    const [ada, grace] = [new WebSocket(url), new WebSocket(url)];
    const heard: Record<string, unknown>[] = [];
    try {
      const hears = new Promise<void>((resolve) =>
        grace.on('message', (data: Buffer) => {
          const message = JSON.parse(data.toString()) as Record<string, unknown>;
          heard.push(message);
          if (message['type'] === 'message') resolve();
        }),
      );
      await Promise.all([ada, grace].map((one) => new Promise((resolve) => one.once('open', resolve))));
      ada.send(JSON.stringify({ type: 'join', name: 'Ada' }));
      ada.send(JSON.stringify({ type: 'say', text: 'Hello, Grace!' }));
      await hears;
    } finally {
      ada.terminate();
      grace.terminate();
    }
    expect(heard.map(({ type }) => type)).toEqual(['joined', 'grant', 'message']);
    expect(heard[1]).toMatchObject({ memory: expect.stringMatching(/^\d+MiB$/), cpu: '500m' });
    expect(heard[2]).toMatchObject({ from: 'Ada', text: 'Hello, Grace!' });
  });

  test.each([
    ['chelsea', 451, 300],
    ['coffee', 600, 400],
    ['rocket', 640, 427],
  ])('thumbnails makes the photograph %s (%i × %i) smaller', async (photo, width, height) => {
    const original = readFileSync(join(projectRoot, 'examples/thumbnails/photos', `${photo}.jpg`));
    expect(jpegSize(original)).toEqual({ width, height });
    const answer = await fetch(`${bellows.url}/w/default/thumbnails/?photo=${photo}&width=120`);
    expect(answer.headers.get('content-type')).toBe('image/jpeg');
    const thumbnail = Buffer.from(await answer.arrayBuffer());
    expect(jpegSize(thumbnail)).toEqual({ width: 120, height: Math.round((120 / width) * height) });
    expect(thumbnail.length).toBeLessThan(original.length / 4);
  });

  test('thumbnails takes a photograph that is posted, and one in an event', async () => {
    const photo = readFileSync(join(projectRoot, 'examples/thumbnails/photos/coffee.jpg'));
    const posted = await fetch(`${bellows.url}/w/default/thumbnails/?width=60&format=png`, {
      method: 'POST',
      body: new Uint8Array(photo),
      headers: { 'content-type': 'image/jpeg' },
    });
    expect(pngSize(Buffer.from(await posted.arrayBuffer()))).toEqual({ width: 60, height: 40 });
    const event = JSON.stringify({ image: photo.toString('base64'), width: 90 });
    const invoked = await bellows.cli('invoke', 'thumbnails', '--data', event);
    expect(invoked, invoked.stderr).toMatchObject({ code: 0 });
    const answer = JSON.parse(invoked.stdout) as Record<string, unknown>;
    expect(answer).toMatchObject({
      format: 'jpeg',
      width: 90,
      height: 60,
      original: { width: 600, height: 400 },
    });
    expect(jpegSize(Buffer.from(String(answer['image']), 'base64'))).toEqual({ width: 90, height: 60 });
  });

  test('what is no photograph is refused in words', async () => {
    const answer = await fetch(`${bellows.url}/w/default/thumbnails/`, {
      method: 'POST',
      body: 'not a photograph',
    });
    expect(answer.status).toBe(400);
    expect(await answer.text()).toContain('not an image');
  });

  test('an example that was deleted stays deleted at the next start, and is not advertised', async () => {
    expect((await bellows.cli('delete', 'chat')).code).toBe(0);
    const { dataDirectory, port } = bellows;
    await bellows.stop({ keepData: true });
    bellows = await Bellows.start({ args: [], dataDirectory, port });
    expect(bellows.output).not.toContain('/w/default/chat/');
    expect((await fetch(`${bellows.url}/w/default/chat/`)).status).toBe(404);
    for (const line of printedCommands(bellows)) expect(await shell(line), line).toMatchObject({ code: 0 });
  });
});

describe('bellows up --no-examples', () => {
  test('names nothing that is not there, and the commands that it prints work as printed, in order', async () => {
    const bellows = await Bellows.start({ args: ['--no-examples'] });
    try {
      expect(bellows.output).not.toContain('chat');
      const commands = printedCommands(bellows);
      expect(commands.length).toBeGreaterThanOrEqual(3);
      for (const line of commands) {
        const ran = await shell(line);
        expect(ran, `${line}: ${ran.stderr}`).toMatchObject({ code: 0 });
      }
      expect((await fetch(`${bellows.url}/w/default/hello/`)).status).toBe(200);
    } finally {
      await bellows.stop();
    }
  });
});
