// Calls over real Unix sockets: RpcPeer, which pairs them, and RpcClient, which connects again.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { BellowsError } from '../base/errors.ts';
import { encodeFrame } from '../base/frame.ts';
import { RpcClient } from './rpc-client.ts';
import { RpcPeer } from './rpc-link.ts';
import { method, nothing, rpcFrame, type EventOf, type Handlers, type Protocol } from './rpc.ts';

const served = {
  methods: {
    add: method(z.object({ a: z.number(), b: z.number() }), z.object({ sum: z.number() })),
    later: method(z.object({ ms: z.number() }), nothing),
    never: method(nothing, nothing),
    fail: method(z.object({ how: z.enum(['known', 'defect', 'wrong answer']) }), nothing),
  },
  events: { counted: z.object({ count: z.number() }) },
} satisfies Protocol;
type Served = typeof served;
const nothingServed = { methods: {}, events: {} } as const satisfies Protocol;
type Nothing = typeof nothingServed;

const handlers: Handlers<Served> = {
  add: async ({ a, b }) => ({ sum: a + b }),
  later: async ({ ms }) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return {};
  },
  never: () => new Promise(() => undefined),
  fail: async ({ how }) => {
    if (how === 'known') throw new BellowsError('NoRoom', 'No memory is left.', 'Stop something.');
    if (how === 'defect') throw new TypeError('secret: /root/key');
    return 'not an object' as unknown as Record<string, never>;
  },
};

const unavailable = expect.objectContaining({ code: 'Unavailable' });
/** Far beyond what any test takes: a call that needs it has failed. */
const longMs = 20_000;

let directory: string;
let path: string;
let server: Server | undefined;
let accepted: RpcPeer<Served, Nothing>[];
let sockets: Socket[];
let serverDefects: string[];
let clientDefects: string[];
let events: EventOf<Served>[];
let closers: (() => void)[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-rpc-'));
  path = join(directory, 's.sock');
  accepted = [];
  sockets = [];
  serverDefects = [];
  clientDefects = [];
  events = [];
  closers = [];
});

afterEach(async () => {
  for (const close of closers) close();
  await stop();
  rmSync(directory, { recursive: true });
});

async function listen(): Promise<void> {
  const listening = createServer((socket) => {
    sockets.push(socket);
    accepted.push(
      new RpcPeer<Served, Nothing>(socket, {
        local: served,
        handlers,
        remote: nothingServed,
        onDefect: (error, context) => serverDefects.push(`${context}: ${String(error)}`),
      }),
    );
  });
  server = listening;
  await new Promise<void>((resolve) => listening.listen(path, resolve));
}

async function stop(): Promise<void> {
  const listening = server;
  server = undefined;
  if (listening === undefined) return;
  for (const peer of accepted.splice(0)) peer.destroy();
  await new Promise((resolve) => listening.close(resolve));
}

const clientSide = {
  local: nothingServed,
  handlers: {},
  remote: served,
  onEvent: (event: EventOf<Served>) => events.push(event),
  onDefect: (error: unknown, context: string) => clientDefects.push(`${context}: ${String(error)}`),
};

function dial(): RpcPeer<Nothing, Served> {
  const peer = new RpcPeer<Nothing, Served>(connect(path), clientSide);
  closers.push(() => peer.destroy());
  return peer;
}

