// A held connection goes from one process to another while its client speaks. Both ends are in one process here, over real sockets.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../base/clock.ts';
import type { TenantId, WorkloadKey } from '../../../base/ids.ts';
import { outcome } from '../../../protocol/instance.ts';
import type { Invocation } from '../../invoke/invocation.ts';
import { TenantConnections } from '../../limits/tenant-connections.ts';
import { soon } from '../../testing/held-chat.ts';
import { deflateWith } from '../../websocket/deflate.ts';
import { frame, opcode } from '../../websocket/frame.ts';
import { heldBounds } from '../bounds.ts';
import { HeldConnection } from '../connection.ts';
import { HeldFunction } from '../held-function.ts';
import { HeldSocket } from '../sockets.ts';
import { Door, firstLine, type Place } from './door.ts';
import { atOnce, Giver, type Successor } from './giver.ts';
import { snapshotOf } from './snapshot.ts';
import { Taker } from './taker.ts';

const alone = { index: 0, of: 1 };
const tenant = 'acme' as TenantId;
let root: string;
let path: string;
let server: Server;
let client: Socket;
let told: Buffer[];
let before: Side;
let closers: (() => void)[];

/** What one process has of a function. What is with its instances stays there until the test answers. */
class Side {
  readonly giver = new Giver();
  readonly connections = new TenantConnections(tenant);
  readonly held: HeldFunction;
  readonly #running: Invocation[] = [];

  constructor() {
    const settings = {
      routes: ['$default'],
      routeSelectionExpression: '$request.body.action',
      idleTimeoutMs: null,
      maxDurationMs: null,
    };
    this.held = new HeldFunction('acme/chat' as WorkloadKey, settings, {
      tenant,
      giver: this.giver,
      clock: systemClock,
      authority: () => '',
      pool: () => ({
        submit: (invocation) => {
          this.#running.push(invocation);
          return 'sent';
        },
      }),
      line: () => undefined,
      counter: () => ({ requests: 0, errors: 0, throttles: 0, bytesIn: 0, bytesOut: 0 }),
      connections: () => this.connections,
      mayRequest: () => true,
    });
  }

  get connection(): HeldConnection | undefined {
    return this.held.connection('one');
  }

  /** The instance answers what it has, until nothing more comes. @returns the messages, in their order */
  async answers(count: number, answer?: string): Promise<string[]> {
    const bodies: string[] = [];
    while (bodies.length < count) {
      await soon(() => this.connection?.turn).toBe('running');
      const { connection } = this;
      if (connection === undefined) break;
      bodies.push(connection.waiting[0]?.body ?? '');
      const value = JSON.stringify({ statusCode: 200, body: answer });
      this.#running.shift()?.sink.onResult({
        outcome: outcome.ok,
        durationMicros: 1,
        peakKib: 0,
        logTail: Buffer.alloc(0),
        body: Buffer.from(value),
      });
    }
    return bodies;
  }
}

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'bellows-move-'));
  path = join(root, 'held.sock');
  closers = [];
  server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  told = [];
  before = new Side();
  client = await connected('one');
  client.on('data', (bytes: Buffer) => told.push(bytes));
  const door = new Door(alone, {
    onSuccessor: (successor) => {
      before.giver.giveTo(successor);
      before.giver.offer(before.held.candidates());
    },
    onAnswer: (isTaken) => before.giver.answered(isTaken),
  });
  await door.listen(path);
  closers.unshift(() => door.close());
});
afterEach(() => {
  for (const close of closers) close();
  server.close();
  rmSync(root, { recursive: true });
});

/** A client whose connection the one before holds. */
async function connected(id: string): Promise<Socket> {
  const arrives = once(server, 'connection') as Promise<[Socket]>;
  const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  closers.push(() => socket.destroy());
  const [accepted] = await arrives;
  before.connections.enter();
  const connection = new HeldConnection(before.held, id, { sourceIp: '192.0.2.1', userAgent: 'test' });
  before.held.add(connection);
  connection.opened(new HeldSocket(accepted, connection, deflateWith(null)));
  return socket;
}

/** Comes for what the one before has. */
function successor(): Side {
  const side = new Side();
  const taker = new Taker(process.pid, path, alone, {
    take: (snapshot, socket) => side.held.takeOver(snapshot, socket),
    onDefect: (error) => expect(error).toBeUndefined(),
  });
  closers.push(() => taker.close());
  return side;
}

