// Functions through the unmodified AWS SDK, as a user of Lambda would: deploy, call, configure, break.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  CreateFunctionCommand,
  DeleteFunctionCommand,
  DeleteFunctionConcurrencyCommand,
  GetFunctionCommand,
  GetFunctionConcurrencyCommand,
  GetFunctionConfigurationCommand,
  InvokeCommand,
  type InvokeCommandInput,
  type LambdaClient,
  ListFunctionsCommand,
  ListTagsCommand,
  PutFunctionConcurrencyCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateFunctionCodeCommand,
  UpdateFunctionConfigurationCommand,
} from '@aws-sdk/client-lambda';
import { zipOf } from '../support/archives.ts';
import { Bellows, eventually, type InstanceAnswer } from '../support/bellows.ts';
import { groupDirectory, memoryLimitOf } from '../support/kernel.ts';

const mib = 1024 * 1024;
const role = 'arn:aws:iam::000000000000:role/any';
const runtime = 'nodejs26.x' as never;

let bellows: Bellows;
let sdk: LambdaClient;
beforeAll(async () => {
  bellows = await Bellows.start();
  sdk = bellows.lambda();
});
afterAll(async () => {
  await bellows.stop();
});

async function create(
  name: string,
  code: string,
  more: Partial<ConstructorParameters<typeof CreateFunctionCommand>[0]> = {},
) {
  return sdk.send(
    new CreateFunctionCommand({
      FunctionName: name,
      Runtime: runtime,
      Role: role,
      Handler: 'index.handler',
      Code: { ZipFile: await zipOf({ 'index.mjs': code }) },
      ...more,
    }),
  );
}

interface Invoked {
  readonly status: number | undefined;
  readonly error: string | undefined;
  readonly payload: unknown;
  readonly log: string;
}
async function invoke(
  name: string,
  event: unknown = {},
  more: Partial<InvokeCommandInput> = {},
): Promise<Invoked> {
  const answer = await sdk.send(
    new InvokeCommand({ FunctionName: name, Payload: JSON.stringify(event), ...more }),
  );
  const text = answer.Payload ? new TextDecoder().decode(answer.Payload) : '';
  return {
    status: answer.StatusCode,
    error: answer.FunctionError,
    payload: text === '' ? undefined : JSON.parse(text),
    log: Buffer.from(answer.LogResult ?? '', 'base64').toString(),
  };
}
const instancesOf = async (name: string): Promise<InstanceAnswer[]> =>
  (await bellows.instances()).filter((each) => each.workload.endsWith(name));

