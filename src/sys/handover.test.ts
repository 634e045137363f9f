import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';

let directory: string;
let gateway: ChildProcess;
let instance: ChildProcess;
let port: number;
let clients: Client[];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'handover-'));
  clients = [];
  // Siblings: the instance is no child of the gateway.
  instance = start('handover-instance');
  await firstLine(instance);
  gateway = start('handover-gateway');
  port = Number(await firstLine(gateway));
});

afterEach(() => {
  for (const client of clients) client.socket.destroy();
  for (const child of [gateway, instance]) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

function start(program: string): ChildProcess {
  const path = fileURLToPath(new URL(`./fixtures/${program}.ts`, import.meta.url));
  const args = [
    '--disable-warning=ExperimentalWarning',
    path,
    join(directory, 'pass'),
    join(directory, 'notify'),
  ];
  return spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function firstLine(child: ChildProcess): Promise<string> {
  const [line] = (await once(child.stdout as NonNullable<typeof child.stdout>, 'data')) as [Buffer];
  return line.toString().trim();
}

class Client {
  readonly socket: Socket = connect(port, '127.0.0.1');
  ended = false;
  #received = '';

  constructor() {
    clients.push(this);
    this.socket.setEncoding('latin1');
    this.socket.on('data', (text: string) => (this.#received += text));
    for (const event of ['end', 'error', 'close']) this.socket.on(event, () => (this.ended = true));
  }

  upgrade(delayMs: number, early: string): void {
    const head = [
      'GET /echo HTTP/1.1',
      'Host: x',
      'Connection: Upgrade',
      'Upgrade: echo',
      `X-Delay-Ms: ${delayMs}`,
    ];
    this.socket.write(`${head.join('\r\n')}\r\n\r\n${early}`);
  }

  /** Waits for the whole echo, and takes it. */
  async echo(text: string): Promise<void> {
    await expect.poll(() => this.#body()?.length ?? -1, { interval: 5 }).toBe(text.length);
    expect(this.#body() === text).toBe(true);
    this.#received = this.#received.slice(0, -text.length || undefined);
  }

  #body(): string | undefined {
    const end = this.#received.indexOf('\r\n\r\n');
    return end < 0 ? undefined : this.#received.slice(end + 4);
  }
}

function socketsOf(child: ChildProcess): number {
  const folder = `/proc/${child.pid}/fd`;
  return readdirSync(folder).filter((fd) => {
    try {
      return readlinkSync(join(folder, fd)).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
}

test('a connection that was handed over outlives the gateway', async () => {
  const before = socketsOf(gateway);
  const client = new Client();
  client.upgrade(0, '');
  await client.echo('');
  client.socket.write('with the gateway');
  await client.echo('with the gateway');
  // The gateway has closed its own end, and the client saw nothing of it.
  await expect.poll(() => socketsOf(gateway)).toBe(before);
  await sleep(50);
  expect(client.ended).toBe(false);

  gateway.kill('SIGKILL');
  await once(gateway, 'exit');
  for (let round = 0; round < 20; round++) {
    client.socket.write(`without it ${round}`);
    await client.echo(`without it ${round}`);
  }
  expect(client.ended).toBe(false);

  client.socket.end();
  await expect.poll(() => client.ended).toBe(true);
});

test('what a client sends before, while and after it is handed over arrives once and in order', async () => {
  const client = new Client();
  client.upgrade(100, 'early,');
  await sleep(30);
  client.socket.write('meanwhile,');
  await sleep(30);
  client.socket.write('again,');
  await client.echo('early,meanwhile,again,');
  client.socket.write('later');
  await client.echo('later');
});

test('also when it is more than the gateway buffers, and never stops', async () => {
  const client = new Client();
  const text = Array.from({ length: 120_000 }, (_, index) => `${index};`).join('');
  client.upgrade(50, '');
  for (let at = 0; at < text.length; at += 10_000) {
    client.socket.write(text.slice(at, at + 10_000));
    if (at % 50_000 === 0) await sleep(1);
  }
  await client.echo(text);
});

test('many are handed over at once', async () => {
  const many = Array.from({ length: 300 }, () => new Client());
  for (const [index, client] of many.entries()) client.upgrade(0, `client ${index}`);
  await Promise.all(many.map(async (client, index) => client.echo(`client ${index}`)));
  gateway.kill('SIGKILL');
  await once(gateway, 'exit');
  for (const [index, client] of many.entries()) client.socket.write(`again ${index}`);
  await Promise.all(many.map(async (client, index) => client.echo(`again ${index}`)));
  expect(many.some((client) => client.ended)).toBe(false);
});
