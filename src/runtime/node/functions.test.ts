// What a Lambda developer sees of the Node runtime: every form of handler, answer and error.
import { afterEach, describe, expect, test } from 'vitest';
import { outcome } from '../../protocol/instance.ts';
import { newRequestId } from '../testing/instance-client.ts';
import { FunctionUnderTest } from './testing/function-under-test.ts';

const fn = new FunctionUnderTest();
afterEach(() => fn.dispose());

type Files = Readonly<Record<string, string>>;

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
    await fn.bound(files, handler);
    expect(await fn.valueOf({})).toBe('here');
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
    const result = await fn.bind(files, handler);
    expect(result).toMatchObject({
      is: 'failed',
      error: { errorType, errorMessage: expect.stringMatching(message) as unknown },
    });
    expect(await fn.instance.exited()).not.toBe(0);
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
    await fn.bound({ 'index.js': `exports.handler = ${handler}` });
    expect(await fn.valueOf(1)).toEqual(expected);
    // And once more, since each of them leaves the loop in another state.
    expect(await fn.valueOf(1)).toEqual(expected);
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
    await fn.bound({ 'index.js': `exports.handler = ${handler}` });
    const answer = await fn.client.invoke({});
    expect(answer.outcome).toBe(outcome.handled);
    expect(answer.json()).toMatchObject(expected);
    expect((await fn.client.invoke({})).outcome).toBe(outcome.handled);
  });

  test('exactly 6 MB is answered', async () => {
    await fn.bound({ 'index.js': `exports.handler = async () => 'x'.repeat(6 * 1024 * 1024 + 98)` });
    expect((await fn.client.invoke({})).text.length).toBe(6 * 1024 * 1024 + 100);
  });

  test('callbackWaitsForEmptyEventLoop decides whether open work delays the answer', async () => {
    await fn.bound({
      'index.js': `let done = 0; exports.handler = (event, context, callback) => {
        context.callbackWaitsForEmptyEventLoop = event.wait;
        setTimeout(() => { done += 1 }, 50);
        callback(null, () => 0);
        callback.value; context.succeed(1);
      }; exports.count = (e, c, callback) => { c.callbackWaitsForEmptyEventLoop = false; callback(null, done) };
      exports.handler = ((inner) => (e, c, cb) => e.count ? exports.count(e, c, cb) : inner(e, c, cb))(exports.handler)`,
    });
    await fn.client.invoke({ wait: true });
    expect(await fn.valueOf({ count: true })).toBe(1);
    await fn.client.invoke({ wait: false });
    expect(await fn.valueOf({ count: true })).toBe(1);
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
    const running = await fn.bound({ 'index.js': `exports.handler = ${handler}` });
    const requestId = newRequestId();
    const answer = await fn.client.invoke({}, { requestId });
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
    const running = await fn.bound({
      'index.js': `exports.handler = async ({ n }) => { if (n === 1) Promise.reject(new Error('lost')); console.log('ran ' + n); return n; }`,
    });
    const first = fn.client.invoke({ n: 1 });
    for (const n of [2, 3]) fn.client.sendInvoke({ n });
    expect((await first).json()).toBe(1);
    expect(await running.exited()).not.toBe(0);
    expect(running.output).not.toContain('ran 2');
  });

  test('lines printed before a native crash or a kill in an endless loop are kept', async () => {
    const running = await fn.bound({
      'index.js': `exports.handler = () => { console.log('last words'); for (;;); }`,
    });
    fn.client.sendInvoke({});
    await expect.poll(() => running.output).toContain('last words');
    expect(running.output).toContain('START RequestId');
  });
});

test('a rejected promise without anything running ends the process, not silently', async () => {
  const running = await fn.bound({
    'index.js': `exports.handler = async () => { setTimeout(() => { Promise.reject(new Error('afterwards')) }, 20); return 1 }`,
  });
  expect(await fn.valueOf({})).toBe(1);
  expect(await running.exited()).not.toBe(0);
  await expect.poll(() => running.output).toContain('afterwards');
});
