// What a client sees that sends a body where none is wanted: who is refused is refused before it sends it, or soon after, in
// words; who comes too slowly is told so; and what a connection has still to take does not go on without end.
import { connect, type Socket } from 'node:net';
import { SignatureV4 } from '@smithy/signature-v4';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Sha256 } from '../protocol/testing/sha256.ts';
import { bodyLimits, payloadLimits } from './config.ts';
import { Harness, testTenant, workloadOf } from './testing/harness.ts';
import { soon } from './testing/held-chat.ts';

let harness: Harness;
const clients: Socket[] = [];
const code = { 'index.js': 'exports.handler = async ({ body }) => ({ statusCode: 200, body })' };

beforeEach(async () => {
  harness = new Harness();
  await harness.start();
  harness.deploy(workloadOf('fn'));
  harness.deploy(workloadOf('site', { kind: 'app' }));
  await harness.call('sync', {});
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await harness.dispose();
});

interface Client {
  readonly socket: Socket;
  /** Everything that came so far. */
  readonly text: () => string;
  readonly closed: Promise<unknown>;
}

function send(bytes: string): Client {
  const socket = connect({ port: harness.port, host: '127.0.0.1' });
  clients.push(socket);
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk));
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write(bytes, 'latin1');
  return { socket, text: () => text, closed };
}

