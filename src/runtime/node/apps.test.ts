// What an app's developer and its clients see: listening, requests through Bellows, sockets that are handed over.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { frameType } from '../../protocol/instance.ts';
import { counts, TestApp } from './testing/test-app.ts';

let app: TestApp;
beforeEach(() => {
  app = new TestApp();
});
afterEach(() => app.dispose());

describe('whatever way an app listens, it is reached and told the address it asked for', () => {
  const http = `import { createServer } from 'node:http'; const server = createServer((q, s) => s.end(JSON.stringify([server.address(), server.listening])));`;
  test.each<[string, string, unknown]>([
    ['a number', `${http} server.listen(3000)`, { address: '::', family: 'IPv6', port: 3000 }],
    [
      'the variable, a string',
      `${http} server.listen(process.env.PORT)`,
      { address: '::', family: 'IPv6', port: 3000 },
    ],
    [
      'a host',
      `${http} server.listen(3000, '0.0.0.0', 511, () => console.log('up'))`,
      { address: '0.0.0.0', family: 'IPv4', port: 3000 },
    ],
    [
      'options',
      `${http} server.listen({ port: 3000, host: 'localhost' })`,
      { address: '127.0.0.1', family: 'IPv4', port: 3000 },
    ],
    ['any port', `${http} server.listen()`, { address: '::', family: 'IPv6', port: 3000 }],
    ['another port than told', `${http} server.listen(4711)`, { address: '::', family: 'IPv6', port: 4711 }],
    [
      'later',
      `${http} setTimeout(() => server.listen(3000, () => console.log('up')), 30)`,
      { address: '::', family: 'IPv6', port: 3000 },
    ],
    [
      'again, after it was closed',
      `${http} server.listen(3000, () => server.close(() => server.listen(3000, '0.0.0.0', () => console.log('up'))))`,
      { address: '0.0.0.0', family: 'IPv4', port: 3000 },
    ],
    [
      'Express',
      `import express from 'express'; const app = express(); app.get('/', (q, s) => s.json([server.address(), server.listening])); const server = app.listen(3000)`,
      { address: '::', family: 'IPv6', port: 3000 },
    ],
    [
      'Fastify',
      `import Fastify from 'fastify'; const app = Fastify(); app.get('/', () => [app.server.address(), app.server.listening]); await app.listen({ port: 3000, host: '0.0.0.0' })`,
      { address: '0.0.0.0', family: 'IPv4', port: 3000 },
    ],
  ])('%s', async (_name, source, address) => {
    await app.started({ 'server.mjs': source });
    if (source.includes('up')) await expect.poll(() => app.instance.output).toBe('up\n');
    expect(await app.get()).toEqual({ status: 200, body: JSON.stringify([address, true]) });
  });

  test('a CommonJS script is the main module and gets its arguments', async () => {
    await app.started(
      {
        'app/server.js': `if (require.main === module) require('http').createServer((q, s) => s.end(process.argv.slice(1).join(' '))).listen(3000)`,
      },
      { argv: ['app/server.js', '--name', 'x'] },
    );
    expect((await app.get()).body).toBe(`${join(app.instance.taskDirectory, 'app/server.js')} --name x`);
  });

  test('the server on PORT is the main one, an earlier one on another port is real then', async () => {
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address() as AddressInfo;
    probe.close();
    await app.started({
      'server.mjs': `import { createServer } from 'node:http';
        createServer((q, s) => s.end('metrics')).listen(${port}, '127.0.0.1', () => createServer((q, s) => s.end('main')).listen(3000));`,
    });
    await expect.poll(async () => (await app.get()).body).toBe('main');
    const outgoing = request({ port, host: '127.0.0.1', agent: false }).end();
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    expect(response.statusCode).toBe(200);
    response.destroy();
  });

  test('a Unix socket and a TLS server stay real', async () => {
    await app.started(
      {
        'server.mjs': `import net from 'node:net'; import https from 'node:https'; import http from 'node:http';
        const own = net.createServer().listen(process.env.OWN); const tls = https.createServer({}).listen(0, '127.0.0.1');
        tls.on('listening', () => http.createServer((q, s) => s.end(JSON.stringify([own.address(), tls.address().port !== 3000]))).listen(3000));`,
      },
      { env: { OWN: '@bellows-test-own' } },
    );
    expect(JSON.parse((await app.get()).body)).toEqual(['@bellows-test-own', true]);
  });

  test('a script that fails is told with its error, one that ends too', async () => {
    expect(await app.start({ 'server.mjs': `throw new TypeError('broken')` })).toMatchObject({
      is: 'failed',
      error: { errorType: 'TypeError', errorMessage: 'broken' },
    });
    await app.instance.dispose();
    expect(await app.start({ 'server.cjs': `require('nowhere')` })).toMatchObject({
      is: 'failed',
      error: { errorMessage: expect.stringContaining('nowhere') as unknown },
    });
    await app.instance.dispose();
    expect(await app.start({ 'server.mjs': `1 + 1` })).toMatchObject({
      is: 'failed',
      error: { errorType: 'Runtime.ExitError' },
    });
  });

  test('an app that outlives its own uncaught errors is left alone', async () => {
    await app.started({
      'server.mjs': `import http from 'node:http'; process.on('uncaughtException', () => {}); setTimeout(() => { throw new Error('x') }); setTimeout(() => http.createServer((q, s) => s.end('alive')).listen(3000), 30)`,
    });
    expect((await app.get()).body).toBe('alive');
  });

  test('a request has an address, as behind any proxy on the same machine', async () => {
    await app.started({
      'server.mjs': `import http from 'node:http'; http.createServer((q, s) => s.end(q.socket.remoteAddress)).listen(process.env.PORT)`,
    });
    expect((await app.get()).body).toBe('127.0.0.1');
  });
});