/** A client's frame, with a mask that changes nothing. */
function sent(first: number, payload: string | Buffer): Buffer {
  const whole = frame(opcode.text, payload);
  whole[0] = first;
  whole[1]! |= 0x80;
  const headBytes = whole.length - Buffer.byteLength(payload);
  return Buffer.concat([whole.subarray(0, headBytes), Buffer.alloc(4), whole.subarray(headBytes)]);
}
const text = (payload: string): Buffer => sent(0x81, payload);
const heard = (): string => Buffer.concat(told).toString('latin1');

test('an idle one goes, with what is known of it, and the one before has nothing of it any more', async () => {
  const { connectedAtMs } = before.connection!;
  const next = successor();
  await soon(() => next.connection?.state.is).toBe('open');
  expect(next.connection).toMatchObject({ connectedAtMs, sourceIp: '192.0.2.1', userAgent: 'test' });
  await soon(() => before.giver.sent).toBe(0);
  expect([before.held.size, before.connections.carried, next.connections.carried]).toEqual([0, 0, 1]);
  client.write(text('hello'));
  expect(await next.answers(1, 'to you')).toEqual(['hello']);
  await soon(heard).toBe('\x81\x06to you');
});

test('what is with an instance is answered by the one before, and what waits behind it goes, in order', async () => {
  client.write(Buffer.concat(['1', '2', '3'].map(text)));
  await soon(() => before.connection?.waiting.length).toBe(3);
  const next = successor();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(next.connection).toBeUndefined();
  expect(await before.answers(1, 'first')).toEqual(['1']);
  client.write(text('4'));
  expect(await next.answers(3)).toEqual(['2', '3', '4']);
  await soon(heard).toBe('\x81\x05first');
});

test('frames and messages of which a part was read are put together by the next one, wherever they were cut', async () => {
  const whole = Buffer.concat([
    sent(0x01, 'one, '),
    sent(0x00, 'two, '),
    sent(0x89, '?'),
    sent(0x80, 'three'),
  ]);
  for (const at of [1, 5, 9, 12, 20, 24, 30]) {
    client.write(whole.subarray(0, at));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const next = successor();
    await soon(() => next.connection?.state.is).toBe('open');
    client.write(whole.subarray(at));
    expect(await next.answers(1)).toEqual(['one, two, three']);
    // The next round goes on from there.
    const door = closers.shift()!;
    door();
    before = next;
    const another = new Door(alone, {
      onSuccessor: (to) => {
        next.giver.giveTo(to);
        next.giver.offer(next.held.candidates());
      },
      onAnswer: (isTaken) => next.giver.answered(isTaken),
    });
    await another.listen(path);
    closers.unshift(() => another.close());
  }
});

test('one whose client sent far more than may wait goes with all that was read, and stays unread until some is done', async () => {
  const count = 10 * heldBounds.pauseAtMessages;
  client.write(Buffer.concat(Array.from({ length: count }, (_, at) => text(`${at}`))));
  await soon(() => before.connection?.socket?.isPaused).toBe(true);
  const next = successor();
  await soon(() => before.giver.successorPid).toBe(process.pid);
  const first = await before.answers(1);
  await soon(() => next.connection?.state.is).toBe('open');
  expect(next.connection?.waiting.length).toBeLessThanOrEqual(heldBounds.pauseAtMessages);
  const rest = await next.answers(count - 1);
  expect([...first, ...rest]).toEqual(Array.from({ length: count }, (_, at) => `${at}`));
});

test('one that is closing stays, and one whose client does not read goes when it has read', async () => {
  client.pause();
  const large = 'x'.repeat(heldBounds.messageBytes);
  const { socket } = before.connection!;
  const random = (): string =>
    Buffer.from(large)
      .map(() => 33 + Math.random() * 90)
      .toString();
  while (socket!.bufferedAmount === 0) before.connection!.send(random());
  const next = successor();
  await soon(() => before.giver.successorPid).toBe(process.pid);
  before.giver.offer(before.held.candidates());
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect([before.held.size, next.held.size]).toEqual([1, 0]);
  client.resume();
  await soon(() => socket!.bufferedAmount).toBe(0);
  before.connection!.close(1001, '');
  before.giver.offer(before.held.candidates());
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect([before.held.size, next.held.size]).toEqual([1, 0]);
});