describe('M-D1: the life of a function', () => {
  test('create, get, list in pages, update, delete', async () => {
    const created = await create('life', 'export const handler = async (event) => ({ said: event.say });', {
      Description: 'first',
      MemorySize: 256,
      Timeout: 7,
      Environment: { Variables: { COLOUR: 'blue' } },
      Tags: { team: 'a' },
    });
    expect(created).toMatchObject({
      FunctionName: 'life',
      Handler: 'index.handler',
      MemorySize: 256,
      Timeout: 7,
      State: 'Active',
      Version: '$LATEST',
      PackageType: 'Zip',
    });
    expect(created.FunctionArn).toMatch(/^arn:aws:lambda:us-east-1:\d{12}:function:life$/);
    expect(await invoke('life', { say: 'ä' })).toMatchObject({
      status: 200,
      error: undefined,
      payload: { said: 'ä' },
    });
    expect((await invoke(created.FunctionArn!, { say: 1 })).payload).toEqual({ said: 1 });
    const got = await sdk.send(new GetFunctionCommand({ FunctionName: 'life' }));
    expect(got.Configuration?.CodeSha256).toBe(created.CodeSha256);
    expect(got.Tags).toEqual({ team: 'a' });
    const code = await fetch(got.Code!.Location!);
    expect(code.status).toBe(200);
    expect(
      Buffer.from(await code.arrayBuffer())
        .subarray(0, 2)
        .toString(),
    ).toBe('PK');

    for (const name of ['page-a', 'page-b', 'page-c']) await create(name, 'export const handler = () => 1;');
    const names: string[] = [];
    let marker: string | undefined;
    do {
      const page = await sdk.send(
        new ListFunctionsCommand({ MaxItems: 2, ...(marker === undefined ? {} : { Marker: marker }) }),
      );
      expect(page.Functions!.length).toBeLessThanOrEqual(2);
      names.push(...page.Functions!.map((each) => each.FunctionName!));
      marker = page.NextMarker;
    } while (marker !== undefined);
    expect([...names].sort()).toEqual(['life', 'page-a', 'page-b', 'page-c']);

    await sdk.send(
      new UpdateFunctionCodeCommand({
        FunctionName: 'life',
        ZipFile: await zipOf({ 'index.mjs': 'export const handler = async () => process.env.COLOUR;' }),
      }),
    );
    expect((await invoke('life')).payload).toBe('blue');
    await sdk.send(
      new UpdateFunctionConfigurationCommand({
        FunctionName: 'life',
        Environment: { Variables: { COLOUR: 'red' } },
      }),
    );
    expect((await invoke('life')).payload).toBe('red');
    await sdk.send(new DeleteFunctionCommand({ FunctionName: 'life' }));
    await expect(invoke('life')).rejects.toMatchObject({ name: 'ResourceNotFoundException' });
    await expect(
      sdk.send(new GetFunctionConfigurationCommand({ FunctionName: 'life' })),
    ).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
    });
    await eventually(async () => (await instancesOf('life')).length === 0);
  });

  test('tags', async () => {
    const { FunctionArn: Resource } = await create('tagged', 'export const handler = () => 1;');
    await sdk.send(new TagResourceCommand({ Resource, Tags: { a: '1', b: '2' } }));
    await sdk.send(new UntagResourceCommand({ Resource, TagKeys: ['a'] }));
    expect((await sdk.send(new ListTagsCommand({ Resource }))).Tags).toEqual({ b: '2' });
  });

  test('M-A3: MemorySize and Timeout are applied live to the running instance: same pid, same state, the kernel’s new limit', async () => {
    await create(
      'resized',
      'let n = 0; export const handler = (e, c) => ({ n: ++n, mb: c.memoryLimitInMB, left: c.getRemainingTimeInMillis() });'.replace(
        '=> ({',
        '=> Promise.resolve({',
      ),
      {
        MemorySize: 256,
        Timeout: 3,
      },
    );
    expect((await invoke('resized')).payload).toMatchObject({ n: 1, mb: '256' });
    const [instance] = await instancesOf('resized');
    const group = groupDirectory(instance!.pid, 'memory');
    expect(memoryLimitOf(group)).toBe(256 * mib);
    for (const megabytes of [512, 192, 1024]) {
      await sdk.send(
        new UpdateFunctionConfigurationCommand({
          FunctionName: 'resized',
          MemorySize: megabytes,
          Timeout: 20,
        }),
      );
      expect(memoryLimitOf(group)).toBe(megabytes * mib);
      const { payload } = await invoke('resized');
      expect(payload).toMatchObject({ mb: String(megabytes) });
      expect((payload as { left: number }).left).toBeGreaterThan(10_000);
    }
    expect((await invoke('resized')).payload).toMatchObject({ n: 5 });
    expect((await instancesOf('resized')).map(({ pid }) => pid)).toEqual([instance!.pid]);
  });
});

