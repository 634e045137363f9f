// What a caller sees of a streamed answer, by InvokeWithResponseStream and at a function's URL, with real runtimes behind the gateway.
// That something comes before something else is shown by gates: a handler goes on when the test has opened its gate.
import {
  InvokeWithResponseStreamCommand,
  LambdaClient,
  type InvokeWithResponseStreamCommandInput,
  type InvokeWithResponseStreamCompleteEvent,
} from '@aws-sdk/client-lambda';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { WorkloadRoute } from '../protocol/routes.ts';
import { Harness, testTenant, workloadOf } from './testing/harness.ts';

const mib = 1024 * 1024;
// Some carry hundreds of megabytes, which takes a machine that has other work long.
vi.setConfig({ testTimeout: 120_000 });
let harness: Harness;
let client: LambdaClient;

beforeEach(async () => {
  harness = await new Harness().start();
  client = new LambdaClient({
    endpoint: harness.url,
    region: 'us-east-1',
    credentials: testTenant,
    maxAttempts: 1,
  });
});
afterEach(async () => {
  client.destroy();
  await harness.dispose();
});

/** What handlers here have at hand: `gate(name)` waits until the test opens it, `tell(name, text)` is for the test to read. */
const imports = `import { existsSync, renameSync, writeFileSync } from 'node:fs';
  import { once } from 'node:events';
  import { Readable } from 'node:stream';
  import { pipeline } from 'node:stream/promises';
  const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));`;

/** @param body of a streaming handler that has `event`, `stream` and `context` */
async function deploy(body: string, more: Partial<WorkloadRoute> = {}): Promise<string> {
  const helpers = `${imports}
    const path = (name) => ${JSON.stringify(harness.root)} + '/' + name;
    const gate = async (name) => { while (!existsSync(path(name))) await sleep(5); };
    const tell = (name, text) => { writeFileSync(path(name + '.new'), text); renameSync(path(name + '.new'), path(name)); };`;
  const code = `${helpers}\nexport const handler = awslambda.streamifyResponse(async (event, stream, context) => { ${body} });`;
  return deployFile(code, more);
}

async function deployFile(code: string, more: Partial<WorkloadRoute> = {}): Promise<string> {
  harness.deploy(workloadOf('site', { timeoutMs: 120_000, invokeMode: 'RESPONSE_STREAM', ...more }));
  return harness.startInstance('site', { 'index.mjs': code });
}

function open(gate: string): void {
  writeFileSync(join(harness.root, gate), '');
}

async function told(name: string): Promise<string> {
  const path = join(harness.root, name);
  await expect.poll(() => existsSync(path), { timeout: 60_000 }).toBe(true);
  return readFileSync(path, 'utf8');
}

function call(event: unknown = {}, more: Partial<InvokeWithResponseStreamCommandInput> = {}) {
  return client.send(
    new InvokeWithResponseStreamCommand({
      FunctionName: 'site',
      Payload: Buffer.from(JSON.stringify(event)),
      ...more,
    }),
  );
}

interface Streamed {
  readonly text: string;
  readonly complete: InvokeWithResponseStreamCompleteEvent | undefined;
}

async function streamed(event: unknown = {}, more: Partial<InvokeWithResponseStreamCommandInput> = {}) {
  const answer = await call(event, more);
  const chunks: Buffer[] = [];
  let complete: Streamed['complete'];
  for await (const part of answer.EventStream ?? []) {
    expect(complete).toBeUndefined();
    if (part.PayloadChunk?.Payload !== undefined) chunks.push(Buffer.from(part.PayloadChunk.Payload));
    complete = part.InvokeComplete;
  }
  return { ...answer, text: Buffer.concat(chunks).toString(), complete };
}

const at = (path = '/'): string => `${harness.url}/w/acme/site${path}`;

/** Reads a body piece by piece. */
async function reader(path = '/', init: RequestInit = {}) {
  const answer = await fetch(at(path), init);
  const body = answer.body?.getReader();
  const next = async (): Promise<string> => Buffer.from((await body?.read())?.value ?? '').toString();
  return { answer, next };
}

