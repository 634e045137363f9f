// A function for held connections as tests use it, with clients of the `ws` package in front of the gateway of a harness.
// Owns the clients and their end; asserts nothing.
import { once } from 'node:events';
import { expect } from 'vitest';
import { WebSocket, type ClientOptions } from 'ws';
import type { WebSocketRoute } from '../held/routes.ts';
import { Harness, workloadOf } from './harness.ts';

const every: WebSocketRoute = {
  routes: ['$connect', '$disconnect', '$default', 'events', 'crash', 'fail'],
  routeSelectionExpression: '$request.body.action',
  idleTimeoutMs: null,
  maxDurationMs: null,
};

/** Echoes; keeps its events, and shows them to who asks; and does what else tests need of it. */
const code = {
  'index.js': `
    const events = [];
    exports.handler = async (event) => {
      const { routeKey } = event.requestContext;
      if (routeKey === 'events') return { statusCode: 200, body: JSON.stringify(events) };
      events.push(event);
      const query = event.queryStringParameters ?? {};
      if (routeKey === '$connect' && query.throw) throw new Error('no');
      if (routeKey === '$connect')
        return { statusCode: Number(query.status ?? 200), body: 'never mind', headers: { 'Sec-WebSocket-Protocol': 'second' } };
      if (routeKey === 'crash') process.exit(3);
      if (routeKey === 'fail') throw new Error('failed');
      if (event.isBase64Encoded) return { statusCode: 200, body: event.body, isBase64Encoded: true };
      return { statusCode: 200, body: event.body === 'quiet' ? undefined : event.body };
    };`,
};

export interface Client {
  readonly socket: WebSocket;
  /** What came, in order: texts, and bytes in base64 after `base64:`. */
  readonly told: string[];
}

export class HeldChat {
  readonly harness = new Harness();
  readonly #clients: WebSocket[] = [];

  /** The gateway alone: the function has no instance. */
  async deployed(settings: Partial<WebSocketRoute> = {}): Promise<void> {
    await this.harness.start();
    await this.deploy(settings);
  }

  /** With an instance. @returns its id */
  async start(settings: Partial<WebSocketRoute> = {}): Promise<string> {
    await this.deployed(settings);
    const id = await this.startInstance();
    await this.harness.call('sync', {});
    return id;
  }

  async deploy(settings: Partial<WebSocketRoute> = {}, generation = 'g1'): Promise<void> {
    this.harness.deploy(workloadOf('chat', { websocket: { ...every, ...settings }, generation }));
    await this.harness.call('sync', {});
  }

  startInstance(): Promise<string> {
    return this.harness.startInstance('chat', code);
  }

  /** From now on an instance is started when the gateway asks for one: one, however often it asks. */
  startWhenAsked(start: () => Promise<string> = () => this.startInstance()): void {
    let started: Promise<string> | undefined;
    this.harness.onAcquire = () => (started ??= start());
  }

  dial(path = '/', protocols: string[] = [], options: ClientOptions = {}): Client {
    const url = `${this.harness.url.replace('http', 'ws')}/w/acme/chat${path}`;
    const socket = new WebSocket(url, protocols, options);
    this.#clients.push(socket);
    const told: string[] = [];
    socket.on('error', () => undefined);
    socket.on('message', (data: Buffer, isBinary) =>
      told.push(isBinary ? `base64:${data.toString('base64')}` : data.toString()),
    );
    return { socket, told };
  }

  /** Rejects when it is refused. */
  async connected(...how: Parameters<HeldChat['dial']>): Promise<Client> {
    const client = this.dial(...how);
    await once(client.socket, 'open');
    return client;
  }

  /** How the handshake was refused; rejects when it was not. */
  refusal(...how: Parameters<HeldChat['dial']>): Promise<{ status: number | undefined; body: string }> {
    const { socket } = this.dial(...how);
    return new Promise((resolve, reject) => {
      socket.on('open', () => reject(new Error('it was let in')));
      socket.on('unexpected-response', (_request, response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
        response.on('end', () => resolve({ status: response.statusCode, body }));
      });
    });
  }

  async dispose(): Promise<void> {
    for (const client of this.#clients) client.terminate();
    await this.harness.dispose();
  }
}

/** The code and reason that it is closed with. */
export async function closed({ socket }: Client): Promise<string> {
  const [code, reason] = (await once(socket, 'close')) as [number, Buffer];
  return `${code} ${reason.toString()}`;
}

/** Of an event, what tests look at. */
export interface SeenEvent {
  readonly headers?: Record<string, string>;
  readonly body?: string;
  readonly requestContext: Readonly<Record<string, unknown>>;
}

/** All that the function has been told of; the client must have nothing else to be told. */
export async function eventsOf(client: Client): Promise<SeenEvent[]> {
  const answer = once(client.socket, 'message');
  client.socket.send('{"action":"events"}');
  const [data] = (await answer) as [Buffer];
  client.told.pop();
  return JSON.parse(data.toString()) as SeenEvent[];
}

export const routesOf = (events: readonly SeenEvent[]): unknown[] =>
  events.map(({ requestContext }) => requestContext['routeKey']);

/** Of the client that connected last. */
export async function connectionIdOf(client: Client): Promise<string> {
  return String((await eventsOf(client)).at(-1)?.requestContext['connectionId']);
}

/** On a busy machine a second, vitest's default, is not long. */
export const soon = <T>(read: () => T | Promise<T>): ReturnType<typeof expect.poll<T>> =>
  expect.poll(read, { timeout: 20_000 });