describe('M-D1: kinds of invocation', () => {
  test('DryRun, Event, LogType Tail, client context', async () => {
    await create(
      'kinds',
      `import { writeFileSync } from 'node:fs';
       export const handler = async (event, context) => {
         console.log('said %s', event.say);
         if (event.note) writeFileSync('/tmp/note', event.note);
         return { id: context.awsRequestId, client: context.clientContext, env: process.env.AWS_LAMBDA_FUNCTION_NAME };
       };`,
    );
    expect((await invoke('kinds', {}, { InvocationType: 'DryRun' })).status).toBe(204);
    expect((await invoke('kinds', { say: 'later' }, { InvocationType: 'Event' })).status).toBe(202);
    const tailed = await invoke(
      'kinds',
      { say: 'hello' },
      { LogType: 'Tail', ClientContext: Buffer.from('{"custom":{"a":1}}').toString('base64') },
    );
    const { id } = tailed.payload as { id: string };
    expect(tailed.payload).toMatchObject({ client: { custom: { a: 1 } }, env: 'kinds' });
    expect(tailed.log).toContain(`START RequestId: ${id} Version: $LATEST`);
    expect(tailed.log).toContain(`\t${id}\tINFO\tsaid hello`);
    expect(tailed.log).toMatch(
      new RegExp(
        `REPORT RequestId: ${id}\\tDuration: [\\d.]+ ms\\tBilled Duration: \\d+ ms\\tMemory Size: 128 MB\\tMax Memory Used: (\\d+) MB`,
      ),
    );
    await eventually(async () => (await bellows.cli('logs', 'kinds')).stdout.includes('said later'), {
      what: () => 'the asynchronous invocation to be logged',
    });
  });

  test('streamed, callback and CommonJS handlers', async () => {
    await create('callback', '', {
      Code: {
        ZipFile: await zipOf({
          'index.js':
            'exports.handler = (event, context, callback) => setTimeout(() => callback(null, { cb: event.x }), 5);',
        }),
      },
    });
    expect((await invoke('callback', { x: 3 })).payload).toEqual({ cb: 3 });
    await create(
      'stream',
      `export const handler = awslambda.streamifyResponse(async (event, stream) => { stream.write('one '); stream.write('two'); stream.end(); });`,
    );
    const answer = await sdk.send(new InvokeCommand({ FunctionName: 'stream' }));
    expect(new TextDecoder().decode(answer.Payload)).toBe('one two');
  });

  test('an asynchronous invocation that was accepted survives kill -9 of the controller', async () => {
    await create(
      'queued',
      `export const handler = async (event) => { await new Promise((r) => setTimeout(r, 300)); console.log('done-' + event.i); };`,
    );
    for (let i = 0; i < 5; i += 1)
      expect((await invoke('queued', { i }, { InvocationType: 'Event' })).status).toBe(202);
    process.kill(bellows.pidOf('controller')!, 'SIGKILL');
    await eventually(
      async () => {
        const { stdout } = await bellows.cli('logs', 'queued');
        return [0, 1, 2, 3, 4].every((i) => stdout.includes(`done-${i}`));
      },
      { timeoutMs: 20_000, what: () => 'all five to be run' },
    );
  });
});