const expecting = (path: string, bytes: number, headers = ''): string =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: ${bytes}\r\nExpect: 100-continue\r\n${headers}\r\n`;
const invokePath = '/2015-03-31/functions/fn/invocations';
/** By who does not know the key's secret, and leaves it to the body to show that. */
const signedBy = (accessKeyId: string, service = 'lambda'): string => {
  const date = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '');
  return `X-Amz-Date: ${date}\r\nAuthorization: AWS4-HMAC-SHA256 Credential=${accessKeyId}/${date.slice(0, 8)}/us-east-1/${service}/aws4_request, SignedHeaders=host;x-amz-date, Signature=00\r\n`;
};

/** The headers of a request to Invoke, signed together with what its body will be, as AWS's SDK does. */
async function signedWith(secretAccessKey: string, body: string): Promise<string> {
  const { accessKeyId } = testTenant;
  const signer = new SignatureV4({
    credentials: { accessKeyId, secretAccessKey },
    region: 'us-east-1',
    service: 'lambda',
    sha256: Sha256,
  });
  const { headers } = await signer.sign({
    method: 'POST',
    protocol: 'http:',
    hostname: 'x',
    path: invokePath,
    query: {},
    headers: { host: 'x' },
    body,
  });
  return Object.entries(headers)
    .filter(([name]) => name !== 'host')
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('');
}

describe('who waits to be asked for its body', () => {
  test('is asked by a function that takes it, and the connection goes on', async () => {
    await harness.startInstance('fn', code);
    const client = send(expecting('/w/acme/fn/', 5));
    await soon(client.text).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    client.socket.write('hello');
    await soon(client.text).toMatch(/\r\n\r\nHTTP\/1\.1 200 OK\r\n[^]*Connection: keep-alive[^]*hello$/);
    client.socket.write(
      'POST /w/acme/fn/ HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nagain',
    );
    await soon(client.text).toMatch(/again$/);
  });

  test.each<[string, string, RegExp]>([
    ['a function, with a body that is too large', '/w/acme/fn/', /^HTTP\/1\.1 413 /],
    ['a function that is not there', '/w/acme/none/', /^HTTP\/1\.1 404 /],
    ['Invoke, with a body that is too large', invokePath, /^HTTP\/1\.1 413 [^]*RequestTooLargeException/],
  ])('is refused without by %s, and its connection ends', async (_, path, answer) => {
    const { text, closed } = send(
      expecting(path, payloadLimits.requestBytes + 1, signedBy(testTenant.accessKeyId)),
    );
    await closed;
    expect(text()).toMatch(answer);
    expect(text()).toContain('Connection: close\r\n');
  });

  test.each([
    ['nobody', '', /^HTTP\/1\.1 403 [^]*MissingAuthenticationTokenException/],
    ['a key that nobody has', signedBy('AKIANOBODY'), /^HTTP\/1\.1 403 [^]*UnrecognizedClientException/],
  ])('is refused without by Invoke when it signs as %s', async (_, headers, answer) => {
    const { text, closed } = send(expecting(invokePath, 5, headers));
    await closed;
    expect(text()).toMatch(answer);
  });

  test('is refused without by Invoke when another secret was signed with, or too long ago', async () => {
    const old = signedBy(testTenant.accessKeyId).replaceAll(/202\d{5}/g, '20200101');
    for (const [headers, why] of [
      [await signedWith('guessed', '{"a":1}'), 'InvalidSignatureException'],
      [old, 'Signature expired'],
      [signedBy(testTenant.accessKeyId, 's3'), 'scoped to correct service'],
    ] as const) {
      const { text, closed } = send(expecting(invokePath, 7, headers));
      await closed;
      expect(text()).toMatch(/^HTTP\/1\.1 403 /);
      expect(text()).toContain(why);
    }
  });

  test('is asked by Invoke for a body whose hash it has signed, and answered', async () => {
    await harness.startInstance('fn', { 'index.js': 'exports.handler = async ({ a }) => a + 1' });
    const client = send(expecting(invokePath, 7, await signedWith(testTenant.secretAccessKey, '{"a":1}')));
    await soon(client.text).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    client.socket.write('{"a":1}');
    await soon(client.text).toMatch(/HTTP\/1\.1 200 OK[^]*\r\n\r\n2$/);
    const other = send(expecting(invokePath, 7, await signedWith(testTenant.secretAccessKey, '{"a":1}')));
    await soon(other.text).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    other.socket.write('{"a":2}');
    await soon(other.text).toMatch(/HTTP\/1\.1 403 [^]*does not match the body/);
  });

  test('is refused without where the function runs as much as it may already', async () => {
    harness.deploy(workloadOf('fn', { reservedConcurrency: 0 }));
    await harness.call('sync', {});
    const signed = await signedWith(testTenant.secretAccessKey, '{"a":1}');
    for (const [path, headers] of [
      ['/w/acme/fn/', ''],
      [invokePath, signed],
    ] as const) {
      const { text, closed } = send(expecting(path, 7, headers));
      await closed;
      expect(text()).toMatch(/^HTTP\/1\.1 429 [^]*ReservedFunctionConcurrentInvocationLimitExceeded/);
      expect(text()).toMatch(/Retry-After: 1\r\n/i);
    }
  });

  test('is refused without where its tenant sends too often already', async () => {
    harness.setTenant({ requestLimit: 0 });
    await harness.call('sync', {});
    for (const path of ['/w/acme/fn/', '/w/acme/site/', invokePath]) {
      const { text, closed } = send(expecting(path, 5, signedBy(testTenant.accessKeyId)));
      await closed;
      expect(text()).toMatch(/^HTTP\/1\.1 429 /);
    }
  });
});

test('an upload that drips is answered 408 in words, by the URL of a function and by Invoke', async () => {
  // So high that whatever is sent by hand is below it; and who waits for a busy machine is not what is meant here.
  harness.config = { bodyFloor: { graceMs: 500, bytesPerSecond: 1_000_000_000 } };
  await harness.restartGateway();
  const slow = ['/w/acme/fn/', invokePath].map((path) =>
    send(
      `POST ${path} HTTP/1.1\r\nHost: x\r\n${signedBy(testTenant.accessKeyId)}Content-Length: 999999\r\n\r\nx`,
    ),
  );
  const dripping = setInterval(() => {
    for (const { socket } of slow) socket.write('x', () => undefined);
  }, 100);
  await Promise.all(slow.map(({ closed }) => closed));
  clearInterval(dripping);
  const [url, invoke] = slow.map(({ text }) => text());
  expect(url).toMatch(/^HTTP\/1\.1 408 [^]*"Request Timeout","detail":"The request's body came slower/);
  expect(invoke).toMatch(/^HTTP\/1\.1 408 [^]*RequestTimeoutException/);
});

test('who is refused and goes on sending is read from up to a bound, and answered at once', async () => {
  const { socket, text, closed } = send(
    'POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  const piece = Buffer.concat([Buffer.from('10000\r\n'), Buffer.alloc(65_536), Buffer.from('\r\n')]);
  await soon(text).toMatch(/^HTTP\/1\.1 404 /);
  let sent = 0;
  const more = (): void => {
    while (!socket.destroyed) {
      sent += piece.length;
      if (!socket.write(piece)) {
        socket.once('drain', more);
        return;
      }
    }
  };
  more();
  await closed;
  expect(sent).toBeGreaterThan(bodyLimits.discardedBytes);
});

test('who is refused, sends a little more and then asks again is answered again, over the same connection', async () => {
  const { socket, text } = send('POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx');
  await soon(text).toMatch(/^HTTP\/1\.1 404 /);
  socket.write(Buffer.alloc(99_999));
  socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  await soon(text).toMatch(/HTTP\/1\.1 200 OK/);
});
