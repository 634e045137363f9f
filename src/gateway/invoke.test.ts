// What a caller of the Lambda API and of a function's URL sees, with real runtimes behind the gateway.
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BellowsError } from '../base/errors.ts';
import { encodeFrame } from '../base/frame.ts';
import type { InstanceId } from '../base/ids.ts';
import { frameType } from '../protocol/instance.ts';
import { Harness, testTenant, workloadOf } from './testing/harness.ts';

let harness: Harness;

beforeEach(async () => {
  harness = await new Harness().start();
});
afterEach(async () => {
  await harness.dispose();
});

function client(
  credentials: { accessKeyId: string; secretAccessKey: string } = testTenant,
  maxAttempts = 1,
): LambdaClient {
  return new LambdaClient({ endpoint: harness.url, region: 'us-east-1', credentials, maxAttempts });
}

async function invoke(name: string, payload: unknown = {}, more: object = {}) {
  const answer = await client().send(
    new InvokeCommand({ FunctionName: name, Payload: Buffer.from(JSON.stringify(payload)), ...more }),
  );
  const text = Buffer.from(answer.Payload ?? []).toString();
  return { ...answer, value: text === '' ? undefined : (JSON.parse(text) as unknown) };
}

const echo = {
  'index.js':
    'exports.handler = async (event, context) => ({ event, id: context.awsRequestId, client: context.clientContext })',
};

async function deploy(
  name: string,
  files: Record<string, string>,
  more: Parameters<typeof workloadOf>[1] = {},
): Promise<string> {
  harness.deploy(workloadOf(name, more));
  return harness.startInstance(
    name,
    files,
    more?.generation === undefined ? {} : { generation: more.generation },
  );
}