describe('M-D1: what goes wrong in user code is answered as Lambda does, and the next call is fine', () => {
  const code = `
    let calls = 0;
    export const handler = async (event) => {
      calls += 1;
      if (event.say) console.log(event.say);
      switch (event.do) {
        case 'throw': throw new TypeError('bad thing');
        case 'reject': return Promise.reject(Object.assign(new Error('no'), { name: 'CustomError' }));
        case 'unhandled': Promise.reject(new Error('nobody catches')); await new Promise((r) => setTimeout(r, 1000)); return;
        case 'exit': process.exit(7);
        case 'leave': process.exit(0);
        case 'abort': process.abort();
        case 'hang': await new Promise(() => setInterval(() => {}, 1000));
        case 'spin': for (;;);
        case 'oom': { const held = []; for (;;) held.push(Buffer.alloc(8 * 1024 * 1024, 1)); }
        case 'heap': { const held = []; for (;;) held.push(new Array(100000).fill({ a: held.length })); }
        case 'circular': { const a = {}; a.a = a; return a; }
        case 'big': return 'x'.repeat(7 * 1024 * 1024);
        default: return { calls };
      }
    };`;
  beforeAll(async () => {
    await create('faulty', code, { Timeout: 2, MemorySize: 192 });
    // V8 collects harder and harder before the kernel has the last word: on a busy machine that takes seconds.
    await create('hungry', code, { Timeout: 30, MemorySize: 192 });
  });

  test.each([
    ['throw', 'TypeError', /bad thing/],
    ['reject', 'CustomError', /no/],
    ['unhandled', 'Runtime.UnhandledPromiseRejection', /nobody catches/],
    ['exit', 'Runtime.ExitError', /^RequestId: \S+ Error: Runtime exited with error: exit status 7$/],
    ['leave', 'Runtime.ExitError', /^RequestId: \S+ Error: Runtime exited without providing a reason$/],
    ['abort', 'Runtime.ExitError', /^RequestId: \S+ Error: Runtime exited with error: signal: aborted$/],
    ['hang', 'Sandbox.Timedout', /Task timed out after 2\.00 seconds/],
    ['spin', 'Sandbox.Timedout', /Task timed out after 2\.00 seconds/],
    ['oom', 'Runtime.OutOfMemory', /signal: killed/],
    ['heap', 'Runtime.OutOfMemory', /signal: killed/],
    ['circular', 'Runtime.MarshalError', /Unable to stringify response body/],
    ['big', 'Function.ResponseSizeTooLarge', /6291556|too large|exceeded/i],
  ])('%s → %s', { timeout: 60_000 }, async (what, errorType, message) => {
    const name = what === 'heap' ? 'hungry' : 'faulty';
    const failed = await invoke(name, { do: what });
    expect(failed).toMatchObject({ status: 200, payload: { errorType } });
    expect(failed.error).toMatch(/^(Unhandled|Handled)$/);
    expect((failed.payload as { errorMessage: string }).errorMessage).toMatch(message);
    const next = await invoke(name, {});
    expect(next.error).toBeUndefined();
    expect((next.payload as { calls: number }).calls).toBeGreaterThan(0);
  });

  test.each([
    ['hang', 2, ['START', 'last words', 'timed out', 'END', 'REPORT'], 'Status: timeout'],
    ['spin', 2, ['START', 'timed out', 'END', 'REPORT'], 'Status: timeout'],
    [
      'exit',
      0,
      ['START', 'last words', 'exit status 7', 'END', 'REPORT'],
      'Status: error\tError Type: Runtime.ExitError',
    ],
    [
      'oom',
      0,
      ['START', 'signal: killed', 'END', 'REPORT'],
      'Status: error\tError Type: Runtime.OutOfMemory',
    ],
  ])(
    '%s: the log tells the whole invocation, in order, and so does the tail that is answered',
    { timeout: 60_000 },
    async (what, seconds, words, status) => {
      const say = words.includes('last words') ? 'last words' : '';
      const { payload, log } = await invoke('faulty', { do: what, say }, { LogType: 'Tail' });
      const requestId =
        /RequestId: (\S+) /.exec((payload as { errorMessage: string }).errorMessage)?.[1] ?? 'none';
      let lines: string[] = [];
      await eventually(
        async () => {
          const { stdout } = await bellows.cli('logs', 'faulty', '-n', '1000');
          lines = stdout.split('\n').filter((line) => line.includes(requestId));
          return lines.some((line) => line.includes('REPORT'));
        },
        { what: () => `a REPORT line of ${requestId}` },
      );
      const [start, ...rest] = lines;
      expect(start).toContain(`START RequestId: ${requestId} Version: $LATEST`);
      expect(rest.length).toBe(words.length - 1);
      for (const [at, word] of words.entries()) expect(lines[at]).toContain(word);
      const tail = log?.trim().split('\n') ?? [];
      expect(tail[0]).toBe(`START RequestId: ${requestId} Version: $LATEST`);
      for (const word of words) expect(tail.filter((line) => line.includes(word))).not.toEqual([]);
      expect(tail.at(-1)).toMatch(/^REPORT .*Status: /);
      expect(lines.at(-1)).toMatch(/Memory Size: 192 MB\tMax Memory Used: [1-9]\d* MB\t/);
      expect(lines.at(-1)).toContain(status);
      if (seconds > 0) expect(lines.at(-1)).toContain(`Duration: ${seconds}000.00 ms`);
    },
  );

  test.each([
    ['a module that throws', 'throw new Error("at load");', 'index.handler', /Error/, /at load/],
    ['a syntax error', 'export const handler = (;', 'index.handler', /UserCodeSyntaxError/, /./],
    ['a missing export', 'export const other = 1;', 'index.handler', /HandlerNotFound/, /handler/],
    [
      'a missing module',
      'import { createRequire } from "node:module"; createRequire(import.meta.url)("./nothing.cjs"); export const handler = 1;',
      'index.handler',
      /ImportModuleError/,
      /nothing/,
    ],
  ])('init: %s', async (what, source, handler, type, message) => {
    const name = `init-${what.replaceAll(' ', '-')}`;
    await create(name, source, { Handler: handler });
    const failed = await invoke(name);
    expect(failed.error).toBe('Unhandled');
    expect((failed.payload as { errorType: string }).errorType).toMatch(type);
    expect((failed.payload as { errorMessage: string }).errorMessage).toMatch(message);
    expect((await invoke(name)).error).toBe('Unhandled');
  });
});

