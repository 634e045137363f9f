// Apps through the real port: HTTP and WebSocket, by host and by path, Node and another language. On whatever units they run.
import { request } from 'node:http';
import { beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { tarGzOf, zipOf } from '../../support/archives.ts';
import { deployStatefulApp } from '../../support/apps.ts';
import { type Bellows, eventually } from '../../support/bellows.ts';
import type { UnitsUnderTest } from '../../support/units.ts';

/** Of Python's standard library alone: HTTP, and one WebSocket message. */
const pythonServer = `
import http.server, os, hashlib, base64
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        if self.headers.get('Upgrade', '').lower() == 'websocket':
            key = self.headers['Sec-WebSocket-Key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
            self.send_response(101)
            self.send_header('Upgrade', 'websocket'); self.send_header('Connection', 'Upgrade')
            self.send_header('Sec-WebSocket-Accept', base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
            self.end_headers()
            body = ('python ' + self.path).encode()
            self.wfile.write(bytes([0x81, len(body)]) + body); self.wfile.flush()
            self.rfile.read(1)
            self.close_connection = True
            return
        body = ('from python ' + self.path + ' ' + os.environ['COLOUR']).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
`;

/** `fetch` can not set Host. */
async function byHost(bellows: Bellows, path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    request(
      {
        port: bellows.port,
        host: '127.0.0.1',
        path,
        headers: { host: `stateful.default.localhost:${bellows.port}` },
      },
      (answer) => {
        let body = '';
        answer.on('data', (chunk: Buffer) => (body += chunk.toString()));
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }));
      },
    )
      .on('error', reject)
      .end();
  });
}

async function firstMessage(url: string, headers: Record<string, string> = {}): Promise<string> {
  const socket = new WebSocket(url, { headers });
  try {
    return await new Promise((resolve, reject) => {
      socket.once('message', (data: Buffer) => resolve(data.toString()));
      socket.once('error', reject);
    });
  } finally {
    socket.terminate();
  }
}

