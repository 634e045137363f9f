// TLS and HTTP/2 from outside: with curl, Node's HTTP/2 client, a WebSocket client and the AWS SDK, all of which check the
// certificate that Bellows made.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import { CreateFunctionCommand, InvokeCommand, waitUntilFunctionActiveV2 } from '@aws-sdk/client-lambda';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { deployStatefulApp } from '../support/apps.ts';
import { zipOf } from '../support/archives.ts';
import { Bellows, eventually, freePort, runCli } from '../support/bellows.ts';

const run = promisify(execFile);
const host = 'stateful.default.localhost';
let bellows: Bellows;
let tlsPort: number;
let authority: string;

beforeAll(async () => {
  tlsPort = await freePort();
  bellows = await Bellows.start({ args: ['--no-examples', '--unit', 'host', '--tls-port', String(tlsPort)] });
  authority = join(bellows.dataDirectory, 'tls', 'ca.pem');
  await deployStatefulApp(bellows);
}, 180_000);
afterAll(() => bellows.stop());

/** What curl gets from a host of ours, by a name that needs no DNS. */
async function curl(name: string, path: string, ...options: string[]): Promise<string> {
  const resolve = `${name}:${tlsPort}:127.0.0.1`;
  const url = `https://${name}:${tlsPort}${path}`;
  return (await run('curl', ['-sS', '--cacert', authority, '--resolve', resolve, ...options, url])).stdout;
}

test.each(['--http2', '--http1.1'])(
  'curl %s reaches an app by its host, and the app knows how',
  async (version) => {
    const seen = JSON.parse(await curl(host, '/headers', version)) as { headers: Record<string, string> };
    expect(seen.headers).toMatchObject({
      host: `${host}:${tlsPort}`,
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-port': String(tlsPort),
    });
    const used = await curl(host, '/headers', version, '-o', '/dev/null', '-w', '%{http_version}');
    expect(used).toBe(version === '--http2' ? '2' : '1.1');
  },
);

test('the authority is made for this machine alone, and only its owner can read its files', async () => {
  expect(await curl('localhost', '/healthz')).toContain('"ok"');
  await expect(curl('stateful.nobody.localhost', '/healthz')).rejects.toThrow(/SSL|certificate/);
  for (const name of ['ca.pem', 'ca.key'])
    expect(statSync(join(bellows.dataDirectory, 'tls', name)).mode & 0o777).toBe(0o600);
  expect(bellows.output).toContain(`https://localhost:${tlsPort}`);
  expect(bellows.output).toContain(authority);
});

test('large bodies go up and down over HTTP/2, on one connection', async () => {
  const bytes = 8 * 1024 * 1024;
  const session = connectHttp2(`https://${host}:${tlsPort}`, {
    createConnection: () =>
      connectTls({
        host: '127.0.0.1',
        port: tlsPort,
        servername: host,
        ca: readFileSync(authority),
        ALPNProtocols: ['h2'],
      }),
  });
  try {
    const upload = session.request({ ':method': 'POST', ':path': '/upload' });
    const download = session.request({ ':path': `/download?bytes=${bytes}` });
    upload.end(Buffer.alloc(bytes, 1));
    let received = 0;
    download.on('data', (chunk: Buffer) => (received += chunk.length));
    let answer = '';
    upload.setEncoding('utf8').on('data', (chunk: string) => (answer += chunk));
    await Promise.all([once(upload, 'end'), once(download, 'end')]);
    expect(JSON.parse(answer)).toEqual({ bytes });
    expect(received).toBe(bytes);
  } finally {
    session.close();
  }
});

test('M-C3: a WebSocket over TLS is served and counted, and lives through a resize', async () => {
  const socket = new WebSocket(`wss://localhost:${tlsPort}/w/default/stateful/`, {
    ca: readFileSync(authority),
    lookup: (_name, options, done) =>
      options.all === true ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4),
  });
  const received: string[] = [];
  socket.on('message', (data: Buffer) => received.push(data.toString()));
  await once(socket, 'open');
  const counted = async (): Promise<number | undefined> =>
    (await bellows.instances()).find(({ workload }) => workload.includes('stateful'))?.connections;
  await eventually(async () => (await counted()) === 1);
  expect((await bellows.cli('ps')).stdout).toMatch(/stateful.*\b1\b/);
  const resized = await bellows.v1('PATCH', '/workloads/default/stateful', { memory: '192MiB' });
  expect(resized.body).toMatchObject({ connections: { open: 1, kept: 1, dropped: 0 } });
  socket.send('after the resize');
  await eventually(() => received.includes('after the resize'));
  socket.terminate();
  await eventually(async () => (await counted()) === 0);
});

test('M-D1: the AWS SDK deploys and calls a function over https', async () => {
  const lambda = bellows.lambda('default', {
    endpoint: `https://localhost:${tlsPort}`,
    requestHandler: { httpsAgent: new Agent({ ca: readFileSync(authority), family: 4 }) },
  });
  await lambda.send(
    new CreateFunctionCommand({
      FunctionName: 'safe',
      Runtime: 'nodejs22.x',
      Role: 'arn:aws:iam::000000000000:role/any',
      Handler: 'index.handler',
      Code: { ZipFile: await zipOf({ 'index.mjs': 'export const handler = async ({ n }) => n + 1;' }) },
    }),
  );
  await waitUntilFunctionActiveV2({ client: lambda, maxWaitTime: 60 }, { FunctionName: 'safe' });
  const { Payload } = await lambda.send(new InvokeCommand({ FunctionName: 'safe', Payload: '{"n":41}' }));
  expect(Buffer.from(Payload ?? []).toString()).toBe('42');
});

test('a certificate that can not be used is refused at the start, with what is wrong', async () => {
  const data = mkdtempSync(join(tmpdir(), 'bellows-tls-'));
  try {
    const port = String(await freePort());
    const up = ['up', '--data', data, '--port', port, '--no-examples', '--unit', 'host'];
    const alone = await runCli([...up, '--tls-port', String(await freePort()), '--tls-cert', authority]);
    expect(alone).toMatchObject({ code: 2, stderr: expect.stringContaining('--tls-key') });
    const files = ['--tls-cert', authority, '--tls-key', '/nowhere/key.pem'];
    const missing = await runCli([...up, '--tls-port', String(await freePort()), ...files]);
    expect(missing).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('/nowhere/key.pem is not there'),
    });
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
});
