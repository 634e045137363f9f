// The example `chat` while it is resized again and again: fifty people, and nobody misses a word of anybody.
// live-resize.test.ts shows the same of an app that sends each message back to its sender alone.
import { afterAll, beforeAll, expect, onTestFailed, test } from 'vitest';
import { WebSocket } from 'ws';
import { archiveOf } from '../../support/apps.ts';
import { eventually, type InstanceAnswer } from '../../support/bellows.ts';
import { randomFrom } from '../../support/random.ts';
import type { UnitsUnderTest } from '../../support/units.ts';

const peopleCount = 50;
/** Fifty times as many go out; an emulated processor sends a tenth of what the host's does, and a machine has two of them. */
const messagesPerSecond = { host: 100, vm: 20 } as const;

interface Heard {
  readonly type: string;
  readonly sequence: number;
  readonly id: string;
  readonly phase?: string;
  readonly memory?: string;
}

interface Transaction {
  readonly status: string;
  readonly connections: { readonly open: number; readonly kept: number; readonly dropped: number };
  readonly instances: readonly unknown[];
}

class Person {
  readonly socket: WebSocket;
  readonly messages: Heard[] = [];
  readonly grants: string[] = [];
  closes = 0;
  #said = 0;
  readonly #name: string;

  constructor(name: string, url: string) {
    this.#name = name;
    this.socket = new WebSocket(url, { perMessageDeflate: false });
    this.socket.on('message', (data: Buffer) => {
      const heard = JSON.parse(data.toString()) as Heard;
      if (heard.type === 'message') this.messages.push(heard);
      if (heard.type === 'grant' && heard.phase === 'current') this.grants.push(heard.memory ?? '');
    });
    this.socket.on('close', () => (this.closes += 1));
    this.socket.on('error', () => undefined);
  }

  /** Resolves when the server has greeted. */
  greeted(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.once('message', () => resolve());
      this.socket.once('close', () => reject(new Error('closed before a greeting')));
    });
  }

  /** Says the next of this person's numbered messages, and returns its id. */
  say(): string {
    const id = `${this.#name}:${this.#said++}`;
    this.socket.send(JSON.stringify({ type: 'say', text: `message ${id}`, id }));
    return id;
  }
}

export function chatResizeSuite(units: UnitsUnderTest, changeCount: number): void {
  beforeAll(async () => {
    const archive = await archiveOf('examples/chat', ['ws']);
    const answer = await units.bellows.v1('PUT', '/workloads/default/chat', archive);
    expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  }, units.within(180_000));
  // Whoever comes next has the tenant as it was.
  afterAll(async () => {
    await units.bellows.v1('PUT', '/tenants/default/limits', { memory: null, cpu: null });
  });

  const theInstance = async (): Promise<InstanceAnswer> => {
    const found = await units.bellows.instances();
    expect(found).toHaveLength(1);
    return found[0]!;
  };

  test(`M-C3 M-C5: fifty people in the chat hear every message once and in one order through ${changeCount} changes`, async () => {
    onTestFailed(() => console.log(units.bellows.output));
    const before = await theInstance();
    const url = `ws://127.0.0.1:${units.bellows.port}/w/default/chat/`;
    const people = Array.from({ length: peopleCount }, (_, index) => new Person(`p${index}`, url));
    const said: string[] = [];
    let speaking: NodeJS.Timeout | undefined;
    try {
      await Promise.all(people.map((person) => person.greeted()));
      await eventually(async () => (await theInstance()).connections === peopleCount, {
        timeoutMs: units.within(10_000),
      });
      speaking = setInterval(
        () => said.push(people[said.length % peopleCount]!.say()),
        1000 / messagesPerSecond[units.kind],
      );

      const random = randomFrom(12375420);
      const between = (least: number, most: number): number => least + Math.floor(random() * (most - least));
      const seen: Record<string, number> = { applied: 0, deferred: 0, infeasible: 0 };
      for (let change = 0; change < changeCount; change += 1) {
        // So that messages go before, during and after every change.
        await new Promise((resolve) => setTimeout(resolve, 100));
        const [path, method, memory, cpu] =
          random() < 0.6
            ? ['/workloads/default/chat', 'PATCH', between(64, 350), between(300, 900)]
            : ['/tenants/default/limits', 'PUT', between(250, 600), between(700, 1500)];
        const answer = await units.bellows.v1<Transaction>(String(method), String(path), {
          memory: `${memory}MiB`,
          cpu: `${cpu}m`,
        });
        expect([200, 202, 422], JSON.stringify(answer.body)).toContain(answer.status);
        // A tenant's limit may move without the instance's: then no connection was concerned.
        const open = answer.body.instances.length === 0 ? 0 : peopleCount;
        expect(answer.body.connections).toEqual({ open, kept: open, dropped: 0 });
        seen[answer.body.status]! += 1;
      }
      clearInterval(speaking);
      await eventually(() => people.every((person) => person.messages.length >= said.length), {
        timeoutMs: units.within(30_000),
        what: () =>
          `${said.length} messages at everybody, and the least is ${Math.min(...people.map((person) => person.messages.length))}`,
      });
      // Time for what was sent twice to show itself: an answer to a ping comes after all that was sent before it.
      await Promise.all(
        people.map((person) => {
          const pong = new Promise((resolve) => person.socket.once('message', resolve));
          person.socket.send(JSON.stringify({ type: 'ping', n: 1 }));
          return pong;
        }),
      );

      const order = people[0]!.messages.map(({ id }) => id);
      expect([...order].sort()).toEqual([...said].sort());
      expect(people[0]!.messages.map(({ sequence }) => sequence)).toEqual(said.map((_, index) => index + 1));
      for (const person of people) {
        expect(person.messages.map(({ id }) => id)).toEqual(order);
        expect(person.closes).toBe(0);
      }
      for (const [index] of people.entries()) {
        const numbers = order
          .filter((id) => id.startsWith(`p${index}:`))
          .map((id) => Number(id.split(':')[1]));
        expect(numbers).toEqual(numbers.map((_, at) => at));
      }
      console.log(
        `M-C5 chat: ${changeCount} changes ${JSON.stringify(seen)}; ${said.length} messages, ${people.length * order.length} deliveries`,
      );
      expect(seen['applied']).toBeGreaterThan((changeCount * 2) / 3);
      // The app was told, live, and told everybody: the last they heard is what the kernel holds now.
      const after = await theInstance();
      expect(people[0]!.grants.length).toBeGreaterThan(changeCount / 4);
      for (const person of people) expect(person.grants.at(-1)).toBe(after.memory.grant);
      expect(after).toMatchObject({ id: before.id, pid: before.pid, connections: peopleCount });
      expect(units.oomKillsOf(after)).toBe(0);
    } finally {
      clearInterval(speaking);
      for (const { socket } of people) socket.terminate();
    }
  });
}