describe('calls over a link', () => {
  beforeEach(() => listen());

  test('each answer finds its call, in whatever order answers come', async () => {
    const peer = dial();
    const order: string[] = [];
    await Promise.all([
      peer.call('later', { ms: 30 }).then(() => order.push('slow')),
      ...[1, 2, 3].map(async (a) => {
        expect(await peer.call('add', { a, b: 10 })).toEqual({ sum: a + 10 });
        order.push('quick');
      }),
    ]);
    expect(order).toEqual(['quick', 'quick', 'quick', 'slow']);
  });

  test('an expected failure arrives with code, message and hint', async () => {
    await expect(dial().call('fail', { how: 'known' })).rejects.toThrow(
      expect.objectContaining({
        code: 'NoRoom',
        message: 'No memory is left.',
        hint: 'Stop something.',
        status: 503,
      }),
    );
    expect(serverDefects).toEqual([]);
  });

  test('a handler’s defect is told where it happened, and the caller learns no detail', async () => {
    const failure: unknown = await dial()
      .call('fail', { how: 'defect' })
      .catch((thrown: unknown) => thrown);
    expect(failure).toMatchObject({ code: 'Internal' });
    expect(JSON.stringify(failure) + String(failure)).not.toContain('secret');
    expect(serverDefects).toEqual(['fail: TypeError: secret: /root/key']);
  });

  test('parameters that do not fit their schema reach no handler', async () => {
    const wrong = { a: 1, b: 'two' } as unknown as { a: number; b: number };
    await expect(dial().call('add', wrong)).rejects.toThrow(expect.objectContaining({ code: 'Internal' }));
    expect(serverDefects).toEqual([expect.stringContaining('add')]);
  });

  test('an answer that does not fit its schema fails the call and says which', async () => {
    const peer = dial();
    await expect(peer.call('fail', { how: 'wrong answer' })).rejects.toThrow(/answer to fail does not fit/);
    expect(await peer.call('add', { a: 1, b: 1 })).toEqual({ sum: 2 });
  });

  test('a method that is not served is refused with a code', async () => {
    const imagined = { methods: { missing: method(nothing, nothing) }, events: {} } satisfies Protocol;
    const { local, onDefect } = clientSide;
    const options = { local, handlers: {}, remote: imagined, onDefect };
    const peer = new RpcPeer<Nothing, typeof imagined>(connect(path), options);
    closers.push(() => peer.destroy());
    await expect(peer.call('missing', {})).rejects.toThrow(
      expect.objectContaining({ code: 'NotSupportedHere' }),
    );
  });

  test('a call that is not answered ends when its time is up, and the link goes on', async () => {
    const peer = dial();
    await expect(peer.call('never', {}, { timeoutMs: 20 })).rejects.toThrow(
      expect.objectContaining({ code: 'Unavailable', message: expect.stringContaining('20 ms') }),
    );
    // The answer that comes too late is nobody's.
    await expect(peer.call('later', { ms: 20 }, { timeoutMs: 1 })).rejects.toThrow(unavailable);
    await peer.call('later', { ms: 40 });
    expect(await peer.call('add', { a: 1, b: 1 })).toEqual({ sum: 2 });
    expect(clientDefects).toEqual([]);
  });

  test('when the other end closes, all calls under way fail, and later ones at once', async () => {
    const peer = dial();
    await peer.call('add', { a: 1, b: 1 });
    const pending = [1, 2].map(() => peer.call('never', {}, { timeoutMs: longMs }));
    const failed = Promise.all(pending.map((call) => expect(call).rejects.toThrow(unavailable)));
    accepted[0]?.close();
    await failed;
    expect(peer.closed).toBe(true);
    await expect(peer.call('add', { a: 1, b: 1 }, { timeoutMs: longMs })).rejects.toThrow(unavailable);
  });

  test('events arrive in order, and one that does not fit its schema is dropped and told', async () => {
    const peer = dial();
    await peer.call('add', { a: 1, b: 1 });
    accepted[0]?.emit('counted', { count: 1 });
    accepted[0]?.emit('counted', { count: 'two' as unknown as number });
    accepted[0]?.emit('counted', { count: 3 });
    await expect
      .poll(() => events)
      .toEqual([
        { event: 'counted', data: { count: 1 } },
        { event: 'counted', data: { count: 3 } },
      ]);
    expect(clientDefects).toEqual([expect.stringContaining('event counted')]);
  });

  test.each([
    ['no JSON', encodeFrame(rpcFrame.request, 1, '{"method":')],
    ['an unknown type of frame', encodeFrame(99, 1, '{}')],
    ['a frame that is too large', Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0])],
  ])('a peer that sends %s is cut off, and others are not', async (_, bytes) => {
    const other = dial();
    await other.call('add', { a: 1, b: 1 });
    const rude = connect(path);
    closers.push(() => rude.destroy());
    const cut = new Promise((resolve) => rude.once('close', resolve));
    rude.resume().write(bytes);
    await cut;
    expect(await other.call('add', { a: 1, b: 2 })).toEqual({ sum: 3 });
  });

  test('a request that is no request is answered as a failure', async () => {
    const socket = connect(path);
    closers.push(() => socket.destroy());
    const answer = new Promise<Buffer>((resolve) => socket.once('data', resolve));
    socket.write(encodeFrame(rpcFrame.request, 7, '{"method":12}'));
    const frame = await answer;
    expect([frame.readUInt8(4), frame.readUInt32LE(5)]).toEqual([rpcFrame.failure, 7]);
    expect(frame.toString()).toContain('Internal');
  });
});

