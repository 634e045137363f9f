import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { listenPrivatelyAt } from './listening-socket.ts';

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'listen-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

test('what is sent before the program runs is read by the program that inherits the socket', async () => {
  const path = join(directory(), 's.sock');
  const listening = listenPrivatelyAt(path);
  const client = connect(path);
  onTestFinished(() => void client.destroy());
  await new Promise<void>((resolve) => client.once('connect', resolve));
  client.write('early');
  const echo = `require('node:net').createServer((s) => s.pipe(s)).listen({ fd: 3 })`;
  const child = spawn(process.execPath, ['-e', echo], { stdio: ['ignore', 'ignore', 'inherit', listening] });
  closeSync(listening);
  onTestFinished(() => void child.kill());
  const answer = await new Promise<string>((resolve) =>
    client.once('data', (data) => resolve(data.toString())),
  );
  expect(answer).toBe('early');
});

test('nobody but this user may connect', () => {
  const path = join(directory(), 's.sock');
  closeSync(listenPrivatelyAt(path));
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('a path that does not fit, is taken, or has no directory is refused', () => {
  const path = join(directory(), 's.sock');
  closeSync(listenPrivatelyAt(path));
  expect(() => listenPrivatelyAt(path)).toThrow('EADDRINUSE');
  expect(() => listenPrivatelyAt('/nowhere/s.sock')).toThrow('ENOENT');
  expect(() => listenPrivatelyAt(`/${'x'.repeat(107)}`)).toThrow(TypeError);
});