describe('sockets that are handed over', () => {
  const chat = {
    'server.mjs': `import { createServer } from 'node:http'; import { WebSocketServer } from 'ws';
      const server = createServer((q, s) => server.getConnections((e, n) => s.end(JSON.stringify({ from: q.socket.remoteAddress, n }))));
      const wss = new WebSocketServer({ server }); wss.on('connection', (ws) => { ws.on('message', (m) => { if (String(m) === 'bye') ws.close(); else if (String(m) === 'crash') ws.terminate(); else ws.send('echo ' + m) }) });
      server.listen(process.env.PORT);`,
  };

  async function open(port: number): Promise<{ ws: WebSocket; echo: (text: string) => Promise<void> }> {
    const ws = new WebSocket(`ws://127.0.0.1:${port}/`);
    app.atEnd(() => ws.terminate());
    await once(ws, 'open');
    const echo = async (text: string): Promise<void> => {
      const answer = once(ws, 'message');
      ws.send(text);
      expect(String((await answer)[0])).toBe(`echo ${text}`);
    };
    return { ws, echo };
  }

  test('M-E6: a WebSocket works, and goes on when the gateway is gone; a new gateway hands over more', async () => {
    await app.started(chat);
    const first = await app.gateway();
    const before = await open(first.port);
    await before.echo('one');
    first.die();
    await before.echo('two');
    const { port, frames } = await app.gateway();
    await frames.frame((frame) => frame.type === frameType.listening);
    const after = await open(port);
    await after.echo('three');
    await before.echo('four');
    await expect.poll(() => counts(app.client)).toEqual({ open: 2, closedByClient: 0, closedByServer: 0 });
    expect(counts(frames)).toBeDefined();
  });

  test('who ended a connection is counted right', async () => {
    await app.started(chat);
    const { port } = await app.gateway();
    const [closes, vanishes, dismissed, dropped] = await Promise.all([
      open(port),
      open(port),
      open(port),
      open(port),
    ]);
    await expect.poll(() => counts(app.client)?.open).toBe(4);
    closes.ws.close();
    await expect.poll(() => counts(app.client)).toEqual({ open: 3, closedByClient: 1, closedByServer: 0 });
    vanishes.ws.terminate();
    await expect.poll(() => counts(app.client)).toEqual({ open: 2, closedByClient: 2, closedByServer: 0 });
    dismissed.ws.send('bye');
    await expect.poll(() => counts(app.client)).toEqual({ open: 1, closedByClient: 2, closedByServer: 1 });
    dropped.ws.send('crash');
    await expect.poll(() => counts(app.client)).toEqual({ open: 0, closedByClient: 2, closedByServer: 2 });
  });

  test('plain HTTP over a handed socket knows its client, and is kept alive', async () => {
    await app.started(chat);
    const { port } = await app.gateway();
    const socket = await app.tcp(port);
    for (let round = 0; round < 2; round += 1) {
      const answer = once(socket, 'data');
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      expect(String((await answer)[0])).toContain('{"from":"127.0.0.1","n":1}');
    }
  });

  test('a plain TCP server gets them too, half-open connections as it asked', async () => {
    await app.started({
      'server.mjs': `import net from 'node:net'; net.createServer({ allowHalfOpen: true }, (s) => { let all = ''; s.on('data', (d) => all += d); s.on('end', () => s.end('got ' + all)) }).listen(3000)`,
    });
    const { port } = await app.gateway();
    const socket = await app.tcp(port);
    let answer = '';
    socket.on('data', (data) => (answer += String(data)));
    socket.write('early,');
    await expect.poll(() => counts(app.client)?.open).toBe(1);
    socket.end('late');
    await once(socket, 'close');
    expect(answer).toBe('got early,late');
  });
});

