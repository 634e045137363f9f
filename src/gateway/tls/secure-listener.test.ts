// What a client sees of TLS, on a real gateway with an app behind it.
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { workloadOf } from '../testing/harness.ts';
import { answerOf, echo, host, SecureSite } from '../testing/secure-site.ts';

let site: SecureSite;

beforeEach(async () => {
  site = await SecureSite.start();
});
afterEach(() => site.close());

describe('TLS', () => {
  test('a client that trusts the authority reaches an app by its host, which is told that it came by https', async () => {
    site.serve = echo;
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const options = { host: '127.0.0.1', port: site.harness.tlsPort, servername: host, ca: site.authority };
      const headers = { host: `${host}:${site.harness.tlsPort}` };
      httpsRequest({ ...options, headers, path: '/x', agent: false }, resolve)
        .on('error', reject)
        .end();
    });
    let body = '';
    for await (const chunk of answer) body += String(chunk);
    expect(JSON.parse(body)).toMatchObject({
      url: '/x',
      headers: { 'x-forwarded-proto': 'https', 'x-forwarded-port': String(site.harness.tlsPort) },
    });
  });

  test('a function is served over it as in the clear, and its event says so', async () => {
    const code = 'exports.handler = async (event) => event.headers';
    site.harness.deploy(workloadOf('fn'));
    await site.harness.startInstance('fn', { 'index.js': code });
    const socket = site.tls({ servername: 'fn.acme.localhost' });
    socket.write('GET / HTTP/1.1\r\nHost: fn.acme.localhost\r\nConnection: close\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    expect(text).toMatch(/^HTTP\/1\.1 200 OK/);
    expect(text).toContain('"x-forwarded-proto":"https"');
  });

  test.each(['TLSv1', 'TLSv1.1'] as const)('%s is refused, and the next client served', async (version) => {
    const socket = site.tls({ minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' });
    await expect(once(socket, 'secureConnect')).rejects.toThrow();
    expect((await answerOf(site.http2().request({ ':path': '/' }))).body).toBe('ok');
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('%s is taken', async (version) => {
    const socket = site.tls({ minVersion: version, maxVersion: version });
    await once(socket, 'secureConnect');
    expect(socket.getProtocol()).toBe(version);
    socket.destroy();
  });

  test('each client gets the protocol that it asked for', async () => {
    for (const [asked, got] of [
      [['h2', 'http/1.1'], 'h2'],
      [['http/1.1'], 'http/1.1'],
      [undefined, false],
    ] as const) {
      const socket = site.tls(asked === undefined ? {} : { ALPNProtocols: [...asked] });
      await once(socket, 'secureConnect');
      expect(socket.alpnProtocol).toBe(got);
      socket.destroy();
    }
  });

  test('who speaks plain HTTP to it is told so, whoever speaks neither is ended, and the next client is served', async () => {
    const answer = await fetch(`http://127.0.0.1:${site.harness.tlsPort}/`);
    expect([answer.status, await answer.json()]).toMatchObject([
      400,
      { error: { code: 'BadRequest', message: expect.stringContaining('HTTPS') } },
    ]);
    for (const bytes of [[0], [22, 9, 9, 9, 9, 9], []]) {
      const socket = connectTcp(site.harness.tlsPort, '127.0.0.1');
      socket.on('error', () => undefined);
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.resume().end(Buffer.from(bytes));
      await closed;
    }
    expect((await answerOf(site.http2().request({ ':path': '/' }))).body).toBe('ok');
  });

  test('a WebSocket to an app that would be handed it is tunnelled, and counted as such', async () => {
    site.harness.gone('i-plain', 'site', 'makes room');
    const id = await site.harness.startInstance(
      'site',
      {
        'server.js': `
          const server = require('http').createServer().listen(process.env.PORT);
          server.on('upgrade', (request, socket) => {
            const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
            const accept = require('crypto').createHash('sha1').update(key).digest('base64');
            socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n' +
              'Sec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n');
            const text = request.headers['x-forwarded-proto'];
            socket.write(Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]));
            socket.on('end', () => socket.end()).resume();
          });`,
      },
      { argv: ['server.js'] },
    );
    const socket = new WebSocket(`wss://${host}:${site.harness.tlsPort}/`, {
      ca: site.authority,
      createConnection: () => site.tls(),
    });
    const [message] = (await once(socket, 'message')) as [Buffer];
    expect(message.toString()).toBe('https');
    await expect.poll(() => site.harness.agentCalls).toContain(`tunnels ${id} 1 0 0`);
    socket.terminate();
    await expect.poll(() => site.harness.agentCalls).toContain(`tunnels ${id} 0 1 0`);
  });
});