describe("the AWS SDK's InvokeWithResponseStream", () => {
  test('M-D1: what the handler writes arrives before the handler has ended, and how it ended comes last', async () => {
    await deploy(`stream.write('one'); await gate('next'); console.log('said'); stream.end('two');`);
    const answer = await call({}, { LogType: 'Tail' });
    expect(answer).toMatchObject({
      StatusCode: 200,
      ExecutedVersion: '$LATEST',
      ResponseStreamContentType: 'application/vnd.amazon.eventstream',
    });
    const events = answer.EventStream![Symbol.asyncIterator]();
    const chunk = async (): Promise<string> =>
      Buffer.from((await events.next()).value?.PayloadChunk?.Payload ?? []).toString();
    expect(await chunk()).toBe('one');
    open('next');
    expect(await chunk()).toBe('two');
    const { InvokeComplete } = (await events.next()).value!;
    expect(InvokeComplete?.ErrorCode).toBeUndefined();
    const log = Buffer.from(InvokeComplete?.LogResult ?? '', 'base64').toString();
    expect(log).toContain(`START RequestId: ${answer.$metadata.requestId}`);
    expect(log).toContain('said');
    expect((await events.next()).done).toBe(true);
  });

  test('of an HTTP answer, status, headers and cookies come first, as JSON and eight zero bytes', async () => {
    await deploy(`stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { 'x-a': 1 }, cookies: ['c=1'] });
      stream.end('body');`);
    const [prelude, body] = (await streamed()).text.split('\0'.repeat(8));
    expect(JSON.parse(prelude!)).toEqual({ statusCode: 201, headers: { 'x-a': '1' }, cookies: ['c=1'] });
    expect(body).toBe('body');
  });

  test('a handler that does not stream is answered the same way, value or error', async () => {
    await deployFile(
      `export const handler = async (event) => { if (event.bad) throw new TypeError('no'); return { n: event.n }; };`,
    );
    expect(await streamed({ n: 1 })).toMatchObject({ text: '{"n":1}', complete: {} });
    const { text, complete } = await streamed({ bad: true });
    expect(text).toBe('');
    expect(complete?.ErrorCode).toBe('Unhandled');
    expect(JSON.parse(complete!.ErrorDetails!)).toMatchObject({ errorType: 'TypeError', errorMessage: 'no' });
  });

  test('an error in the middle is in the last event, and the next call is fine', async () => {
    await deploy(
      `stream.write('half'); if (event.bad) { await sleep(1); throw new Error('no'); } stream.end();`,
    );
    const { text, complete } = await streamed({ bad: true });
    expect(text).toBe('half');
    expect(complete?.ErrorCode).toBe('Unhandled');
    expect(JSON.parse(complete!.ErrorDetails!)).toMatchObject({ errorType: 'Error', errorMessage: 'no' });
    expect(await streamed()).toMatchObject({ text: 'half', complete: {} });
  });

  test('a time-out and an exit in the middle are in the last event, by their names', async () => {
    await deploy(`stream.write('half'); await new Promise(() => setInterval(() => {}, 1000));`, {
      timeoutMs: 3000,
    });
    const timedOut = await streamed();
    expect(timedOut).toMatchObject({ text: 'half', complete: { ErrorCode: 'Sandbox.Timedout' } });
    expect(timedOut.complete?.ErrorDetails).toContain('Task timed out after 3.00 seconds');
    const id = await deploy(`stream.write('half'); await gate('die'); process.kill(process.pid, 'SIGKILL');`);
    const answer = call();
    const events = (await answer).EventStream![Symbol.asyncIterator]();
    expect(Buffer.from((await events.next()).value?.PayloadChunk?.Payload ?? []).toString()).toBe('half');
    open('die');
    await harness.instances.get(id)?.exited();
    harness.gone(id, 'site', 'signal: killed', true);
    expect((await events.next()).value?.InvokeComplete).toMatchObject({ ErrorCode: 'Runtime.OutOfMemory' });
  });

  test('DryRun runs nothing, and Event is no type of it', async () => {
    await deploy(`tell('ran', ''); stream.end();`);
    expect((await call({}, { InvocationType: 'DryRun' })).StatusCode).toBe(204);
    await expect(call({}, { InvocationType: 'Event' as 'DryRun' })).rejects.toMatchObject({
      name: 'InvalidParameterValueException',
      message: expect.stringContaining('RequestResponse, DryRun') as string,
    });
    await expect(call({}, { FunctionName: 'nope' })).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
    });
    expect(existsSync(join(harness.root, 'ran'))).toBe(false);
  });

  test('its instance works until the stream has ended: beyond the concurrency others are throttled', async () => {
    await deploy(`stream.write('one'); await gate('next'); stream.end();`, { reservedConcurrency: 1 });
    const first = (await call()).EventStream![Symbol.asyncIterator]();
    await first.next();
    await expect(call()).rejects.toMatchObject({
      name: 'TooManyRequestsException',
      Reason: 'ReservedFunctionConcurrentInvocationLimitExceeded',
    });
    await expect
      .poll(() => harness.traffic.some(({ busyInstances }) => busyInstances === 1), { timeout: 60_000 })
      .toBe(true);
    open('next');
    expect((await first.next()).value?.InvokeComplete).toEqual({});
    expect((await streamed()).text).toBe('one');
  });
});

