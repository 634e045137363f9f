// An app in an instance as tests reach it: over its own socket, as the gateway sends requests, and by sockets handed over.
// Owns what it starts until `dispose`.
import { once } from 'node:events';
import { symlinkSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { ConnectionCounts } from '../../../model/instance.ts';
import { frameType } from '../../../protocol/instance.ts';
import { sendFd, socketFd } from '../../../sys/fd-passing.ts';
import { TestInstance, type BindOutcome, type FrameClient } from '../../testing/instance-client.ts';
import { plan } from './plan.ts';

const modules = fileURLToPath(new URL('../../../../node_modules', import.meta.url));

export class TestApp {
  #instance: TestInstance | undefined;
  #client: FrameClient | undefined;
  readonly #cleanups: (() => void)[] = [];

  get instance(): TestInstance {
    if (this.#instance === undefined) throw new Error('start the app first');
    return this.#instance;
  }

  get client(): FrameClient {
    if (this.#client === undefined) throw new Error('start the app first');
    return this.#client;
  }

  async start(
    files: Readonly<Record<string, string>>,
    options: { argv?: readonly string[]; env?: Record<string, string> } = {},
  ): Promise<BindOutcome> {
    const instance = (this.#instance = new TestInstance(plan, files));
    symlinkSync(modules, join(instance.taskDirectory, 'node_modules'));
    this.#client = await instance.client();
    return instance.bind(this.#client, {
      kind: 'app',
      handler: null,
      function: null,
      argv: options.argv ?? Object.keys(files).slice(0, 1),
      env: { PORT: '3000', ...options.env },
    });
  }

  async started(...args: Parameters<TestApp['start']>): Promise<void> {
    expect(await this.start(...args)).toEqual({ is: 'bound' });
    await this.client.frame((frame) => frame.type === frameType.listening);
  }

  /** A request as the gateway makes it for a client. */
  async get(path = '/'): Promise<{ status: number | undefined; body: string }> {
    const outgoing = request({
      socketPath: join(this.instance.runDirectory, 'http.sock'),
      path,
      agent: false,
    }).end();
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of response.setEncoding('utf8')) body += chunk as string;
    return { status: response.statusCode, body };
  }

  /** A least gateway: what connects to its port is handed to the instance, with the first bytes that were read. */
  async gateway(): Promise<{ port: number; die: () => void; frames: FrameClient }> {
    const frames = await this.instance.client();
    const via = connect(join(this.instance.runDirectory, 'h.sock'));
    via.pause();
    await once(via, 'connect');
    const server = createServer((socket) => {
      socket.once('data', (bytes: Buffer) => {
        socket.pause();
        expect(sendFd(socketFd(via), socketFd(socket), bytes)).toBe('sent');
        frames.send(frameType.handover);
        socket.destroy();
      });
      socket.on('error', () => {});
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const die = (): void => {
      server.close();
      via.destroy();
      frames.socket.destroy();
    };
    this.atEnd(die);
    return { port: (server.address() as AddressInfo).port, die, frames };
  }

  async tcp(port: number): Promise<Socket> {
    const socket = connect(port, '127.0.0.1');
    this.atEnd(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  }

  atEnd(cleanup: () => void): void {
    this.#cleanups.push(cleanup);
  }

  async dispose(): Promise<void> {
    for (const cleanup of this.#cleanups) cleanup();
    await this.#instance?.dispose();
  }
}

/** What the instance said last of its connections. */
export function counts(frames: FrameClient): ConnectionCounts | undefined {
  const last = frames.frames.findLast((frame) => frame.type === frameType.connections);
  return last === undefined ? undefined : (JSON.parse(last.payload.toString()) as ConnectionCounts);
}