describe('M-D1: who may call', () => {
  test('a wrong secret, an unknown key, a skewed clock and no signature are refused as AWS does', async () => {
    await create('guarded', 'export const handler = () => 1;'.replace('() => 1', 'async () => 1'));
    const { accessKeyId, secretAccessKey } = bellows.credentials.tenants['default']!;
    const as = (credentials: { accessKeyId: string; secretAccessKey: string }, more = {}): LambdaClient =>
      bellows.lambda('default', { credentials, ...more });
    const command = (): InvokeCommand => new InvokeCommand({ FunctionName: 'guarded' });
    await expect(as({ accessKeyId, secretAccessKey: 'wrong' }).send(command())).rejects.toMatchObject({
      name: 'InvalidSignatureException',
    });
    await expect(
      as({ accessKeyId, secretAccessKey: 'wrong' }).send(new ListFunctionsCommand({})),
    ).rejects.toMatchObject({
      name: 'InvalidSignatureException',
    });
    await expect(
      as({ accessKeyId: 'AKIAUNKNOWNUNKNOWN00', secretAccessKey }).send(command()),
    ).rejects.toMatchObject({
      name: 'UnrecognizedClientException',
    });
    await expect(
      as({ accessKeyId, secretAccessKey }, { systemClockOffset: 20 * 60 * 1000 }).send(command()),
    ).rejects.toMatchObject({ name: 'InvalidSignatureException' });
    const bare = await fetch(`${bellows.url}/2015-03-31/functions/guarded/invocations`, {
      method: 'POST',
      body: '{}',
    });
    expect(bare.status).toBe(403);
    expect(bare.headers.get('x-amzn-errortype')).toMatch(/MissingAuthenticationToken/);
  });

  test('tenants do not see each other’s functions', async () => {
    await create('mine', 'export const handler = async () => 1;');
    const made = await bellows.v1<{ accessKeyId: string; secretAccessKey: string }>(
      'PUT',
      '/tenants/stranger',
      {},
    );
    expect(made.body.accessKeyId).toMatch(/./);
    const stranger = bellows.lambda('default', { credentials: made.body });
    await expect(stranger.send(new InvokeCommand({ FunctionName: 'mine' }))).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
    });
    expect((await stranger.send(new ListFunctionsCommand({}))).Functions).toEqual([]);
    const { FunctionArn } = await sdk.send(new GetFunctionConfigurationCommand({ FunctionName: 'mine' }));
    await expect(stranger.send(new InvokeCommand({ FunctionName: FunctionArn! }))).rejects.toMatchObject({
      name: expect.stringMatching(/AccessDenied|ResourceNotFound/),
    });
  });
});

describe('M-D4: concurrency', () => {
  test('reserved concurrency throttles with TooManyRequestsException and lifts again', async () => {
    await create(
      'narrow',
      'export const handler = async () => { await new Promise((r) => setTimeout(r, 1500)); return 1; };',
    );
    await invoke('narrow');
    await sdk.send(
      new PutFunctionConcurrencyCommand({ FunctionName: 'narrow', ReservedConcurrentExecutions: 0 }),
    );
    await expect(invoke('narrow')).rejects.toMatchObject({
      name: 'TooManyRequestsException',
      Reason: 'ReservedFunctionConcurrentInvocationLimitExceeded',
    });
    await sdk.send(
      new PutFunctionConcurrencyCommand({ FunctionName: 'narrow', ReservedConcurrentExecutions: 2 }),
    );
    expect(
      (await sdk.send(new GetFunctionConcurrencyCommand({ FunctionName: 'narrow' })))
        .ReservedConcurrentExecutions,
    ).toBe(2);
    const all = await Promise.allSettled([1, 2, 3, 4].map(() => invoke('narrow')));
    expect(all.filter((each) => each.status === 'fulfilled').length).toBe(2);
    await sdk.send(new DeleteFunctionConcurrencyCommand({ FunctionName: 'narrow' }));
    const unlimited = await Promise.all([1, 2, 3, 4].map(() => invoke('narrow')));
    expect(unlimited.every((each) => each.error === undefined)).toBe(true);
    expect((await instancesOf('narrow')).length).toBeGreaterThan(2);
  });
});