test('a next one that dies before it said that it has it leaves it where it was, with all that comes meanwhile', async () => {
  const words = connect(path);
  const descriptors = connect(path).pause();
  words.write(firstLine('words', 1, alone));
  descriptors.write(firstLine('descriptors', 1, alone));
  await soon(() => before.giver.sent).toBe(1);
  expect([before.held.size, before.connections.carried]).toEqual([0, 0]);
  client.write(text('meanwhile'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  words.destroy();
  descriptors.destroy();
  expect(await before.answers(1, 'here')).toEqual(['meanwhile']);
  await soon(heard).toBe('\x81\x04here');
  expect(before.connections.carried).toBe(1);
  const next = successor();
  await soon(() => next.connection?.state.is).toBe('open');
});

test('one whose turn to go has not come is served here, however long the next one takes for others', async () => {
  const clients: Socket[] = [];
  for (let count = 0; count < atOnce; count += 1) clients.push(await connected(`more ${count}`));
  const words = connect(path);
  const descriptors = connect(path).pause();
  closers.push(
    () => words.destroy(),
    () => descriptors.destroy(),
  );
  words.write(firstLine('words', 1, alone));
  descriptors.write(firstLine('descriptors', 1, alone));
  await soon(() => before.giver.sent).toBe(atOnce);
  const last = before.held.connection(`more ${atOnce - 1}`);
  clients.at(-1)!.write(text('served here'));
  await soon(() => last?.turn).toBe('running');
  expect(last?.waiting.map(({ body }) => body)).toEqual(['served here']);
});

test('who takes many serves others between a few of them', async () => {
  const count = 4 * atOnce;
  const passed = Promise.withResolvers<Successor>();
  const door = new Door(alone, {
    onSuccessor: (to) => to && passed.resolve(to),
    onAnswer: () => undefined,
  });
  await door.listen(`${path}.many`);
  closers.push(() => door.close());
  let taken = 0;
  const taker = new Taker(process.pid, `${path}.many`, alone, {
    take: (_snapshot, socket) => {
      taken += 1;
      return () => socket.destroy();
    },
    onDefect: (error) => expect(error).toBeUndefined(),
  });
  closers.push(() => taker.close());
  const to = await passed.promise;
  const { socket } = before.connection!;
  const state = snapshotOf(before.held.key, before.connection!, socket!.movable!);
  for (let sent = 0; sent < count; sent += 1) to.send(socket!.movable!.socket, state);
  to.announce();
  let most = 0;
  while (taken < count) {
    const soFar = taken;
    await new Promise((resolve) => setImmediate(resolve));
    most = Math.max(most, taken - soFar);
  }
  expect(most).toBeLessThanOrEqual(atOnce);
});

test('it goes to who serves in its own place, not to who came last, and with fewer places than before to the one that stands for it', async () => {
  const [first, second] = [Promise.withResolvers<number>(), Promise.withResolvers<number>()];
  const door = new Door(
    { index: 3 },
    {
      onSuccessor: (to) => {
        first.resolve(to?.pid ?? 0);
        if (to?.pid !== 31) second.resolve(to?.pid ?? 0);
      },
      onAnswer: () => undefined,
    },
  );
  await door.listen(`${path}.third`);
  closers.push(() => door.close());
  const comes = (pid: number, place: Place): void => {
    for (const what of ['words', 'descriptors'] as const) {
      const socket = connect(`${path}.third`).pause();
      socket.on('error', () => undefined);
      socket.write(firstLine(what, pid, place));
      closers.push(() => socket.destroy());
    }
  };
  comes(10, { index: 1, of: 4 });
  comes(31, { index: 3, of: 4 });
  comes(20, { index: 2, of: 4 });
  expect(await first.promise).toBe(31);
  comes(40, { index: 0, of: 2 });
  comes(41, { index: 1, of: 2 });
  expect(await second.promise).toBe(41);
});

test('one that nobody takes there stays', async () => {
  const taker = new Taker(process.pid, path, alone, { take: () => undefined, onDefect: () => undefined });
  closers.push(() => taker.close());
  await soon(() => before.giver.successorPid).toBe(process.pid);
  await soon(() => before.giver.sent).toBe(0);
  client.write(text('still here'));
  expect(await before.answers(1)).toEqual(['still here']);
});