export function appsSuite(units: UnitsUnderTest): void {
  beforeAll(async () => {
    await deployStatefulApp(units.bellows);
  }, units.within(180_000));

  test('M-D2: HTTP by host and by path', async () => {
    const host = await byHost(units.bellows, '/headers?a=1');
    expect(host.status).toBe(200);
    expect(JSON.parse(host.body)).toMatchObject({
      url: '/headers?a=1',
      headers: { 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http' },
    });
    const path = (await (await fetch(`${units.bellows.url}/w/default/stateful/headers?a=%2F`)).json()) as {
      url: string;
      headers: Record<string, string>;
    };
    expect(path.url).toBe('/headers?a=%2F');
    expect(path.headers['x-forwarded-prefix']).toBe('/w/default/stateful');
    expect((await fetch(`${units.bellows.url}/w/default/stateful/nothing`)).status).toBe(404);
    const unknown = await fetch(`${units.bellows.url}/w/default/unknown/`);
    expect(unknown.status).toBe(404);
    expect(await unknown.json()).toMatchObject({ error: { code: 'NotFound' } });
  });

  test('M-D2: WebSocket by host and by path, the path rewritten', async () => {
    expect(await firstMessage(`ws://127.0.0.1:${units.bellows.port}/w/default/stateful/hello?x=1`)).toBe(
      'hello from /hello?x=1',
    );
    expect(
      await firstMessage(`ws://127.0.0.1:${units.bellows.port}/hello`, {
        host: `stateful.default.localhost:${units.bellows.port}`,
      }),
    ).toBe('hello from /hello');
  });

  test('large bodies go both ways', async () => {
    const bytes = 30 * 1024 * 1024;
    const upload = await fetch(`${units.bellows.url}/w/default/stateful/upload`, {
      method: 'POST',
      body: Buffer.alloc(bytes, 1),
    });
    expect(await upload.json()).toEqual({ bytes });
    const download = await fetch(`${units.bellows.url}/w/default/stateful/download?bytes=${bytes}`);
    expect((await download.arrayBuffer()).byteLength).toBe(bytes);
  });

  test('a message sent with the upgrade request, and 1 MiB frames, arrive whole', async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${units.bellows.port}/w/default/stateful/`);
    const big = Buffer.alloc(1024 * 1024, 7);
    const received = new Promise<Buffer>((resolve) =>
      socket.once('message', (data: Buffer) => resolve(data)),
    );
    await new Promise((resolve) => socket.once('open', resolve));
    socket.send(big);
    expect(Buffer.compare(await received, big)).toBe(0);
    socket.close();
    await new Promise((resolve) => socket.once('close', resolve));
  });

  test('`bellows ps` shows the open connections, and they go when the client goes', async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${units.bellows.port}/w/default/stateful/`);
    await new Promise((resolve) => socket.once('open', resolve));
    const open = async (): Promise<number> =>
      (await units.bellows.instances()).find((each) => each.workload.includes('stateful'))!.connections;
    await eventually(async () => (await open()) === 1, { timeoutMs: units.within(10_000) });
    expect((await units.bellows.cli('ps')).stdout).toMatch(/stateful.*\b1\b/);
    socket.close();
    await eventually(async () => (await open()) === 0, { timeoutMs: units.within(10_000) });
  });

  // Into a machine no socket can be handed over: there the gateway stays on the path, and its connections end with it.
  if (units.kind === 'host') {
    test('M-C3: the gateway is off the path: a WebSocket goes on while no gateway lives', async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${units.bellows.port}/w/default/stateful/`);
      await new Promise((resolve) => socket.once('open', resolve));
      const echo = async (text: string): Promise<string> => {
        const answer = new Promise<string>((resolve) =>
          socket.once('message', (data: Buffer) => resolve(data.toString())),
        );
        socket.send(text);
        return answer;
      };
      const gateway = units.bellows.pidOf('gateway')!;
      process.kill(gateway, 'SIGSTOP');
      try {
        expect(await echo('while the gateway stands still')).toBe('while the gateway stands still');
      } finally {
        process.kill(gateway, 'SIGCONT');
      }
      process.kill(gateway, 'SIGKILL');
      expect(await echo('and after it was killed')).toBe('and after it was killed');
      socket.terminate();
      await eventually(async () => (await fetch(`${units.bellows.url}/healthz`)).ok, {
        timeoutMs: units.within(10_000),
      });
    });
  }

  test(
    'M-D2: a server in another language, tunnelled: HTTP and WebSocket bytes',
    { timeout: units.within(60_000) },
    async () => {
      const deployed = await units.bellows.v1(
        'PUT',
        '/workloads/default/snake',
        await zipOf({
          'server.py': pythonServer,
          'bellows.json': JSON.stringify({
            kind: 'app',
            start: 'python3 server.py',
            runtime: 'custom',
            memory: '128MiB',
            env: { COLOUR: 'green' },
          }),
        }),
      );
      expect(deployed.status, JSON.stringify(deployed.body)).toBeLessThan(300);
      expect(await (await fetch(`${units.bellows.url}/w/default/snake/x?y=1`)).text()).toBe(
        'from python /x?y=1 green',
      );
      expect(await firstMessage(`ws://127.0.0.1:${units.bellows.port}/w/default/snake/ws`)).toBe(
        'python /ws',
      );
    },
  );

  test(
    'a new version that does not start is refused and the old one keeps serving',
    { timeout: units.within(60_000) },
    async () => {
      const broken = await units.bellows.v1<{ error: { code: string; message: string } }>(
        'PUT',
        '/workloads/default/stateful',
        await tarGzOf({
          'server.js': 'throw new Error("does not start")',
          'bellows.json': JSON.stringify({ kind: 'app', start: 'node server.js', runtime: 'nodejs26.x' }),
        }),
      );
      expect(broken.status).toBe(502);
      expect(broken.body.error).toMatchObject({ code: 'StartFailed' });
      expect(broken.body.error.message).toContain('does not start');
      expect((await fetch(`${units.bellows.url}/w/default/stateful/state`)).status).toBe(200);
    },
  );

  test('an app whose command is not `node FILE` runs as it is written, on the same Node, and its WebSockets are tunnelled', async () => {
    const answer = await units.bellows.v1(
      'PUT',
      '/workloads/default/shell',
      await tarGzOf({
        'bellows.json': JSON.stringify({ kind: 'app', start: 'MODE=live node --stack-size=1500 server.js' }),
        'server.js': `const server = require('node:http').createServer((q, s) =>
            s.end(JSON.stringify([process.env.MODE, process.version, process.execArgv])));
          server.on('upgrade', (request, socket) => {
            const accept = require('node:crypto').createHash('sha1')
              .update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
            socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n' +
              'Sec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n');
            socket.write(Buffer.from([0x81, 2, 0x68, 0x69]));
            socket.on('end', () => socket.end()).resume();
          });
          server.listen(process.env.PORT);`,
      }),
    );
    expect(answer.status).toBe(201);
    const said: unknown = await (await fetch(`${units.bellows.url}/w/default/shell/`)).json();
    expect(said).toEqual(['live', process.version, ['--stack-size=1500']]);
    expect(await firstMessage(`${units.bellows.url.replace('http', 'ws')}/w/default/shell/`)).toBe('hi');
  });

  test('M-C5: connections that are tunnelled are counted in the answer to a resize, and those that clients end are not dropped', async () => {
    const url = `${units.bellows.url.replace('http', 'ws')}/w/default/shell/`;
    const open = async (): Promise<WebSocket> => {
      const socket = new WebSocket(url);
      await new Promise((resolve, reject) => socket.once('message', resolve).once('error', reject));
      return socket;
    };
    const sockets = await Promise.all([open(), open(), open()]);
    const counted = async (): Promise<number | undefined> =>
      (await units.bellows.instances()).find(({ workload }) => workload.includes('shell'))?.connections;
    await eventually(async () => (await counted()) === 3, { timeoutMs: units.within(10_000) });
    const resized = await units.bellows.v1('PATCH', '/workloads/default/shell', { memory: '192MiB' });
    expect(resized.body).toMatchObject({ status: 'applied', connections: { open: 3, kept: 3, dropped: 0 } });
    sockets.shift()?.terminate();
    await eventually(async () => (await counted()) === 2, { timeoutMs: units.within(10_000) });
    for (const socket of sockets) socket.terminate();
  });
}
