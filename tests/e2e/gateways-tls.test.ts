// Two gateways serve one TLS port together: one authority, HTTP/2, tunnelled and held WebSockets, and the death of one.
import { once } from 'node:events';
import { Agent } from 'node:https';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { deployStatefulApp } from '../support/apps.ts';
import { Bellows, eventually, freePort } from '../support/bellows.ts';
import { authorityOf, Http2Caller, secureGet } from '../support/https-clients.ts';
import { ownerOfConnection } from '../support/kernel.ts';
import { talkingFunction } from '../support/talking-function.ts';

let bellows: Bellows;
let tlsPort: number;
beforeAll(async () => {
  tlsPort = await freePort();
  // A data directory that is new: both make their certificates at once.
  bellows = await Bellows.start({
    args: ['--no-examples', '--gateways', '2', '--unit', 'host', '--tls-port', String(tlsPort)],
  });
  await deployStatefulApp(bellows);
  expect((await bellows.v1('PUT', '/workloads/default/talk', await talkingFunction())).status).toBe(201);
}, 180_000);
afterAll(() => bellows.stop());

/** Those that serve, by place. */
function gateways(): number[] {
  const path = join(bellows.dataDirectory, 'run', 'processes.json');
  const { children, gateways: more } = JSON.parse(readFileSync(path, 'utf8')) as {
    readonly children: { readonly gateway: { readonly pid: number } };
    readonly gateways: readonly { readonly pid: number }[];
  };
  return [children.gateway.pid, ...more.map(({ pid }) => pid)];
}

const ownerOf = (localPort: number): number | undefined => ownerOfConnection(localPort, tlsPort, gateways());

test('M-C3: whichever of them a client meets shows a certificate of the authority that is in the file', async () => {
  const ca = authorityOf(bellows);
  const met = new Set<number>();
  for (let tried = 0; met.size < 2; tried += 1) {
    expect(tried, 'no connection came to each').toBeLessThan(100);
    const socket: TLSSocket = connectTls({ host: '127.0.0.1', port: tlsPort, servername: 'localhost', ca });
    await once(socket, 'secureConnect');
    expect(socket.authorized).toBe(true);
    const owner = ownerOf(socket.localPort!);
    if (owner !== undefined) met.add(owner);
    socket.destroy();
  }
});

interface Line {
  readonly socket: WebSocket;
  readonly owner: number;
  closed: boolean;
}

/** WebSockets of an app, which are tunnelled, and of a function, which are held: some of each at each gateway. */
async function linesAtEach(path: string): Promise<Line[]> {
  const ca = authorityOf(bellows);
  const lines: Line[] = [];
  const has = (owner: number): boolean => lines.filter((line) => line.owner === owner).length >= 2;
  for (let tried = 0; !gateways().every(has); tried += 1) {
    expect(tried, 'no connection came to each').toBeLessThan(100);
    const socket = new WebSocket(`wss://127.0.0.1:${tlsPort}${path}`, { ca });
    socket.on('error', () => undefined);
    const opened = once(socket, 'upgrade') as Promise<[{ socket: TLSSocket }]>;
    const [{ socket: below }] = await opened;
    if (socket.readyState !== WebSocket.OPEN) await once(socket, 'open');
    const line: Line = { socket, owner: ownerOf(below.localPort!) ?? 0, closed: false };
    socket.once('close', () => (line.closed = true));
    lines.push(line);
  }
  return lines;
}

async function echoes({ socket }: Line, text: string): Promise<string> {
  const told = once(socket, 'message') as Promise<[Buffer]>;
  socket.send(text);
  return (await told)[0].toString();
}

test("M-E6: when one of them is killed its own encrypted connections end, the other's go on, and the port serves", async () => {
  const held = await linesAtEach('/w/default/talk/');
  const tunnelled = await linesAtEach('/w/default/stateful/');
  const lines = [...held, ...tunnelled];
  const http2 = Array.from({ length: 6 }, () => new Http2Caller(tlsPort, authorityOf(bellows)));
  const agent = new Agent({ ca: authorityOf(bellows), keepAlive: false });
  try {
    for (const caller of http2) expect(await caller.get('/w/default/stateful/state')).toMatch(/^200 /);
    for (const line of held) expect(await echoes(line, 'before')).toBe('before');
    const [killed = 0, other = 0] = gateways();
    process.kill(killed, 'SIGKILL');
    // Who comes now and is to be served by the one that is not there waits for it.
    const came = await Promise.all(
      Array.from({ length: 12 }, () => secureGet(agent, tlsPort, '/w/default/stateful/state')),
    );
    expect(came.map((told) => told.slice(0, 4))).toEqual(came.map(() => '200 '));
    await eventually(() => lines.filter(({ owner }) => owner === killed).every(({ closed }) => closed));
    const kept = lines.filter(({ owner }) => owner === other);
    expect(kept.filter(({ closed }) => closed)).toEqual([]);
    for (const line of held.filter(({ owner }) => owner === other))
      expect(await echoes(line, 'after')).toBe('after');
    await eventually(() => gateways()[0] !== killed && gateways()[1] === other);
    // Some had their connection at the one that ended, and make another.
    for (const caller of http2) expect(await caller.get('/w/default/stateful/state')).toMatch(/^200 /);
    const made = http2.map(({ connections }) => connections);
    expect(Math.max(...made)).toBeLessThanOrEqual(2);
  } finally {
    for (const caller of http2) caller.close();
    for (const { socket } of lines) socket.terminate();
    agent.destroy();
  }
});