describe("the AWS SDK's Invoke", () => {
  test('M-D1: runs the function with the event and the request id that the caller sees', async () => {
    await deploy('echo', echo);
    const answer = await invoke('echo', { a: 'ä€' });
    expect(answer.StatusCode).toBe(200);
    expect(answer.ExecutedVersion).toBe('$LATEST');
    expect(answer.FunctionError).toBeUndefined();
    expect(answer.value).toMatchObject({ event: { a: 'ä€' }, id: answer.$metadata.requestId });
  });

  test.each([
    'echo',
    'arn:aws:lambda:us-east-1:123456789012:function:echo',
    '123456789012:function:echo',
    'echo:$LATEST',
  ])('names it %s', async (name) => {
    await deploy('echo', echo);
    expect((await invoke(name, { n: 1 })).value).toMatchObject({ event: { n: 1 } });
  });

  test('hands over the client context, and the end of the log when asked', async () => {
    await deploy('echo', {
      'index.js':
        'exports.handler = async (event, context) => { console.log("hello log"); return context.clientContext }',
    });
    const answer = await invoke(
      'echo',
      {},
      { LogType: 'Tail', ClientContext: Buffer.from('{"custom":{"a":1}}').toString('base64') },
    );
    expect(answer.value).toMatchObject({ custom: { a: 1 } });
    expect(Buffer.from(answer.LogResult ?? '', 'base64').toString()).toContain('hello log');
  });

  test('DryRun runs nothing, and Event answers once the controller has stored it', async () => {
    await deploy('echo', echo);
    expect((await invoke('echo', {}, { InvocationType: 'DryRun' })).StatusCode).toBe(204);
    expect((await invoke('echo', { later: true }, { InvocationType: 'Event' })).StatusCode).toBe(202);
    expect(harness.enqueued).toEqual([{ workload: 'acme/echo', event: '{"later":true}', clientContext: '' }]);
  });

  test('a thrown error is Unhandled with its type, and the next call is fine', async () => {
    await deploy('fails', {
      'index.js': 'exports.handler = async (e) => { if (e.bad) throw new TypeError("no"); return 1 }',
    });
    const failed = await invoke('fails', { bad: true });
    expect(failed.FunctionError).toBe('Unhandled');
    expect(failed.value).toMatchObject({ errorType: 'TypeError', errorMessage: 'no' });
    expect((await invoke('fails')).value).toBe(1);
  });

  test("a time-out is answered in Lambda's words, the instance is discarded, and the next call runs in another", async () => {
    const files = {
      'index.js': 'exports.handler = async (e) => { if (e.hang) for (;;); return process.pid }',
    };
    await deploy('slow', files, { timeoutMs: 300 });
    harness.onAcquire = () => harness.startInstance('slow', files);
    const answer = await invoke('slow', { hang: true });
    expect(answer.FunctionError).toBe('Unhandled');
    expect(answer.value).toEqual({
      errorType: 'Sandbox.Timedout',
      errorMessage: `RequestId: ${answer.$metadata.requestId} Error: Task timed out after 0.30 seconds`,
    });
    await expect
      .poll(() => harness.discarded)
      .toEqual([{ id: 'i-1', reason: expect.stringContaining('timed out') as string }]);
    expect((await invoke('slow')).value).toBe(harness.instances.get('i-2')?.process.pid);
  });

  test("LogType Tail of a time-out is the log's, as the agent tells it", async () => {
    const files = { 'index.js': 'exports.handler = () => new Promise(() => setInterval(() => {}, 1000))' };
    await deploy('slow', files, { timeoutMs: 100 });
    const answer = await invoke('slow', {}, { LogType: 'Tail' });
    expect(answer.value).toMatchObject({ errorType: 'Sandbox.Timedout' });
    expect(Buffer.from(answer.LogResult ?? '', 'base64').toString()).toBe(
      `START RequestId: ${answer.$metadata.requestId}\n`,
    );
  });

  test('a process that exits is answered with how it exited, once the controller says so', async () => {
    const id = await deploy('exits', {
      'index.js':
        'exports.handler = () => { process.kill(process.pid, "SIGKILL"); return new Promise(() => {}) }',
    });
    const answer = invoke('exits');
    await harness.instances.get(id)?.exited();
    harness.gone(id, 'exits', 'signal: killed', true);
    expect((await answer).value).toMatchObject({
      errorType: 'Runtime.OutOfMemory',
      errorMessage: expect.stringMatching(
        /^RequestId: .* Error: Runtime exited with error: signal: killed$/,
      ) as string,
    });
  });

  test('a function that does not start answers with the error of its start', async () => {
    harness.deploy(workloadOf('broken'));
    harness.onAcquire = () =>
      Promise.reject(
        new BellowsError(
          'StartFailed',
          JSON.stringify({ errorType: 'Runtime.ImportModuleError', errorMessage: 'Cannot find', trace: [] }),
        ),
      );
    const answer = await invoke('broken');
    expect(answer.FunctionError).toBe('Unhandled');
    expect(answer.value).toMatchObject({ errorType: 'Runtime.ImportModuleError' });
  });

  test('many at once on one instance are all answered, each with its own', async () => {
    await deploy('echo', echo, { timeoutMs: 20_000 });
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => invoke('echo', { n })));
    expect(answers.map(({ value }) => (value as { event: { n: number } }).event.n)).toEqual(
      Array.from({ length: 100 }, (_, n) => n),
    );
  });

  test('more than the reserved concurrency is throttled with the reason', async () => {
    await deploy(
      'one',
      { 'index.js': 'exports.handler = () => new Promise((r) => setTimeout(r, 300, 1))' },
      { reservedConcurrency: 1 },
    );
    const first = invoke('one');
    await expect
      .poll(
        () =>
          invoke('one').then(
            () => 'ran',
            (error: { name: string; Reason?: string }) => `${error.name} ${error.Reason}`,
          ),
        { interval: 1 },
      )
      .toBe('TooManyRequestsException ReservedFunctionConcurrentInvocationLimitExceeded');
    expect((await first).value).toBe(1);
  });

  test('an unknown function is named in the region that the caller signed for', async () => {
    const europe = new LambdaClient({
      endpoint: harness.url,
      region: 'eu-central-1',
      credentials: testTenant,
      maxAttempts: 1,
    });
    await expect(europe.send(new InvokeCommand({ FunctionName: 'nope' }))).rejects.toThrow(
      'Function not found: arn:aws:lambda:eu-central-1:123456789012:function:nope',
    );
    europe.destroy();
  });

  test.each<[string, () => Promise<unknown>, string, RegExp]>([
    [
      'an unknown function',
      () => invoke('nope'),
      'ResourceNotFoundException',
      /^Function not found: arn:aws:lambda:us-east-1:123456789012:function:nope$/,
    ],
    [
      'an unknown qualifier',
      () => invoke('echo', {}, { Qualifier: '7' }),
      'ResourceNotFoundException',
      /function:echo:7$/,
    ],
    [
      "another account's function",
      () => invoke('arn:aws:lambda:us-east-1:999999999999:function:echo'),
      'AccessDeniedException',
      /not authorized to perform: lambda:InvokeFunction/,
    ],
    [
      'a body that is not JSON',
      () => client().send(new InvokeCommand({ FunctionName: 'echo', Payload: Buffer.from('{a') })),
      'InvalidRequestContentException',
      /Could not parse request body into json/,
    ],
    [
      '6 MB and a byte',
      () => invoke('echo', 'x'.repeat(6 * 1024 * 1024)),
      'RequestTooLargeException',
      /must be smaller than 6291456 bytes/,
    ],
    [
      '1 MB and a byte as an event',
      () => invoke('echo', 'x'.repeat(1024 * 1024), { InvocationType: 'Event' }),
      'RequestTooLargeException',
      /must be smaller than 1048576 bytes/,
    ],
    [
      'a client context that is not JSON',
      () => invoke('echo', {}, { ClientContext: 'AAAA' }),
      'InvalidRequestContentException',
      /Client context/,
    ],
    [
      'an unknown invocation type',
      () => invoke('echo', {}, { InvocationType: 'Sometimes' }),
      'InvalidParameterValueException',
      /Sometimes/,
    ],
    [
      'a wrong secret',
      () => client({ ...testTenant, secretAccessKey: 'x' }).send(new InvokeCommand({ FunctionName: 'echo' })),
      'InvalidSignatureException',
      /does not match/,
    ],
    [
      'a wrong key',
      () => client({ ...testTenant, accessKeyId: 'x' }).send(new InvokeCommand({ FunctionName: 'echo' })),
      'UnrecognizedClientException',
      /security token/,
    ],
  ])('refuses %s', async (_what, call, name, message) => {
    harness.deploy(workloadOf('echo'));
    await expect(call()).rejects.toMatchObject({ name, message: expect.stringMatching(message) as string });
  });
});