describe("a function's URL with InvokeMode RESPONSE_STREAM", () => {
  test('M-D1: head and chunks arrive before the handler has ended', async () => {
    await deploy(
      `stream.setContentType('text/plain'); stream.write('one'); await gate('next'); stream.end('two');`,
    );
    const { answer, next } = await reader();
    expect(answer.headers.get('content-type')).toBe('text/plain');
    expect(await next()).toBe('one');
    open('next');
    expect(await next()).toBe('two');
    expect(await next()).toBe('');
  });

  test('status, headers and cookies are what the handler says; without, 200 and application/octet-stream', async () => {
    await deploy(`if (event.rawPath === '/plain') return stream.end('x');
      stream = awslambda.HttpResponseStream.from(stream, { statusCode: 206, headers: { 'x-a': 'b' }, cookies: ['a=1', 'b=2'] });
      stream.end('one');`);
    const answer = await fetch(at());
    expect(answer.status).toBe(206);
    expect(answer.headers.get('x-a')).toBe('b');
    expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    expect(await answer.text()).toBe('one');
    const plain = await fetch(at('/plain'));
    expect(plain.status).toBe(200);
    expect(plain.headers.get('content-type')).toBe('application/octet-stream');
  });

  test('a handler that does not stream answers in format 2.0 all the same', async () => {
    await deployFile(`export const handler = async () => ({ statusCode: 201, body: 'whole' });`);
    const answer = await fetch(at());
    expect(answer.status).toBe(201);
    expect(await answer.text()).toBe('whole');
  });

  test('an error before the first byte is 502, and one in the middle breaks the body off', async () => {
    await deploy(
      `if (event.rawPath === '/early') throw new Error('no'); stream.write('half'); await gate('next'); throw new Error('no');`,
    );
    expect((await fetch(at('/early'))).status).toBe(502);
    const { next } = await reader();
    expect(await next()).toBe('half');
    open('next');
    await expect(next()).rejects.toThrow();
  });

  test('a large answer arrives whole, and a client that reads nothing holds the handler back', async () => {
    await deploy(
      `let written = 0;
      for (let n = 0; n < 1024; n++) {
        written += 65536;
        if (stream.write(Buffer.alloc(65536, n))) continue;
        const stuck = setTimeout(() => tell('stuck', String(written)), 300);
        await once(stream, 'drain');
        clearTimeout(stuck);
      }
      tell('stuck', String(written));
      stream.end();`,
    );
    const socket = connect(harness.port, '127.0.0.1');
    socket.write('GET /w/acme/site/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    socket.pause();
    // All that is on its way, in the instance, the kernel and the gateway, is part of what was written.
    expect(Number(await told('stuck'))).toBeLessThan(24 * mib);
    let bytes = 0;
    for await (const chunk of socket) bytes += (chunk as Buffer).length;
    expect(bytes).toBeGreaterThan(64 * mib);
    expect(Number(await told('stuck'))).toBe(64 * mib);
  });

  test('of more than 200 MB those arrive, and the body breaks off', async () => {
    await deploy(`await pipeline(Readable.from((function* () { for (;;) yield Buffer.alloc(${mib}); })()), stream)
      .catch((error) => { tell('why', error.message); throw error; });`);
    const socket = connect(harness.port, '127.0.0.1');
    socket.write('GET /w/acme/site/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    let bytes = 0;
    let last: Buffer = Buffer.alloc(0);
    for await (const chunk of socket) {
      last = chunk as Buffer;
      bytes += last.length;
    }
    // Head and chunked coding take less than the difference, and what was not sent yet when it broke off is lost.
    expect(bytes).toBeGreaterThan(190 * mib);
    expect(bytes).toBeLessThan(201 * mib);
    expect(last.toString('latin1').endsWith('0\r\n\r\n')).toBe(false);
    expect(await told('why')).toContain('maximum allowed payload size (209715200 bytes)');
  });
});

describe('a client that leaves in the middle of a stream', () => {
  /** Reads the first bytes of a stream and leaves. */
  async function leave(path: string): Promise<void> {
    const left = new AbortController();
    const { next } = await reader(path, { signal: left.signal });
    expect(await next()).not.toBe('');
    left.abort();
  }

  test('ends the pipeline that feeds it, without an error of the function, and frees the instance', async () => {
    await deploy(
      `if (event.rawPath === '/why') return stream.end(globalThis.why);
      const ticks = async function* () { for (;;) { yield 'tick'; await sleep(5); } };
      await pipeline(Readable.from(ticks()), stream).catch((error) => { globalThis.why = error.code; throw error; });`,
      { reservedConcurrency: 1 },
    );
    await leave('/');
    // The next is run by the same instance, when it is free.
    await expect
      .poll(async () => (await fetch(at('/why'))).text(), { timeout: 60_000 })
      .toBe('ERR_STREAM_PREMATURE_CLOSE');
    expect(harness.discarded).toEqual([]);
    const sum = (pick: 'requests' | 'errors' | 'bytesOut'): number =>
      harness.traffic.reduce((total, line) => total + line[pick], 0);
    await expect.poll(() => sum('requests'), { timeout: 60_000 }).toBeGreaterThanOrEqual(2);
    expect(sum('errors')).toBe(0);
    // What it took was carried.
    expect(sum('bytesOut')).toBeGreaterThan('tick'.length);
  });

  test('leaves a handler that writes by itself to its own end, waiting for no drain', async () => {
    await deploy(`if (event.rawPath === '/why') return stream.end('free');
      for (let n = 0; n < 2000; n++) if (!stream.write(Buffer.alloc(65536))) await once(stream, 'drain');
      stream.end(); tell('end', 'reached');`);
    await leave('/');
    expect(await told('end')).toBe('reached');
    expect(await (await fetch(at('/why'))).text()).toBe('free');
    expect(harness.discarded).toEqual([]);
  });

  test('by InvokeWithResponseStream, too', async () => {
    await deploy(`if (event.why) return stream.end(globalThis.why);
      const ticks = async function* () { for (;;) { yield 'tick'; await sleep(5); } };
      await pipeline(Readable.from(ticks()), stream).catch((error) => { globalThis.why = error.code; throw error; });`);
    const left = new AbortController();
    const answer = await client.send(new InvokeWithResponseStreamCommand({ FunctionName: 'site' }), {
      abortSignal: left.signal,
    });
    for await (const { PayloadChunk } of answer.EventStream!) if (PayloadChunk !== undefined) break;
    client.destroy();
    left.abort();
    client = new LambdaClient({
      endpoint: harness.url,
      region: 'us-east-1',
      credentials: testTenant,
      maxAttempts: 1,
    });
    expect((await streamed({ why: true })).text).toBe('ERR_STREAM_PREMATURE_CLOSE');
  });
});

describe("a function's URL with InvokeMode BUFFERED", () => {
  test('a streamed answer is sent when all of it is there, with its length', async () => {
    await deploy(
      `stream = awslambda.HttpResponseStream.from(stream, { statusCode: 203, headers: { 'x-a': 'b' } });
      stream.write('one,'); await sleep(1); stream.end('two');`,
      { invokeMode: undefined },
    );
    const answer = await fetch(at());
    expect(answer.status).toBe(203);
    expect(answer.headers.get('x-a')).toBe('b');
    expect(answer.headers.get('content-length')).toBe('7');
    expect(await answer.text()).toBe('one,two');
  });

  test('so a failure in the middle is a 502, and so is more than 6 MB', async () => {
    await deploy(
      `if (event.rawPath === '/large') await pipeline(Readable.from((function* () { for (let n = 0; n < 8; n++) yield Buffer.alloc(${mib}); })()), stream);
      stream.write('half'); await sleep(1); throw new Error('no');`,
      { invokeMode: undefined },
    );
    for (const path of ['/', '/large']) {
      const answer = await fetch(at(path));
      expect(answer.status).toBe(502);
      expect(await answer.json()).toEqual({ message: 'Internal Server Error' });
    }
  });
});
