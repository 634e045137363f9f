// The gateway as a process: how it starts, what it says, and how it ends.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';

let child: ChildProcess | undefined;
const directory = mkdtempSync(join(tmpdir(), 'bellows-gw-main-'));

afterEach(() => {
  child?.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});

function start(config: unknown): { readonly lines: () => string; readonly exit: Promise<number | null> } {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  const started = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main], {
    env: {
      ...process.env,
      BELLOWS_CONFIG: typeof config === 'string' ? config : JSON.stringify(config),
      BELLOWS_LOG: 'info',
    },
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  child = started;
  let text = '';
  started.stderr.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  return { lines: () => text, exit: once(started, 'exit').then(([code]) => code as number | null) };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('it says when it is ready, answers without a controller, and ends with 0 when told to stop', async () => {
  const port = await freePort();
  const { lines, exit } = start({
    dataDirectory: directory,
    host: '127.0.0.1',
    port,
    network: 'host',
    cgroupRoot: 'x',
  });
  await expect.poll(lines).toContain('"msg":"ready"');
  const health = await fetch(`http://127.0.0.1:${port}/healthz`);
  expect(health.status).toBe(503);
  expect(await health.json()).toMatchObject({ status: 'starting', controller: 'away' });
  child?.kill('SIGTERM');
  expect(await exit).toBe(0);
});

test.each(['', '{}', 'nonsense', '{"dataDirectory":"x","host":"","port":99999}'])(
  'a bad configuration (%s) ends it with 2 and the reason',
  async (config) => {
    const { lines, exit } = start(config);
    expect(await exit).toBe(2);
    expect(lines()).toContain('BELLOWS_CONFIG');
  },
);

test('a port that is taken ends it with 1', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { exit, lines } = start({
    dataDirectory: directory,
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
  });
  expect(await exit).toBe(1);
  expect(lines()).toContain('EADDRINUSE');
  server.close();
});