describe('instances', () => {
  test('frozen when idle, and thawed before the next request reaches them', async () => {
    await harness.dispose();
    harness = await new Harness().start({ freezeAfterMs: 50, sweepMs: 10 });
    const id = await deploy('echo', echo);
    await expect.poll(() => harness.agentCalls).toContain(`freeze ${id}`);
    expect((await invoke('echo', { n: 1 })).value).toMatchObject({ event: { n: 1 } });
    expect(harness.agentCalls.slice(0, 2)).toEqual([`freeze ${id}`, `thaw ${id}`]);
  });

  test('of an older generation get nothing new', async () => {
    const files = { 'index.js': 'exports.handler = async () => process.pid' };
    await deploy('fn', files);
    harness.deploy(workloadOf('fn', { generation: 'g2' }));
    const id = await harness.startInstance('fn', files, { generation: 'g2' });
    const expected = harness.instances.get(id)?.process.pid;
    for (let round = 0; round < 5; round += 1) expect((await invoke('fn')).value).toBe(expected);
  });

  test('that are retired finish what they run and get nothing new', async () => {
    const [begun, ending] = [join(harness.root, 'begun'), join(harness.root, 'ending')];
    const id = await deploy('slow', {
      'index.js': `const { existsSync, writeFileSync } = require('node:fs');
        exports.handler = async () => {
          writeFileSync(${JSON.stringify(begun)}, '');
          while (!existsSync(${JSON.stringify(ending)})) await new Promise((r) => setTimeout(r, 10));
          return 'done';
        };`,
    });
    const running = invoke('slow');
    await expect.poll(() => existsSync(begun)).toBe(true);
    harness.onAcquire = () =>
      Promise.reject(
        new BellowsError('StartFailed', '{"errorType":"Only","errorMessage":"new ones","trace":[]}'),
      );
    const retired = harness.call('retire', { ids: [id as InstanceId], deadlineMs: Date.now() + 60_000 });
    expect((await invoke('slow')).value).toMatchObject({ errorType: 'Only' });
    writeFileSync(ending, '');
    expect((await running).value).toBe('done');
    await retired;
    expect((await invoke('slow')).value).toMatchObject({ errorType: 'Only' });
  });

  test('go on serving with the last routes while the controller is away', async () => {
    await deploy('echo', echo);
    await invoke('echo');
    await harness.stopController();
    expect((await invoke('echo', { n: 2 })).value).toMatchObject({ event: { n: 2 } });
    await harness.startController();
    await expect
      .poll(
        async () =>
          ((await (await fetch(`${harness.url}/healthz`)).json()) as { controller: string }).controller,
      )
      .toBe('connected');
    expect((await invoke('echo', { n: 3 })).value).toMatchObject({ event: { n: 3 } });
  });

  test('that speak nonsense are discarded', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => {
        // It is asked how it is when its link is open, and sent an invocation after that.
        socket.write(encodeFrame(frameType.pong, 0, ''));
        socket.on('data', () => socket.write(Buffer.alloc(64, 255)));
      });
    });
    const { mkdtempSync, rmSync } = await import('node:fs');
    const directory = mkdtempSync(`${harness.root}/x`);
    await new Promise<void>((resolve) => server.listen(`${directory}/s.sock`, resolve));
    harness.deploy(workloadOf('evil'));
    harness.announce('i-evil', 'evil', { runDirectory: directory, mode: 'frames', port: null });
    expect((await invoke('evil')).FunctionError).toBe('Unhandled');
    await expect.poll(() => harness.discarded.map(({ id }) => id)).toContain('i-evil');
    server.close();
    rmSync(directory, { recursive: true });
  });

  test('whose socket is gone are discarded', async () => {
    harness.deploy(workloadOf('dead'));
    harness.announce('i-dead', 'dead', { runDirectory: '/nowhere', mode: 'frames', port: null });
    await expect.poll(() => harness.discarded.map(({ id }) => id), { timeout: 5000 }).toContain('i-dead');
  });
});