describe('a client that connects again', () => {
  let log: string[];

  beforeEach(() => {
    log = [];
  });

  function open(
    onConnect: (peer: RpcPeer<Nothing, Served>) => Promise<void> = async () => undefined,
  ): RpcClient<Nothing, Served> {
    const client = new RpcClient<Nothing, Served>({
      ...clientSide,
      socketPath: path,
      onConnect: async (peer) => {
        await onConnect(peer);
        log.push('connected');
      },
      onDisconnect: () => log.push('disconnected'),
    });
    closers.push(() => client.close());
    return client;
  }

  test('a call made before anybody listens waits for it', async () => {
    const client = open();
    const call = client.call('add', { a: 2, b: 2 }, { timeoutMs: longMs });
    expect(client.connected).toBe(false);
    await listen();
    expect(await call).toEqual({ sum: 4 });
    expect(client.connected).toBe(true);
  });

  test('after the other process died and came back, calls go on', async () => {
    await listen();
    const client = open();
    await client.call('add', { a: 1, b: 1 });
    const underWay = expect(client.call('never', {}, { timeoutMs: longMs })).rejects.toThrow(unavailable);
    await stop();
    await underWay;
    await expect.poll(() => client.connected).toBe(false);
    const call = client.call('add', { a: 1, b: 2 }, { timeoutMs: longMs });
    await listen();
    expect(await call).toEqual({ sum: 3 });
    expect(log).toEqual(['connected', 'disconnected', 'connected']);
  });

  test('a call that no link comes for ends when its time is up', async () => {
    await expect(open().call('add', { a: 1, b: 1 }, { timeoutMs: 20 })).rejects.toThrow(
      expect.objectContaining({ code: 'Unavailable', message: expect.stringContaining(path) }),
    );
  });

  test('no call goes out before the greeting is done; a greeting that fails is tried again', async () => {
    await listen();
    let attempts = 0;
    const client = open(async (peer) => {
      attempts += 1;
      await peer.call('later', { ms: 5 });
      log.push('greeted');
      if (attempts === 1) throw new Error('wrong version');
    });
    await client.call('add', { a: 1, b: 1 }, { timeoutMs: longMs });
    expect(log).toEqual(['greeted', 'greeted', 'connected']);
    expect(clientDefects).toEqual(['hello: Error: wrong version']);
  });

  test('closing ends waiting calls at once, and later ones', async () => {
    const client = open();
    const waiting = expect(client.call('add', { a: 1, b: 1 }, { timeoutMs: longMs })).rejects.toThrow(
      unavailable,
    );
    client.close();
    await waiting;
    await expect(client.call('add', { a: 1, b: 1 }, { timeoutMs: longMs })).rejects.toThrow(unavailable);
  });

  test('closed while it greets, it keeps no link', async () => {
    await listen();
    const client = open(async (peer) => {
      await peer.call('never', {}, { timeoutMs: longMs });
    });
    await expect.poll(() => sockets.length).toBe(1);
    client.close();
    await expect.poll(() => sockets[0]?.destroyed).toBe(true);
    expect([client.connected, log, sockets.length]).toEqual([false, [], 1]);
  });
});
