// A process of clients, for benches: it holds thousands of WebSockets, speaks at a rate that it keeps whatever comes back, and gives
// the account. Owns the schedule. It ends with its parent.
//
// It stands for other machines, whose processors nothing behind the gateway takes. So it runs before what Bellows starts, as the
// gateway does, all the time, quiet or not; and what it is late by itself is told beside what answers took, which it is part of.
import { raiseOwnPriority } from '../../src/sys/priority.ts';
import type { Account, Command, Moment, Reply, Request } from './protocol.ts';
import { Talker, type Due, type Hearing } from './talker.ts';
import { LeanWebSocket, type Target } from './websocket.ts';

/** Handshakes under way at once: fewer than any queue of connections holds. */
const atOnce = 64;
/** How often it is looked who is due: no kernel timer of Node's is finer. */
const tickMs = 1;
const settlePollMs = 10;
const strangeKept = 5;

interface Client {
  readonly talker: Talker;
  readonly socket: LeanWebSocket;
}

interface Gathered {
  readonly latenciesMs: number[];
  readonly gapsMs: number[];
  readonly lateMs: number[];
}

class Clients implements Hearing {
  readonly #clients: Client[] = [];
  readonly #samples = new Map<Moment, Gathered>();
  readonly #versions = new Set<string>();
  readonly #strange: string[] = [];
  #strangeCount = 0;
  #closes = 0;
  #sent = 0;
  #outstanding = 0;
  /** Since when nothing came, or nothing was waited for before. */
  #silentSinceMs = 0;
  #turn = 0;
  #moment: Moment = { phase: 'apart', round: 0 };
  #periodMs = 0;
  #nextDueMs = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Who asked for the one answer that is next. */
  #asked: ((tookMs: number) => void) | undefined;

  async run(command: Command): Promise<{ tookMs: number } | { account: Account }> {
    switch (command.do) {
      case 'open':
        return { tookMs: await this.#open(command.target, command.count) };
      case 'speak':
        this.#speak(command.perSecond);
        return { tookMs: 0 };
      case 'during':
        this.#moment = command.moment;
        return { tookMs: 0 };
      case 'settle':
        return { tookMs: await this.#settle(command.withinMs) };
      case 'ask':
        return { tookMs: await this.#ask(command.client) };
      case 'askAll':
        for (const client of this.#clients) this.#send(client, performance.now());
        return { tookMs: await this.#settle(command.withinMs) };
      case 'account':
        return { account: this.#account() };
    }
  }

  heard({ atMs, moment }: Due, version: string): void {
    const nowMs = performance.now();
    const samples = this.#samplesOf(moment);
    samples.latenciesMs.push(nowMs - atMs);
    samples.gapsMs.push(nowMs - this.#silentSinceMs);
    this.#silentSinceMs = nowMs;
    this.#outstanding -= 1;
    this.#versions.add(version);
    this.#asked?.(nowMs - atMs);
    this.#asked = undefined;
  }

  strange(text: string): void {
    this.#strangeCount += 1;
    if (this.#strange.length < strangeKept) this.#strange.push(text);
  }

  async #open(target: Target, count: number): Promise<number> {
    const begunMs = performance.now();
    let begun = 0;
    const opener = async (): Promise<void> => {
      while (begun < count) {
        begun += 1;
        const talker = new Talker(this);
        const socket = await LeanWebSocket.open(target, {
          onText: (text) => talker.onText(text),
          onClose: () => (this.#closes += 1),
        });
        this.#clients.push({ talker, socket });
      }
    };
    await Promise.all(Array.from({ length: atOnce }, opener));
    return performance.now() - begunMs;
  }

  #speak(perSecond: number): void {
    clearInterval(this.#timer);
    if (perSecond === 0) return;
    this.#periodMs = 1000 / perSecond;
    this.#nextDueMs = performance.now() + this.#periodMs;
    this.#timer = setInterval(() => this.#sendDue(), tickMs);
  }

  #sendDue(): void {
    for (const nowMs = performance.now(); this.#nextDueMs <= nowMs; this.#nextDueMs += this.#periodMs) {
      const client = this.#clients[this.#turn++ % this.#clients.length];
      if (client !== undefined) this.#send(client, this.#nextDueMs);
    }
  }

  #send({ talker, socket }: Client, atMs: number): void {
    if (!socket.isOpen) return;
    if (this.#outstanding === 0) this.#silentSinceMs = atMs;
    this.#outstanding += 1;
    this.#sent += 1;
    this.#samplesOf(this.#moment).lateMs.push(performance.now() - atMs);
    socket.send(talker.say({ atMs, moment: this.#moment }));
  }

  #samplesOf(moment: Moment): Gathered {
    const samples = this.#samples.get(moment) ?? { latenciesMs: [], gapsMs: [], lateMs: [] };
    this.#samples.set(moment, samples);
    return samples;
  }

  async #settle(withinMs: number): Promise<number> {
    const begunMs = performance.now();
    while (this.#outstanding > 0 && performance.now() - begunMs < withinMs)
      await new Promise((resolve) => setTimeout(resolve, settlePollMs));
    return performance.now() - begunMs;
  }

  #ask(at: number): Promise<number> {
    const client = this.#clients[at];
    if (client === undefined || !client.socket.isOpen) throw new Error(`client ${at} is not there`);
    return new Promise((resolve) => {
      this.#asked = resolve;
      this.#send(client, performance.now());
    });
  }

  #account(): Account {
    const sum = (of: (talker: Talker) => number): number =>
      this.#clients.reduce((total, { talker }) => total + of(talker), 0);
    return {
      open: this.#clients.filter(({ socket }) => socket.isOpen).length,
      closes: this.#closes,
      sent: this.#sent,
      lost: sum(({ outstanding }) => outstanding),
      doubled: sum(({ doubled }) => doubled),
      reordered: sum(({ reordered }) => reordered),
      strange: this.#strange,
      strangeCount: this.#strangeCount,
      versions: [...this.#versions],
      samples: [...this.#samples].map(([moment, { latenciesMs, gapsMs, lateMs }]) => ({
        moment,
        latenciesMs: Float64Array.from(latenciesMs),
        gapsMs: Float64Array.from(gapsMs),
        lateMs: Float64Array.from(lateMs),
      })),
    };
  }
}

raiseOwnPriority('carries');
const clients = new Clients();
process.on('message', (request: Request) => {
  const reply = (said: Reply): void => void process.send?.(said);
  clients.run(request).then(
    (done) => reply({ id: request.id, ...done }),
    (thrown: unknown) =>
      reply({ id: request.id, error: thrown instanceof Error ? thrown.message : String(thrown) }),
  );
});
// Its sockets go with it.
process.once('disconnect', () => process.exit());