describe("a function's URL", () => {
  const at = (path: string): string => `${harness.url}/w/acme/site${path}`;

  test('M-D1: gives the handler a request in format 2.0 and sends what it answers', async () => {
    await deploy('site', {
      'index.js': `exports.handler = async (event) => ({ statusCode: 201, headers: { 'X-Path': event.rawPath }, cookies: ['a=1', 'b=2'], body: JSON.stringify(event) })`,
    });
    const answer = await fetch(at('/x/y?a=1&a=2&b=%20'), {
      method: 'POST',
      headers: { 'content-type': 'application/json', cookie: 'c=1; d=2' },
      body: '{"n":1}',
    });
    expect(answer.status).toBe(201);
    expect(answer.headers.get('x-path')).toBe('/x/y');
    expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    expect(await answer.json()).toMatchObject({
      version: '2.0',
      rawPath: '/x/y',
      rawQueryString: 'a=1&a=2&b=%20',
      queryStringParameters: { a: '1,2', b: ' ' },
      cookies: ['c=1', 'd=2'],
      body: '{"n":1}',
      isBase64Encoded: false,
      requestContext: {
        accountId: '123456789012',
        http: { method: 'POST', path: '/x/y', sourceIp: '127.0.0.1' },
      },
    });
  });

  test("a caller's trace goes on in the instance, at a URL and by Invoke; without one the event has a new one", async () => {
    await deploy('site', {
      'index.js':
        'exports.handler = async (e) => [process.env._X_AMZN_TRACE_ID ?? null, e.headers?.["x-amzn-trace-id"] ?? null]',
    });
    const trace = 'Root=1-5e6a879e-00000001aaaa0123456789ab;Sampled=1';
    const read = async (headers: Record<string, string>): Promise<unknown> =>
      (await fetch(at('/'), { headers })).json();
    expect(await read({ 'X-Amzn-Trace-Id': trace })).toEqual([trace, trace]);
    expect(await read({})).toEqual([
      null,
      expect.stringMatching(/^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$/) as string,
    ]);
    const traced = client();
    traced.middlewareStack.add(
      (next) => (args) => {
        (args.request as { headers: Record<string, string> }).headers['x-amzn-trace-id'] = trace;
        return next(args);
      },
      { step: 'build' },
    );
    const answer = await traced.send(new InvokeCommand({ FunctionName: 'site' }));
    expect(JSON.parse(Buffer.from(answer.Payload ?? []).toString())).toEqual([trace, null]);
  });

  test('errors are 502, time-outs 504, a function without a URL 403, an unknown one 404', async () => {
    await deploy(
      'site',
      {
        'index.js':
          'exports.handler = async (e) => { if (e.rawPath === "/hang") await new Promise(() => setTimeout(() => {}, 1e6)); throw new Error("secret") }',
      },
      { timeoutMs: 300 },
    );
    const failed = await fetch(at('/'));
    expect(failed.status).toBe(502);
    expect(await failed.json()).toEqual({ message: 'Internal Server Error' });
    expect((await fetch(at('/hang'))).status).toBe(504);
    harness.deploy(workloadOf('plain', { url: false }));
    await expect.poll(async () => (await fetch(`${harness.url}/w/acme/plain`)).status).toBe(403);
    expect(await (await fetch(`${harness.url}/w/acme/plain`)).json()).toMatchObject({
      error: { hint: 'Set "url": true in its bellows.json and deploy it again.' },
    });
    harness.deploy(
      workloadOf('held', {
        url: false,
        websocket: {
          routes: ['$default'],
          routeSelectionExpression: '$request.body.action',
          idleTimeoutMs: null,
          maxDurationMs: null,
        },
      }),
    );
    await expect
      .poll(async () => (await fetch(`${harness.url}/w/acme/held`)).text())
      .toMatch(/takes WebSockets: connect to it by ws:/);
    const unknown = await fetch(`${harness.url}/w/acme/nope`);
    expect(unknown.status).toBe(404);
    expect(await unknown.json()).toMatchObject({
      error: { code: 'NotFound', hint: expect.any(String) as string },
    });
  });

  test('what was carried is reported, bytes and all', async () => {
    await deploy('site', { 'index.js': 'exports.handler = async () => "x".repeat(1000)' });
    await (await fetch(at('/'), { method: 'POST', body: 'y'.repeat(500) })).text();
    await expect
      .poll(() => harness.traffic.filter(({ requests }) => requests > 0), { timeout: 5000 })
      .toHaveLength(1);
    const sum = (pick: 'bytesIn' | 'bytesOut'): number =>
      harness.traffic.reduce((total, line) => total + line[pick], 0);
    await expect.poll(() => sum('bytesOut'), { timeout: 5000 }).toBeGreaterThan(1000);
    expect(sum('bytesIn')).toBeGreaterThan(500);
    const calls = harness.traffic.flatMap((line) => line.calls ?? []);
    expect(calls.filter(({ calledAtMs }) => calledAtMs !== null)).toEqual([
      expect.objectContaining({ most: 1 }),
    ]);
    expect(calls.some(({ endedAtMs }) => endedAtMs !== null)).toBe(true);
  });
});

test("the controller's asynchronous events are run and their outcome told", async () => {
  await deploy('fn', {
    'index.js': 'exports.handler = async (e) => { if (e.bad) throw new Error("x"); return e.n + 1 }',
  });
  const requestId = '00000000-0000-4000-8000-000000000001';
  const run = (event: string) =>
    harness.call('invoke', { workload: 'acme/fn' as never, requestId, event, clientContext: '' });
  expect(await run('{"n":1}')).toEqual({ outcome: 'ok', payload: '2' });
  expect(await run('{"bad":1}')).toMatchObject({ outcome: 'functionError' });
});