describe('shutdown', () => {
  test('is SIGTERM to an app that listens for it, which ends as it likes', async () => {
    await app.started({
      'server.mjs': `import http from 'node:http'; const server = http.createServer((q, s) => { console.log('asked'); setTimeout(() => s.end('done'), 100); }).listen(3000);
        process.on('SIGTERM', () => { console.log('closing'); server.close(() => console.log('closed')) })`,
    });
    const running = app.get();
    await expect.poll(() => app.instance.output).toBe('asked\n');
    app.client.send(frameType.shutdown);
    expect((await running).body).toBe('done');
    expect(await app.instance.exited()).toBe(0);
    expect(app.instance.output).toBe('asked\nclosing\nclosed\n');
  });

  test('of any other app closes its server, waits for what is open, and exits', async () => {
    await app.started({
      'server.mjs': `import net from 'node:net'; net.createServer((s) => s.pipe(s)).listen(3000)`,
    });
    const { port } = await app.gateway();
    const socket = await app.tcp(port);
    const echo = once(socket, 'data');
    socket.write('x');
    await echo;
    app.client.send(frameType.shutdown, '{"graceMs":60000}');
    const again = once(socket, 'data');
    socket.write('y');
    await again;
    expect(app.instance.exitCode).toBeUndefined();
    socket.end();
    expect(await app.instance.exited()).toBe(0);
  });

  test('ends open connections after the grace', async () => {
    await app.started({
      'server.mjs': `import net from 'node:net'; net.createServer((s) => s.pipe(s)).listen(3000)`,
    });
    const { port } = await app.gateway();
    const socket = await app.tcp(port);
    socket.write('x');
    await once(socket, 'data');
    app.client.send(frameType.shutdown, '{"graceMs":50}');
    expect(await app.instance.exited()).toBe(0);
  });
});

test.runIf(process.platform === 'linux')('an app that waits for its clients is not woken', async () => {
  await app.started({
    'server.mjs': `
      import net from 'node:net';
      net.createServer((s) => s.on('data', () => s.write(String(process.pid)))).listen(3000)`,
  });
  const { port } = await app.gateway();
  const socket = await app.tcp(port);
  socket.write('who?');
  const [answer] = (await once(socket, 'data')) as [Buffer];
  const sleeps = (): number => {
    const status = readFileSync(`/proc/${answer.toString()}/status`, 'utf8');
    return Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1]);
  };
  // What the request set off has come to its end.
  await pause(200);
  const before = sleeps();
  await pause(1000);
  expect(sleeps() - before).toBeLessThan(20);
  socket.destroy();
});
