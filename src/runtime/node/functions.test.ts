// What a Lambda developer sees of the Node runtime: every form of handler, error, log line and environment.
import { execFileSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { encodeFrame } from '../../base/frame.ts';
import {
  answerLimits,
  frameType,
  invokeFlag,
  outcome,
  streamPieceBytes,
  type TrimResult,
} from '../../protocol/instance.ts';
import {
  grantOf,
  newRequestId,
  TestInstance,
  type BindOutcome,
  type FrameClient,
} from '../testing/instance-client.ts';
import { plan } from './testing/plan.ts';
import { fullPerSecond } from './quiet-invocations.ts';

let instance: TestInstance | undefined;
let client: FrameClient;

afterEach(async () => {
  await instance?.dispose();
  instance = undefined;
});

type Files = Readonly<Record<string, string>>;

async function bind(
  files: Files,
  handler = 'index.handler',
  more: Parameters<TestInstance['bind']>[1] = {},
): Promise<BindOutcome> {
  instance = new TestInstance(plan, files);
  client = await instance.client();
  return instance.bind(client, { handler, ...more });
}

async function bound(
  files: Files,
  handler?: string,
  more?: Parameters<TestInstance['bind']>[1],
): Promise<TestInstance> {
  expect(await bind(files, handler, more)).toEqual({ is: 'bound' });
  return instance as TestInstance;
}

const valueOf = async (event: unknown, options?: Parameters<FrameClient['invoke']>[1]): Promise<unknown> => {
  const answer = await client.invoke(event, options);
  expect(answer.text, answer.text).not.toContain('errorType');
  return answer.json();
};

describe('handlers are found', () => {
  test.each<[string, Files, string]>([
    ['CommonJS', { 'index.js': `exports.handler = async () => 'here'` }, 'index.handler'],
    ['CommonJS by extension', { 'index.cjs': `exports.handler = async () => 'here'` }, 'index.handler'],
    ['ES module by extension', { 'index.mjs': `export const handler = async () => 'here'` }, 'index.handler'],
    [
      'ES module by package type',
      { 'package.json': '{"type":"module"}', 'index.js': `export const handler = async () => 'here'` },
      'index.handler',
    ],
    [
      'CommonJS below an ES module package',
      {
        'package.json': '{"type":"module"}',
        'a/package.json': '{}',
        'a/index.js': `exports.handler = async () => 'here'`,
      },
      'a/index.handler',
    ],
    [
      'in a folder, nested export',
      { 'src/a/fn.js': `exports.api = { v1: { get: async () => 'here' } }` },
      'src/a/fn.api.v1.get',
    ],
    [
      'a default export of an ES module',
      { 'index.mjs': `export default { run: async () => 'here' }` },
      'index.default.run',
    ],
    [
      'after top-level await',
      { 'index.mjs': `await new Promise(r => setTimeout(r, 20)); export const handler = async () => 'here'` },
      'index.handler',
    ],
    ['a folder with an index', { 'fn/index.js': `exports.handler = async () => 'here'` }, 'fn.handler'],
    [
      'a package',
      {
        'node_modules/pkg/index.js': `exports.handler = async () => 'here'`,
        'index.js': `exports.handler = require('pkg').handler`,
      },
      'index.handler',
    ],
  ])('%s', async (_name, files, handler) => {
    await bound(files, handler);
    expect(await valueOf({})).toBe('here');
  });
});

describe('what can not be loaded is told as Lambda tells it', () => {
  test.each<[string, Files, string, string, RegExp]>([
    ['no such file', {}, 'index.handler', 'Runtime.ImportModuleError', /^Error: Cannot find module/],
    [
      'a missing dependency',
      { 'index.js': `require('nowhere')` },
      'index.handler',
      'Runtime.ImportModuleError',
      /Cannot find module 'nowhere'/,
    ],
    [
      'no such export',
      { 'index.js': `exports.other = 1` },
      'index.handler',
      'Runtime.HandlerNotFound',
      /^index.handler is undefined or not exported$/,
    ],
    [
      'an export that is no function',
      { 'index.js': `exports.handler = 1` },
      'index.handler',
      'Runtime.HandlerNotFound',
      /^index.handler is not a function$/,
    ],
    [
      'a syntax error in CommonJS',
      { 'index.js': `exports.handler = (` },
      'index.handler',
      'Runtime.UserCodeSyntaxError',
      /^SyntaxError: /,
    ],
    [
      'a syntax error in an ES module',
      { 'index.mjs': `export const = ` },
      'index.handler',
      'Runtime.UserCodeSyntaxError',
      /^SyntaxError: /,
    ],
    ['a handler without a dot', {}, 'index', 'Runtime.MalformedHandlerName', /^Bad handler$/],
    [
      'a handler outside',
      {},
      '../index.handler',
      'Runtime.MalformedHandlerName',
      /is not a valid handler name/,
    ],
    ['code that throws', { 'index.js': `throw new RangeError('no')` }, 'index.handler', 'RangeError', /^no$/],
    [
      'code that throws later',
      { 'index.mjs': `setTimeout(() => { throw new RangeError('late') }); await new Promise(() => {})` },
      'index.handler',
      'RangeError',
      /^late$/,
    ],
    [
      'a rejection while loading',
      { 'index.mjs': `Promise.reject(new Error('lost')); await new Promise(r => setTimeout(r, 1000))` },
      'index.handler',
      'Runtime.UnhandledPromiseRejection',
      /^Error: lost$/,
    ],
    [
      'code that exits',
      { 'index.js': `process.exit(7)` },
      'index.handler',
      'Runtime.ExitError',
      /^Error: Runtime exited with exit status 7$/,
    ],
  ])('%s', async (_name, files, handler, errorType, message) => {
    const result = await bind(files, handler);
    expect(result).toMatchObject({
      is: 'failed',
      error: { errorType, errorMessage: expect.stringMatching(message) as unknown },
    });
    expect(await instance?.exited()).not.toBe(0);
  });
});

describe('every form of answer', () => {
  const forms: [string, string, unknown][] = [
    ['async', `async (event) => ({ got: event })`, { got: 1 }],
    ['a promise', `(event) => Promise.resolve(event)`, 1],
    ['a thenable', `(event) => ({ then: (resolve) => resolve(event) })`, 1],
    ['a plain value', `(event) => event`, 1],
    ['undefined', `async () => {}`, null],
    ['a function, which has no JSON', `async () => () => {}`, null],
    ['callback', `(event, context, callback) => callback(null, event)`, 1],
    ['callback, later', `(event, context, callback) => { setTimeout(() => callback(null, event), 10) }`, 1],
    [
      'callback twice: the first counts',
      `(event, context, callback) => { callback(null, 1); callback(null, 2) }`,
      1,
    ],
    ['context.succeed', `(event, context) => { context.succeed(event) }`, 1],
    ['context.done', `(event, context) => { setTimeout(() => context.done(null, event), 10) }`, 1],
    ['nothing at all: null once the event loop is empty', `() => { setTimeout(() => {}, 10) }`, null],
  ];
  test.each(forms)('%s', async (_name, handler, expected) => {
    await bound({ 'index.js': `exports.handler = ${handler}` });
    expect(await valueOf(1)).toEqual(expected);
    // And once more, since each of them leaves the loop in another state.
    expect(await valueOf(1)).toEqual(expected);
  });

  test.each<[string, string, object]>([
    [
      'callback with an error',
      `(e, c, callback) => callback(new TypeError('bad'))`,
      { errorType: 'TypeError', errorMessage: 'bad' },
    ],
    [
      'callback with a string',
      `(e, c, callback) => callback('bad')`,
      { errorType: 'string', errorMessage: 'bad', trace: [] },
    ],
    [
      'context.fail',
      `(e, context) => { context.fail(new Error('bad')) }`,
      { errorType: 'Error', errorMessage: 'bad' },
    ],
    ['a synchronous throw', `() => { throw new Error('bad') }`, { errorType: 'Error', errorMessage: 'bad' }],
    [
      'an own error class',
      `async () => { class Own extends Error { name = 'Own' }; throw new Own('bad') }`,
      { errorType: 'Own', errorMessage: 'bad' },
    ],
    ['throwing null', `async () => { throw null }`, { errorType: 'object', errorMessage: 'null' }],
    [
      'throwing what hides its message',
      `async () => { throw { get name() { throw 1 }, message: '', stack: '' } }`,
      { trace: [] },
    ],
    [
      'a value without JSON',
      `async () => 1n`,
      { errorType: 'Runtime.MarshalError', errorMessage: 'Unable to stringify response body' },
    ],
    ['a circle', `async () => { const a = {}; a.a = a; return a }`, { errorType: 'Runtime.MarshalError' }],
    [
      'more than 6 MB',
      `async () => 'x'.repeat(6 * 1024 * 1024 + 100)`,
      { errorType: 'Function.ResponseSizeTooLarge' },
    ],
  ])('%s', async (_name, handler, expected) => {
    await bound({ 'index.js': `exports.handler = ${handler}` });
    const answer = await client.invoke({});
    expect(answer.outcome).toBe(outcome.handled);
    expect(answer.json()).toMatchObject(expected);
    expect((await client.invoke({})).outcome).toBe(outcome.handled);
  });

  test('exactly 6 MB is answered', async () => {
    await bound({ 'index.js': `exports.handler = async () => 'x'.repeat(6 * 1024 * 1024 + 98)` });
    expect((await client.invoke({})).text.length).toBe(6 * 1024 * 1024 + 100);
  });

  test('callbackWaitsForEmptyEventLoop decides whether open work delays the answer', async () => {
    await bound({
      'index.js': `let done = 0; exports.handler = (event, context, callback) => {
        context.callbackWaitsForEmptyEventLoop = event.wait;
        setTimeout(() => { done += 1 }, 50);
        callback(null, () => 0);
        callback.value; context.succeed(1);
      }; exports.count = (e, c, callback) => { c.callbackWaitsForEmptyEventLoop = false; callback(null, done) };
      exports.handler = ((inner) => (e, c, cb) => e.count ? exports.count(e, c, cb) : inner(e, c, cb))(exports.handler)`,
    });
    await client.invoke({ wait: true });
    expect(await valueOf({ count: true })).toBe(1);
    await client.invoke({ wait: false });
    expect(await valueOf({ count: true })).toBe(1);
  });
});

describe('the process can not go on', () => {
  test.each<[string, string, object]>([
    [
      'an uncaught exception',
      `() => new Promise(() => setTimeout(() => { throw new RangeError('boom') }))`,
      { errorType: 'RangeError', errorMessage: 'boom' },
    ],
    [
      'an unhandled rejection',
      `() => new Promise(() => { Promise.reject(new Error('lost')) })`,
      { errorType: 'Runtime.UnhandledPromiseRejection', errorMessage: 'Error: lost' },
    ],
  ])('%s is answered as fatal, logged, and the process exits', async (_name, handler, expected) => {
    const running = await bound({ 'index.js': `exports.handler = ${handler}` });
    const requestId = newRequestId();
    const answer = await client.invoke({}, { requestId });
    expect(answer.outcome).toBe(outcome.fatal);
    expect(answer.json()).toMatchObject(expected);
    expect(await running.exited()).not.toBe(0);
    expect(running.output).toMatch(
      new RegExp(
        `${requestId}\tERROR\tU[^\\n]+\\nEND RequestId: ${requestId}\\nREPORT RequestId: ${requestId}`,
      ),
    );
  });

  test('what one left rejected ends the process before the next that was sent ahead begins', async () => {
    const running = await bound({
      'index.js': `exports.handler = async ({ n }) => { if (n === 1) Promise.reject(new Error('lost')); console.log('ran ' + n); return n; }`,
    });
    const first = client.invoke({ n: 1 });
    for (const n of [2, 3]) client.sendInvoke({ n });
    expect((await first).json()).toBe(1);
    expect(await running.exited()).not.toBe(0);
    expect(running.output).not.toContain('ran 2');
  });

  test('lines printed before a native crash or a kill in an endless loop are kept', async () => {
    const running = await bound({
      'index.js': `exports.handler = () => { console.log('last words'); for (;;); }`,
    });
    client.sendInvoke({});
    await expect.poll(() => running.output).toContain('last words');
    expect(running.output).toContain('START RequestId');
  });
});

describe('streamed answers', () => {
  const files = {
    'index.mjs': `export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
      if (event.http) stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { 'x-a': 1 }, cookies: ['c=1'] });
      else stream.setContentType('text/plain');
      if (event.early) throw new Error('early');
      for (const part of event.parts) { stream.write(part); await new Promise((r) => setTimeout(r, 5)); }
      if (event.late) throw new Error('late');
      stream.end();
    });`,
  };
  test('arrive in parts when the caller takes a stream, with their prelude', async () => {
    await bound(files);
    const answer = await client.invoke({ parts: ['one', 'two'], http: true }, { flags: invokeFlag.stream });
    expect(answer.prelude).toMatchObject({ statusCode: 201, headers: { 'x-a': '1' }, cookies: ['c=1'] });
    expect(answer.chunks).toEqual(['one', 'two']);
    expect(answer).toMatchObject({ outcome: outcome.ok, text: '' });
    const plain = await client.invoke({ parts: [] }, { flags: invokeFlag.stream });
    expect(plain.prelude).toEqual({ contentType: 'text/plain' });
  });
  test('are gathered when it does not', async () => {
    await bound(files);
    expect((await client.invoke({ parts: ['one', 'two'] })).text).toBe('onetwo');
    const [prelude, body] = (await client.invoke({ parts: ['b'], http: true })).text.split('\0'.repeat(8));
    expect(JSON.parse(prelude ?? '')).toMatchObject({ statusCode: 201 });
    expect(body).toBe('b');
  });
  test('that fail early or late end with the error', async () => {
    await bound(files);
    const early = await client.invoke({ parts: [], early: true }, { flags: invokeFlag.stream });
    expect(early).toMatchObject({ outcome: outcome.handled, prelude: undefined });
    const late = await client.invoke({ parts: ['one'], late: true }, { flags: invokeFlag.stream });
    expect(late).toMatchObject({ outcome: outcome.handled, chunks: ['one'] });
    expect(late.json()).toMatchObject({ errorMessage: 'late' });
  });
  test('go out in pieces, however much is written at once', async () => {
    await bound({
      'index.mjs': `export const handler = awslambda.streamifyResponse(async (event, stream) => { stream.end('x'.repeat(event.length)); });`,
    });
    const { chunks } = await client.invoke({ length: 1_000_000 }, { flags: invokeFlag.stream });
    expect(chunks.join('')).toHaveLength(1_000_000);
    expect(Math.max(...chunks.map(({ length }) => length))).toBeLessThanOrEqual(streamPieceBytes);
  });
  test('are as large as Lambda lets them be where they are gathered', async () => {
    await bound({
      'index.mjs': `export const handler = awslambda.streamifyResponse(async (event, stream) => { stream.end('x'.repeat(event.length)); });`,
    });
    expect((await client.invoke({ length: answerLimits.bufferedBytes })).text).toHaveLength(
      answerLimits.bufferedBytes,
    );
    expect((await client.invoke({ length: answerLimits.bufferedBytes + 1 })).json()).toMatchObject({
      errorType: 'Function.ResponseSizeTooLarge',
    });
  });
  test('have the buffer that streamifyResponse was given', async () => {
    await bound({
      'index.mjs': `export const handler = awslambda.streamifyResponse(async (event, stream) => { stream.end(String(stream.writableHighWaterMark)); }, { highWaterMark: 12345 });`,
    });
    expect((await client.invoke({})).text).toBe('12345');
  });
  test('end with the error, and what code that was left behind writes after it belongs to nothing', async () => {
    await bound({
      'index.mjs': `let late;
      export const handler = awslambda.streamifyResponse(async (event, stream) => {
        if (late !== undefined) { for (let n = 0; n < 10; n++) late.write('late'); await new Promise((r) => setTimeout(r, 20)); stream.end('well'); return; }
        late = stream; stream.write('one'); throw new Error('no');
      });`,
    });
    const options = { flags: invokeFlag.stream };
    expect(await client.invoke({}, options)).toMatchObject({ outcome: outcome.handled, chunks: ['one'] });
    const second = await client.invoke({}, options);
    expect(second).toMatchObject({ outcome: outcome.ok, chunks: ['well'] });
    const late = client.frames.filter(({ payload }) => payload.toString() === 'late');
    expect(late).toEqual([]);
  });
  test('that nobody wants any more before they begin are not run, and answered in their turn', async () => {
    await bound({
      'index.mjs': `let runs = 0;
      export const handler = awslambda.streamifyResponse(async (event, stream) => { runs += 1; stream.end(String(runs)); });`,
    });
    const options = { flags: invokeFlag.stream };
    // All in one write, so that the first runs while the others wait.
    client.socket.cork();
    const ids = [1, 2, 3].map(() => client.sendInvoke({}, options));
    client.socket.write(encodeFrame(frameType.abandon, ids[1] ?? 0, ''));
    client.socket.uncork();
    const answers = await Promise.all(ids.map((id) => client.answerTo(id)));
    expect(answers.map(({ chunks }) => chunks.join(''))).toEqual(['1', '', '2']);
    expect(answers[1]).toMatchObject({ outcome: outcome.ok, prelude: undefined, durationMicros: 0 });
  });
  test('larger than the socket buffers arrive whole', async () => {
    await bound({
      'index.mjs': `import { Readable } from 'node:stream'; import { pipeline } from 'node:stream/promises';
      export const handler = awslambda.streamifyResponse(async (event, stream) => {
        await pipeline(Readable.from((function* () { for (let i = 0; i < 200; i++) yield Buffer.alloc(65536, 97 + i % 26) })()), stream);
      });`,
    });
    const answer = await client.invoke({}, { flags: invokeFlag.stream });
    expect(answer.chunks.join('').length).toBe(200 * 65536);
  });
});

describe('the world of a function', () => {
  test('has exactly the environment it was bound with, its directory, and the trace of each invocation', async () => {
    const running = await bound(
      {
        'index.js': `const atLoad = { ...process.env }; exports.handler = async () => ({ atLoad, trace: process.env._X_AMZN_TRACE_ID ?? null, cwd: process.cwd() })`,
      },
      'index.handler',
      { env: { ONLY: 'this', TZ: 'Asia/Tokyo' } },
    );
    expect(await valueOf({}, { extra: '{"traceId":"Root=1"}' })).toEqual({
      atLoad: { ONLY: 'this', TZ: 'Asia/Tokyo' },
      trace: 'Root=1',
      cwd: running.taskDirectory,
    });
    expect(await valueOf({})).toMatchObject({ trace: null });
  });

  test('context has every documented field', async () => {
    await bound({
      'index.js': `exports.handler = async (e, c) => ({ ...c, keys: Object.keys(c).sort(), string: typeof c.memoryLimitInMB })`,
    });
    const extra = JSON.stringify({
      clientContext: { custom: { a: 1 } },
      identity: { cognitoIdentityId: 'x' },
    });
    expect(await valueOf({}, { extra })).toMatchObject({
      functionName: 'test',
      functionVersion: '$LATEST',
      invokedFunctionArn: 'arn:aws:lambda:us-east-1:000000000000:function:test',
      memoryLimitInMB: '128',
      logGroupName: '/aws/lambda/test',
      logStreamName: '2026/01/01/[$LATEST]0123',
      clientContext: { custom: { a: 1 } },
      identity: { cognitoIdentityId: 'x' },
      callbackWaitsForEmptyEventLoop: true,
      string: 'string',
      keys: expect.arrayContaining([
        'getRemainingTimeInMillis',
        'done',
        'succeed',
        'fail',
        'awsRequestId',
      ]) as unknown,
    });
  });

  test('M-E5: is told of a grant before and after it changes', async () => {
    await bound({
      'index.js': `const seen = []; process.on('bellows:grant', (grant) => { seen.push([grant.phase, grant.memory]) }); exports.handler = async () => seen`,
    });
    for (const phase of ['changing', 'current'] as const) {
      const id = client.send(frameType.grant, JSON.stringify(grantOf(96, 2, phase)));
      await client.frame((frame) => frame.type === frameType.grantAck && frame.id === id);
    }
    expect(await valueOf({})).toEqual([
      ['changing', '96MiB'],
      ['current', '96MiB'],
    ]);
  });

  test('console is written as Lambda writes it, one entry a call, in order with the standard streams', async () => {
    const running = await bound({
      'index.js': `console.log('while loading'); exports.handler = async () => {
        console.log('a %s', 'b', { c: 1 }); console.warn('two\\nlines'); process.stdout.write('raw\\n'); console.error('e'); console.debug('d');
        process.stderr.write(Buffer.from('bytes\\n')); await new Promise((r) => process.stdout.write('ü\\n', r)); }`,
    });
    const requestId = newRequestId();
    const { logTail } = await client.invoke({}, { requestId, flags: invokeFlag.logTail });
    const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;
    expect(logTail.split('\n').slice(1, -3)).toEqual([
      expect.stringMatching(new RegExp(`^${time}\t${requestId}\tINFO\ta b \\{ c: 1 \\}$`)),
      expect.stringMatching(new RegExp(`^${time}\t${requestId}\tWARN\ttwo\rlines$`)),
      'raw',
      expect.stringMatching(/\tERROR\te$/),
      expect.stringMatching(/\tDEBUG\td$/),
      'bytes',
      'ü',
    ]);
    await expect.poll(() => running.output).toMatch(new RegExp(`^${time}\tundefined\tINFO\twhile loading\n`));
  });

  test('the tail is the last 4 KiB', async () => {
    await bound({
      'index.js': `exports.handler = async () => { for (let i = 0; i < 300; i++) console.log('line ' + i + 'x'.repeat(100)) }`,
    });
    const { logTail } = await client.invoke({}, { flags: invokeFlag.logTail });
    expect(logTail.length).toBe(4096);
    expect(logTail).toContain('line 299');
    expect(logTail).toContain('REPORT');
  });

  test('many that print nothing have one line together; whoever prints has all of its lines', async () => {
    const running = await bound({
      'index.js': `exports.handler = async ({ say }) => { if (say) console.log(say); }`,
    });
    const many = 3 * fullPerSecond;
    const first = newRequestId();
    const talker = newRequestId();
    const answers = [client.invoke({}, { requestId: first })];
    for (let n = 1; n < many; n += 1) answers.push(client.invoke({}));
    answers.push(client.invoke({ say: 'here I am' }, { requestId: talker }));
    await Promise.all(answers);
    const told = (): number =>
      [...running.output.matchAll(/^REPORT of (\d+) more invocations that printed nothing\t/gm)]
        .map((match) => Number(match[1]))
        .reduce((sum, count) => sum + count, 0);
    const reports = (): number => running.output.match(/^REPORT RequestId/gm)?.length ?? 0;
    await expect.poll(() => told() + reports(), { timeout: 10_000 }).toBe(many + 1);
    expect(told()).toBeGreaterThan(0);
    for (const id of [first, talker]) {
      for (const word of ['START', 'END', 'REPORT'])
        expect(running.output).toContain(`${word} RequestId: ${id}`);
    }
    expect(running.output.indexOf('here I am')).toBeGreaterThan(
      running.output.indexOf(`START RequestId: ${talker}`),
    );
  });

  test('what native code has freed is given back, too, though a piece in use lies behind it', async () => {
    const source = `let kept;
      exports.handler = async () => {
        const made = Array.from({ length: 800 }, (_, n) => Buffer.allocUnsafeSlow(64 << 10).fill(n));
        kept = made.filter((_, n) => n % 100 === 99);
        return kept.length;
      };`;
    await bound({ 'index.js': source });
    expect(await valueOf({})).toBe(8);
    const id = client.send(frameType.trim);
    const answer = await client.frame((frame) => frame.type === frameType.trimmed && frame.id === id);
    const { beforeBytes, afterBytes } = JSON.parse(answer.payload.toString()) as TrimResult;
    // 50 MiB were freed; of what V8 itself keeps a few change from run to run.
    expect(beforeBytes - afterBytes).toBeGreaterThan(40 * 1024 * 1024);
  });

  test('may be overwritten: console, streams, JSON, Promise, Buffer, timers and exit do not break the loop', async () => {
    await bound({
      'index.js': `for (const name of Object.keys(console)) console[name] = () => { throw new Error(name) };
        process.stdout.write = () => { throw new Error('write') };
        process.exit = () => {}; Date.now = () => NaN;
        JSON.stringify = JSON.parse = () => { throw new Error('JSON') };
        Object.assign(globalThis, { JSON: null, Promise: null, Buffer: null, setTimeout: null, setImmediate: null, performance: null, process: null, queueMicrotask: null });
        exports.handler = async (event) => { if (event.fail) throw new Error('x'); return event }`,
    });
    expect(await valueOf({ a: 1 })).toEqual({ a: 1 });
    expect((await client.invoke({ fail: true })).json()).toMatchObject({ errorMessage: 'x' });
    const id = client.send(frameType.trim);
    await client.frame((frame) => frame.type === frameType.trimmed && frame.id === id);
    expect(await valueOf('ü'.repeat(100_000))).toHaveLength(100_000);
    client.send(frameType.shutdown);
    expect(await instance?.exited()).toBe(0);
  });

  test('does not see gc', async () => {
    await bound({
      'index.js': `exports.handler = async () => [typeof gc, typeof globalThis.gc, process.execArgv.some((a) => a.includes('gc'))]`,
    });
    const id = client.send(frameType.trim);
    await client.frame((frame) => frame.type === frameType.trimmed && frame.id === id);
    expect(await valueOf({})).toEqual(['undefined', 'undefined', false]);
  });
});

test.runIf(process.getuid?.() === 0)(
  'a bound process is its tenant’s user for good, and only root may reach its sockets',
  async () => {
    const running = new TestInstance(plan, {
      'index.js': `exports.handler = async () => { let back = false; try { process.setuid(0); back = true } catch {} 
      let connected; await new Promise((r) => require('net').connect(process.env.SOCKET, () => { connected = true; r() }).on('error', (e) => { connected = e.code; r() }));
      return { uid: process.getuid(), euid: process.geteuid(), gid: process.getgid(), groups: process.getgroups(), back, connected } }`,
    });
    instance = running;
    execFileSync('chmod', ['-R', 'a+rX', join(running.taskDirectory, '..')]);
    client = await running.client();
    const env = { SOCKET: join(running.runDirectory, 's.sock') };
    expect(await running.bind(client, { uid: 65_432, gid: 65_431, env })).toEqual({ is: 'bound' });
    expect(await valueOf({})).toEqual({
      uid: 65_432,
      euid: 65_432,
      gid: 65_431,
      groups: [65_431],
      back: false,
      connected: 'EACCES',
    });
  },
);

describe('handlers nobody here wrote run as they are', () => {
  const modules = fileURLToPath(new URL('../../../node_modules', import.meta.url));
  const httpEvent = {
    version: '2.0',
    routeKey: '$default',
    rawPath: '/hello/you',
    rawQueryString: 'a=1',
    queryStringParameters: { a: '1' },
    headers: { host: 'x.localhost', 'content-type': 'application/json' },
    requestContext: {
      http: { method: 'POST', path: '/hello/you', sourceIp: '127.0.0.1', protocol: 'HTTP/1.1' },
      stage: '$default',
    },
    body: '{"n":1}',
    isBase64Encoded: false,
  };

  async function withModules(source: string): Promise<void> {
    instance = new TestInstance(plan, { 'index.mjs': source });
    symlinkSync(modules, join(instance.taskDirectory, 'node_modules'));
    client = await instance.client();
    const env = {
      AWS_LAMBDA_FUNCTION_NAME: 'test',
      POWERTOOLS_SERVICE_NAME: 'svc',
      AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
    };
    expect(await instance.bind(client, { env })).toEqual({ is: 'bound' });
  }

  test('@middy/core', async () => {
    await withModules(`import middy from '@middy/core';
      export const handler = middy().use({ before: (request) => { request.event.before = true }, after: (request) => { request.response.after = true } })
        .handler(async (event, context, { signal }) => ({ event, early: signal.aborted }));`);
    expect(await valueOf({ a: 1 })).toEqual({ event: { a: 1, before: true }, early: false, after: true });
  });

  test('@aws-lambda-powertools/logger', async () => {
    await withModules(`import { Logger } from '@aws-lambda-powertools/logger'; const logger = new Logger();
      export const handler = async (event, context) => { logger.addContext(context); logger.info('from powertools', { event }); return 1 };`);
    const requestId = newRequestId();
    const { logTail } = await client.invoke({ a: 1 }, { requestId, flags: invokeFlag.logTail });
    expect(JSON.parse(logTail.split('\n')[1] ?? '')).toMatchObject({
      message: 'from powertools',
      function_request_id: requestId,
      service: 'svc',
      cold_start: true,
    });
  });

  test('serverless-http with Express', async () => {
    await withModules(`import express from 'express'; import serverless from 'serverless-http';
      const app = express(); app.use(express.json()); app.post('/hello/:name', (req, res) => res.status(201).json({ name: req.params.name, q: req.query.a, n: req.body.n }));
      export const handler = serverless(app);`);
    const answer = (await valueOf(httpEvent)) as { statusCode: number; body: string };
    expect(answer.statusCode).toBe(201);
    expect(JSON.parse(answer.body)).toEqual({ name: 'you', q: '1', n: 1 });
  });

  test('@fastify/aws-lambda', async () => {
    await withModules(`import Fastify from 'fastify'; import awsLambdaFastify from '@fastify/aws-lambda';
      const app = Fastify(); app.post('/hello/:name', async (request) => ({ name: request.params.name, q: request.query.a, n: request.body.n }));
      export const handler = awsLambdaFastify(app); await app.ready();`);
    const answer = (await valueOf(httpEvent)) as { statusCode: number; body: string };
    expect(answer.statusCode).toBe(200);
    expect(JSON.parse(answer.body)).toEqual({ name: 'you', q: '1', n: 1 });
  });
});

test('a rejected promise without anything running ends the process, not silently', async () => {
  const running = await bound({
    'index.js': `exports.handler = async () => { setTimeout(() => { Promise.reject(new Error('afterwards')) }, 20); return 1 }`,
  });
  expect(await valueOf({})).toBe(1);
  expect(await running.exited()).not.toBe(0);
  await expect.poll(() => running.output).toContain('afterwards');
});
