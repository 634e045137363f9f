// What a client sees of the lane and of node:http behind it, on one real listening server: order, hand-over, bounds.
// Who served a request is told by the answer: "lane" or "node", and what it saw.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ClientResponse } from '../client-exchange.ts';
import type { FunctionRequest } from '../exchange.ts';
import type { TenantId } from '../../base/ids.ts';
import { serverLimits } from '../config.ts';
import { TrustedProxies } from '../hop.ts';
import { Listener, type ListenHandlers } from '../listen.ts';
import type { LaneAnswer } from './lane-answer.ts';

interface Open {
  readonly request: FunctionRequest;
  readonly answer: LaneAnswer;
}

let listener: Listener;
let port = 0;
const clients: Socket[] = [];
/** What the lane serves at once; `undefined` lets it wait in `open`. */
let serveNow: ((open: Open) => void) | undefined;
let open: Open[] = [];
let seenByNode: string[] = [];
/** Connections that the lane has given to node:http. */
let leftLane = 0;

function text(answer: Open['answer'] | ClientResponse, body: string): void {
  answer.writeHead(200, ['Content-Type', 'text/plain', 'Content-Length', String(Buffer.byteLength(body))]);
  answer.end(body);
}

function bodyOf(request: FunctionRequest): string {
  let text = '';
  request.readBody(
    1_000_000,
    { tenant: 'acme' as TenantId, proven: true },
    (body) => (text = body.kind === 'whole' ? body.bytes.toString('latin1') : body.kind),
  );
  return text;
}

beforeEach(async () => {
  open = [];
  seenByNode = [];
  leftLane = 0;
  serveNow = (exchange) =>
    text(exchange.answer, `<lane ${exchange.request.url} ${bodyOf(exchange.request)}>`);
  const handlers: ListenHandlers = {
    onPlain: {
      serve: (request, _host, answer) => {
        if (request.url.startsWith('/node')) return 'notForTheLane';
        if (serveNow === undefined || request.url.startsWith('/later')) open.push({ request, answer });
        else serveNow({ request, answer });
        return { workload: null };
      },
      carried: () => undefined,
    },
    onLeavesLane: () => void (leftLane += 1),
    onRequest: (request, response) => {
      seenByNode.push(`${request.method} ${request.url}`);
      let body = '';
      request.setEncoding('latin1').on('data', (chunk: string) => (body += chunk));
      request.on('end', () => text(response, `<node ${request.url} ${body}>`));
    },
    wantsUpgrade: () => true,
    onUpgrade: (_request, socket, head) =>
      socket.end(`HTTP/1.1 101 Switching Protocols\r\n\r\n${head.toString('latin1')}`),
  };
  listener = new Listener(handlers, new TrustedProxies([]));
  port = await listener.listen({ port: 0, host: '127.0.0.1' });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  const stopped = listener.stopAccepting();
  listener.closeAll();
  await stopped;
});

interface Client {
  readonly socket: Socket;
  readonly received: () => string;
  readonly closed: Promise<string>;
}

function client(bytes = ''): Client {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  clients.push(socket);
  let received = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => (received += chunk));
  socket.on('error', () => undefined).once('end', () => socket.end());
  socket.write(bytes, 'latin1');
  return {
    socket,
    received: () => received,
    closed: new Promise((resolve) => socket.once('close', () => resolve(received))),
  };
}

/** The bodies that came so far, in their order. */
const bodies = (received: string): string[] =>
  [...received.matchAll(/<([^>]*)>/g)].map(([, body]) => body ?? '');
