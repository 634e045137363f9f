import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { encodeFrame } from '../base/frame.ts';
import { FrameLink } from './frame-link.ts';

/** Links to a server, with what each has heard, and the server's ends of them. */
async function linked(count: number): Promise<{
  readonly links: readonly FrameLink[];
  readonly peers: readonly Socket[];
  readonly heard: readonly Buffer[][];
  readonly ended: (Error | undefined)[];
}> {
  const directory = mkdtempSync(join(tmpdir(), 'bellows-frames-'));
  const path = join(directory, `${randomUUID().slice(0, 8)}.sock`);
  const server = createServer().listen(path);
  await once(server, 'listening');
  const [links, peers, heard]: [FrameLink[], Socket[], Buffer[][]] = [[], [], []];
  const ended: (Error | undefined)[] = [];
  onTestFinished(() => {
    for (const each of [...links, ...peers]) each.destroy();
    server.close();
    rmSync(directory, { recursive: true });
  });
  for (let index = 0; index < count; index += 1) {
    heard.push([]);
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    await new Promise<void>((opened) => {
      const link = FrameLink.connect(path, {
        // Kept past its return, as what waits for a client is.
        onFrame: ({ payload }) => heard[index]!.push(payload),
        onClose: (error) => ended.push(error),
        onOpen: () => opened(),
      });
      links.push(link);
    });
    peers.push((await accepted)[0]);
  }
  return { links, peers, heard, ended };
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turn();
}

test('what links hear by turns, whole or in halves, is each one’s own, however many read at once', async () => {
  const { peers, heard } = await linked(3);
  const texts = peers.map((_, index) => String(index).repeat(20_000));
  for (const half of [0, 1])
    for (const [index, peer] of peers.entries()) {
      const frame = encodeFrame(1, 1, texts[index]!);
      const middle = frame.length >> 1;
      await new Promise<void>((sent) => {
        peer.write(half === 0 ? frame.subarray(0, middle) : frame.subarray(middle), () => sent());
      });
      await turn();
    }
  for (const peer of peers) peer.write(encodeFrame(1, 2, 'last'));
  await until(() => heard.every((frames) => frames.length === 2));
  expect(heard.map((frames) => frames.map(String))).toEqual(texts.map((text) => [text, 'last']));
});

test('a link that is not read holds its peer up, and hears everything once it is', async () => {
  const { links, peers, heard } = await linked(1);
  const [link, peer] = [links[0]!, peers[0]!];
  link.socket.pause();
  const frame = encodeFrame(1, 1, 'x'.repeat(60_000));
  let sent = 0;
  while (peer.write(frame) && sent < 1_000) sent += 1;
  for (let round = 0; round < 20; round += 1) await turn();
  expect(heard[0]).toHaveLength(0);
  expect(peer.writableLength).toBeGreaterThan(0);
  link.socket.resume();
  await until(() => heard[0]!.length === sent + 1);
  expect(new Set(heard[0]!.map(String))).toEqual(new Set(['x'.repeat(60_000)]));
});

test('the end of a peer and what can not be reached are told, once', async () => {
  const { peers, ended } = await linked(1);
  peers[0]!.end();
  await until(() => ended.length === 1);
  expect(ended).toEqual([undefined]);

  const error = await new Promise((closed) => {
    FrameLink.connect('/nowhere/s.sock', { onFrame: () => {}, onClose: closed, onOpen: () => {} });
  });
  expect(error).toMatchObject({ code: 'ENOENT' });
});
