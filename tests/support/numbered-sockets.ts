// WebSocket clients that send numbered messages and hold the account of what came back: what was lost, doubled,
// reordered, how often a socket closed, and the longest silence. The `ws` package, not our code, is on the wire.
import { WebSocket, type ClientOptions } from 'ws';

/** What is under way is there sooner, however busy the machine: what is not is lost. */
const settleMs = 60_000;

export interface Account {
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
  /** Of these, by clients whose socket was closed. */
  readonly lostOfClosed: number;
  readonly doubled: number;
  readonly reordered: number;
  readonly closes: number;
  /** The longest time from a message's sending to its coming back. */
  readonly longestGapMs: number;
}

interface Client {
  readonly socket: WebSocket;
  readonly sentAtMs: number[];
  readonly seen: Set<number>;
  lastSeen: number;
  reordered: number;
  doubled: number;
  closes: number;
}

/** Clients of an app that sends every message back to its sender. */
export class NumberedSockets {
  readonly #clients: Client[];
  #timer: NodeJS.Timeout | undefined;
  #longestGapMs = 0;
  #next = 0;

  private constructor(clients: Client[]) {
    this.#clients = clients;
  }

  static async open(
    url: string,
    count: number,
    options: Pick<ClientOptions, 'headers' | 'ca'> = {},
  ): Promise<NumberedSockets> {
    const clients = await Promise.all(
      Array.from({ length: count }, async (): Promise<Client> => {
        const socket = new WebSocket(url, { ...options, perMessageDeflate: false });
        await new Promise<void>((resolve, reject) => {
          socket.once('open', resolve);
          socket.once('error', reject);
        });
        return { socket, sentAtMs: [], seen: new Set(), lastSeen: -1, reordered: 0, doubled: 0, closes: 0 };
      }),
    );
    const all = new NumberedSockets(clients);
    for (const client of clients) all.#listen(client);
    return all;
  }

  #listen(client: Client): void {
    client.socket.on('message', (data: Buffer) => {
      const number = Number(/^#(\d+)/.exec(data.toString())?.[1] ?? NaN);
      if (!Number.isInteger(number)) return;
      if (client.seen.has(number)) client.doubled += 1;
      else if (number < client.lastSeen) client.reordered += 1;
      client.seen.add(number);
      client.lastSeen = Math.max(client.lastSeen, number);
      this.#longestGapMs = Math.max(this.#longestGapMs, performance.now() - (client.sentAtMs[number] ?? 0));
    });
    client.socket.on('close', () => (client.closes += 1));
    client.socket.on('error', () => undefined);
  }

  /** Sends `perSecond` messages in all, the clients taking turns, until `stop`. */
  start(perSecond: number): void {
    this.#timer = setInterval(() => {
      const client = this.#clients[this.#next++ % this.#clients.length]!;
      if (client.socket.readyState !== WebSocket.OPEN) return;
      const number = client.sentAtMs.push(performance.now()) - 1;
      client.socket.send(`#${number}`);
    }, 1000 / perSecond);
  }

  /** How much was sent and has not come back yet. */
  get outstanding(): number {
    return this.#clients.reduce((total, { sentAtMs, seen }) => total + sentAtMs.length - seen.size, 0);
  }

  /** Sends no more. */
  pause(): void {
    clearInterval(this.#timer);
  }

  /** Stops sending, waits for what is under way over sockets that are open, and gives the account. */
  async stop(): Promise<Account> {
    clearInterval(this.#timer);
    const end = Date.now() + settleMs;
    const waits = ({ socket, seen, sentAtMs }: Client): boolean =>
      seen.size < sentAtMs.length && socket.readyState !== WebSocket.CLOSED;
    while (Date.now() < end && this.#clients.some(waits)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const sum = (of: (client: Client) => number): number =>
      this.#clients.reduce((total, client) => total + of(client), 0);
    return {
      sent: sum((client) => client.sentAtMs.length),
      received: sum((client) => client.seen.size),
      lost: sum((client) => client.sentAtMs.length - client.seen.size),
      lostOfClosed: sum(({ closes, sentAtMs, seen }) => (closes > 0 ? sentAtMs.length - seen.size : 0)),
      doubled: sum((client) => client.doubled),
      reordered: sum((client) => client.reordered),
      closes: sum((client) => client.closes),
      longestGapMs: Math.round(this.#longestGapMs),
    };
  }

  get stillOpen(): number {
    return this.#clients.filter(({ socket }) => socket.readyState === WebSocket.OPEN).length;
  }

  /** How many messages were sent so far. */
  get sent(): number {
    return this.#clients.reduce((total, { sentAtMs }) => total + sentAtMs.length, 0);
  }

  /** The local ports of the sockets: the same before and after means the same connections. */
  get localPorts(): (number | undefined)[] {
    return this.#clients.map(
      (client) => (client.socket as unknown as { _socket: { localPort?: number } })._socket.localPort,
    );
  }

  close(): void {
    clearInterval(this.#timer);
    for (const client of this.#clients) client.socket.terminate();
  }
}