const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
const post = (path: string, body: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const closing = 'Connection: close\r\n';

describe('who serves', () => {
  test.each<[string, string, string]>([
    ['a plain request', get('/a', closing), '<lane /a >'],
    [
      'one with a body',
      `POST /a HTTP/1.1\r\nHost: x\r\n${closing}Content-Length: 3\r\n\r\nabc`,
      '<lane /a abc>',
    ],
    ['one that is not for a function', get('/node', closing), '<node /node >'],
    ['HEAD', `HEAD /a HTTP/1.1\r\nHost: x\r\n${closing}\r\n`, ''],
    ['HTTP/1.0', 'GET /a HTTP/1.0\r\nHost: x\r\n\r\n', '<node /a >'],
    ['HTTP/1.0 without a Host', 'GET /a HTTP/1.0\r\n\r\n', '<node /a >'],
    [
      'a chunked body',
      `POST /a HTTP/1.1\r\nHost: x\r\n${closing}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
      '<node /a abc>',
    ],
    ['an upgrade', 'GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: y\r\n\r\nearly', 'early'],
    ['the absolute form', get('http://x/a', closing), '<node http://x/a >'],
  ])('%s', async (_what, bytes, body) => {
    const received = await client(bytes).closed;
    expect(received.slice(received.indexOf('\r\n\r\n') + 4)).toBe(body);
    expect(seenByNode.length).toBe(body.startsWith('<node') || bytes.startsWith('HEAD') ? 1 : 0);
  });

  test('a head that comes in pieces, and a body that comes later', async () => {
    const slow = client('GET /a HT');
    await expect.poll(() => leftLane).toBe(1);
    slow.socket.write(`TP/1.1\r\nHost: x\r\n${closing}\r\n`);
    expect(bodies(await slow.closed)).toEqual(['node /a ']);
    const late = client(`POST /b HTTP/1.1\r\nHost: x\r\n${closing}Content-Length: 4\r\n\r\nab`);
    await expect.poll(() => leftLane).toBe(2);
    late.socket.write('cd');
    expect(bodies(await late.closed)).toEqual(['node /b abcd']);
  });

  test('the same client first by the lane, then, from the first request that is not plain, by node:http', async () => {
    const one = client(get('/a'));
    await expect.poll(() => bodies(one.received())).toEqual(['lane /a ']);
    one.socket.write(get('/node'));
    await expect.poll(() => bodies(one.received())).toHaveLength(2);
    one.socket.write(get('/b', closing));
    expect(bodies(await one.closed)).toEqual(['lane /a ', 'node /node ', 'node /b ']);
  });
});

describe('pipelined requests', () => {
  test('are answered in order, each once, whoever is slow', async () => {
    const one = client(
      get('/later1') + post('/b', 'xyz') + get('/later2') + get('/node') + post('/c', 'abc'),
    );
    await expect.poll(() => open.length).toBe(1);
    expect(one.received()).toBe('');
    text(open[0]!.answer, '<lane /later1>');
    await expect.poll(() => open.length).toBe(2);
    await expect.poll(() => bodies(one.received())).toEqual(['lane /later1', 'lane /b xyz']);
    expect(seenByNode).toEqual([]);
    text(open[1]!.answer, '<lane /later2>');
    await expect
      .poll(() => bodies(one.received()))
      .toEqual(['lane /later1', 'lane /b xyz', 'lane /later2', 'node /node ', 'node /c abc']);
  });

  test('many at once, in chunks cut anywhere, lose and double nothing', async () => {
    const requests = Array.from({ length: 200 }, (_, n) =>
      n % 50 === 49 ? get(`/node${n}`) : post(`/p${n}`, `b${n}`),
    ).join('');
    const one = client();
    for (let at = 0; at < requests.length; at += 997) {
      one.socket.write(requests.slice(at, at + 997));
      if (at % 5 === 0) await sleep(1);
    }
    await expect.poll(() => bodies(one.received()).length, { timeout: 5000 }).toBe(200);
    expect(bodies(one.received()).map((body) => Number(/\d+/.exec(body)?.[0]))).toEqual(
      Array.from({ length: 200 }, (_, n) => n),
    );
  });

  test("what a client has sent stays its own while others' requests are read", async () => {
    const first = client(post('/later/1', 'first') + post('/a', 'behind it'));
    await expect.poll(() => open.length).toBe(1);
    const second = client(post('/later/2', 'second') + post('/node/b', `${'x'.repeat(100)}`));
    await expect.poll(() => open.length).toBe(2);
    const third = client(post('/c', 'third'));
    await expect.poll(() => bodies(third.received())).toEqual(['lane /c third']);
    for (const exchange of open) text(exchange.answer, `<later ${bodyOf(exchange.request)}>`);
    await expect.poll(() => bodies(first.received())).toEqual(['later first', 'lane /a behind it']);
    await expect
      .poll(() => bodies(second.received()))
      .toEqual(['later second', `node /node/b ${'x'.repeat(100)}`]);
  });

  test('a client that sends on and on while it waits is not read on and on', async () => {
    const one = client(get('/later'));
    await expect.poll(() => open.length).toBe(1);
    const flood = Buffer.alloc(1024 * 1024, 'x');
    for (let count = 0; count < 64; count += 1) one.socket.write(flood);
    let before = -1;
    while (one.socket.bytesWritten - one.socket.writableLength !== before) {
      before = one.socket.bytesWritten - one.socket.writableLength;
      await sleep(100);
    }
    // What the kernel's buffers take, and not all of it.
    expect(one.socket.writableLength).toBeGreaterThan(16 * 1024 * 1024);
    text(open[0]!.answer, '<lane /later>');
    const received = await one.closed;
    expect(received).toMatch(/^HTTP\/1\.1 200 [^]*<lane \/later>HTTP\/1\.1 400 /);
  });
});

describe('one request can not become two', () => {
  const hidden = get('/hidden');
  test.each<[string, string]>([
    [
      'a length and a coding',
      `POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: ${hidden.length}\r\nTransfer-Encoding: chunked\r\n\r\n${hidden}`,
    ],
    [
      'two lengths',
      `POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
    ],
    [
      'a list of lengths',
      `POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0, ${hidden.length}\r\n\r\n${hidden}`,
    ],
    [
      'a blank before the colon',
      `POST /a HTTP/1.1\r\nHost: x\r\nContent-Length : ${hidden.length}\r\n\r\n${hidden}`,
    ],
    [
      'a folded coding',
      `POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding:\r\n chunked\r\n\r\n${hidden}`,
    ],
    [
      'a bare line feed',
      `POST /a HTTP/1.1\r\nHost: x\r\nA: b\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
    ],
    [
      'a carriage return alone',
      `POST /a HTTP/1.1\r\nHost: x\r\nA: b\rContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
    ],
    ['a null', `POST /a HTTP/1.1\r\nHost: x\r\nA: b\0\r\n\r\n${hidden}`],
    ['two Hosts', `POST /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n${hidden}`],
  ])('%s', async (_what, bytes) => {
    // The second time after a plain request on the same connection.
    for (const before of ['', get('/first')]) {
      seenByNode = [];
      const received = await client(before + bytes).closed;
      expect([...received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual([
        ...(before === '' ? [] : ['200']),
        '400',
      ]);
      expect(received).not.toContain('hidden');
    }
  });

  test('the body of a plain one is never read as a request', async () => {
    const one = client(post('/a', hidden) + get('/b', closing));
    const received = await one.closed;
    expect(received.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
    expect(received).toContain('lane /b ');
  });
});

describe('connections', () => {
  test('end after the answer when the client asks for it, and nothing after it is served', async () => {
    const received = await client(get('/a', closing) + get('/b')).closed;
    expect(bodies(received)).toEqual(['lane /a ']);
    expect(received).toMatch(/\r\nConnection: close\r\n/);
  });

  test('a client that has gone is told of, and an answer to it is dropped', async () => {
    const one = client(get('/later'));
    await expect.poll(() => open.length).toBe(1);
    let closes = 0;
    open[0]!.answer.once('close', () => (closes += 1));
    one.socket.destroy();
    await expect.poll(() => closes).toBe(1);
    expect(open[0]!.answer.destroyed).toBe(true);
    text(open[0]!.answer, 'late');
    expect(closes).toBe(1);
  });

  test('a client that has ended its side is answered no more, as by node:http', async () => {
    const one = client(get('/later'));
    await expect.poll(() => open.length).toBe(1);
    one.socket.end();
    expect(await one.closed).toBe('');
    await expect.poll(() => open[0]!.answer.destroyed).toBe(true);
  });

  test('who connects and says nothing is left to the time-outs of node:http, who waits for an answer is not', async () => {
    const silent = client();
    const waiting = client(get('/later'));
    const idle = client(get('/a'));
    await expect.poll(() => idle.received()).toContain('lane');
    await expect.poll(() => listener.lane.size).toBe(3);
    for (let tick = 0; tick < 2; tick += 1) listener.lane.sweep();
    expect(listener.lane.size).toBe(2);
    silent.socket.write(get('/node', closing));
    expect(bodies(await silent.closed)).toEqual(['node /node ']);
    const ticks = serverLimits.keepAliveTimeoutMs / serverLimits.checkingIntervalMs + 1;
    for (let tick = 0; tick < ticks; tick += 1) listener.lane.sweep();
    await idle.closed;
    await expect.poll(() => listener.lane.size).toBe(1);
    text(open[0]!.answer, '<lane /later>');
    await expect.poll(() => waiting.received()).toContain('lane /later');
  });

  test('when we leave, each is answered once more, and those that idle are ended some seconds later', async () => {
    const byNode = client(get('/node'));
    const [idle, asking, busy, silent] = [
      client(get('/a')),
      client(get('/a')),
      client(get('/later')),
      client(),
    ];
    await expect.poll(() => [idle, asking].every((each) => each.received().includes('lane'))).toBe(true);
    await expect.poll(() => byNode.received()).toContain('node');
    await expect.poll(() => open.length).toBe(1);
    await expect.poll(() => listener.lane.size).toBe(4);
    const left = listener.leave();
    const ticks = Math.ceil(serverLimits.leavingKeepAliveMs / serverLimits.checkingIntervalMs);
    for (let tick = 0; tick < ticks; tick += 1) listener.lane.sweep();
    asking.socket.write(get('/b'));
    expect(await asking.closed).toMatch(/<lane \/b >/);
    expect(asking.received().match(/Connection: close/g)).toHaveLength(1);
    listener.lane.sweep();
    await Promise.all([idle.closed, silent.closed]);
    text(open[0]!.answer, '<lane /later>');
    expect(bodies(await busy.closed)).toEqual(['lane /later']);
    // By node:http's own clock.
    expect(bodies(await byNode.closed)).toEqual(['node /node ']);
    await left;
  }, 30_000);

  test('a stop ends idle ones at once and the others with their answer', async () => {
    const idle = client(get('/a'));
    const busy = client(get('/later'));
    await expect.poll(() => open.length).toBe(1);
    await expect.poll(() => idle.received()).toContain('lane');
    const stopped = listener.stopAccepting();
    await idle.closed;
    text(open[0]!.answer, '<lane /later>');
    expect(bodies(await busy.closed)).toEqual(['lane /later']);
    await stopped;
  });
});

describe('answers', () => {
  test("have the head that node:http's have", async () => {
    const fields = (received: string): string[] =>
      received
        .slice(0, received.indexOf('\r\n\r\n'))
        .split('\r\n')
        .map((line) => line.replace(/^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/, 'Date: …'));
    for (const more of ['', closing]) {
      const [lane, node] = [client(get('/a', more)), client(get('/node', more))];
      await expect.poll(() => lane.received()).toContain('lane');
      await expect.poll(() => node.received()).toContain('node');
      expect(fields(lane.received())).toEqual(
        fields(node.received()).map((line) => (line === 'Content-Length: 13' ? 'Content-Length: 10' : line)),
      );
    }
  });

  test.each<[string, (answer: LaneAnswer) => void, string]>([
    [
      'of unknown length',
      (answer) => {
        answer.writeHead(200, []);
        answer.flushHeaders();
        answer.write(Buffer.from('one,'));
        answer.write(Buffer.alloc(0));
        answer.write(Buffer.from('two'));
        answer.end();
      },
      'one,two',
    ],
    [
      'of unknown length at once',
      (answer) => {
        answer.writeHead(200, []);
        answer.end('äö');
      },
      'äö',
    ],
    ['text beyond ASCII', (answer) => text(answer, 'ä€😀'), 'ä€😀'],
    [
      'long bytes',
      (answer) => {
        answer.writeHead(200, ['content-length', '100000']);
        answer.end(Buffer.alloc(100_000, 'ü'));
      },
      'ü'.repeat(50_000),
    ],
    [
      'none',
      (answer) => {
        answer.writeHead(204, []);
        answer.end('ignored');
      },
      '',
    ],
  ])('%s arrive whole, and the next on the connection too', async (_what, serve, expected) => {
    serveNow = ({ answer }) => serve(answer);
    for (let count = 0; count < 3; count += 1) {
      const answer = await fetch(`http://127.0.0.1:${port}/a`);
      expect(await answer.text()).toBe(expected);
    }
  });

  test('a client that reads slowly holds a stream up until it reads', async () => {
    const one = client(get('/later'));
    await expect.poll(() => open.length).toBe(1);
    one.socket.pause();
    const { answer } = open[0]!;
    answer.writeHead(200, []);
    let written = 0;
    while (answer.write(Buffer.alloc(65_536, 'x'))) written += 1;
    expect(written).toBeLessThan(1000);
    const drained = once(answer, 'drain');
    one.socket.resume();
    await drained;
    answer.end();
    await expect.poll(() => one.received().endsWith('\r\n0\r\n\r\n')).toBe(true);
  });

  test('that break off end the connection', async () => {
    const one = client(get('/later'));
    await expect.poll(() => open.length).toBe(1);
    open[0]!.answer.writeHead(200, []);
    open[0]!.answer.write(Buffer.from('half'));
    open[0]!.answer.destroy();
    expect(await one.closed).not.toContain('0\r\n\r\n');
  });
});
