// What a function finds around it: environment, context, grant, console, its user.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { frameType, invokeFlag, type TrimResult } from '../../protocol/instance.ts';
import { grantOf, newRequestId, TestInstance } from '../testing/instance-client.ts';
import { plan } from './testing/plan.ts';
import { fullPerSecond } from './quiet-invocations.ts';
import { FunctionUnderTest } from './testing/function-under-test.ts';

const fn = new FunctionUnderTest();
afterEach(() => fn.dispose());

describe('the world of a function', () => {
  test('has exactly the environment it was bound with, its directory, and the trace of each invocation', async () => {
    const running = await fn.bound(
      {
        'index.js': `const atLoad = { ...process.env }; exports.handler = async () => ({ atLoad, trace: process.env._X_AMZN_TRACE_ID ?? null, cwd: process.cwd() })`,
      },
      'index.handler',
      { env: { ONLY: 'this', TZ: 'Asia/Tokyo' } },
    );
    expect(await fn.valueOf({}, { extra: '{"traceId":"Root=1"}' })).toEqual({
      atLoad: { ONLY: 'this', TZ: 'Asia/Tokyo' },
      trace: 'Root=1',
      cwd: running.taskDirectory,
    });
    expect(await fn.valueOf({})).toMatchObject({ trace: null });
  });

  test('context has every documented field', async () => {
    await fn.bound({
      'index.js': `exports.handler = async (e, c) => ({ ...c, keys: Object.keys(c).sort(), string: typeof c.memoryLimitInMB })`,
    });
    const extra = JSON.stringify({
      clientContext: { custom: { a: 1 } },
      identity: { cognitoIdentityId: 'x' },
    });
    expect(await fn.valueOf({}, { extra })).toMatchObject({
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
    await fn.bound({
      'index.js': `const seen = []; process.on('bellows:grant', (grant) => { seen.push([grant.phase, grant.memory]) }); exports.handler = async () => seen`,
    });
    for (const phase of ['changing', 'current'] as const) {
      const id = fn.client.send(frameType.grant, JSON.stringify(grantOf(96, 2, phase)));
      await fn.client.frame((frame) => frame.type === frameType.grantAck && frame.id === id);
    }
    expect(await fn.valueOf({})).toEqual([
      ['changing', '96MiB'],
      ['current', '96MiB'],
    ]);
  });

  test('console is written as Lambda writes it, one entry a call, in order with the standard streams', async () => {
    const running = await fn.bound({
      'index.js': `console.log('while loading'); exports.handler = async () => {
        console.log('a %s', 'b', { c: 1 }); console.warn('two\\nlines'); process.stdout.write('raw\\n'); console.error('e'); console.debug('d');
        process.stderr.write(Buffer.from('bytes\\n')); await new Promise((r) => process.stdout.write('ü\\n', r)); }`,
    });
    const requestId = newRequestId();
    const { logTail } = await fn.client.invoke({}, { requestId, flags: invokeFlag.logTail });
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
    await fn.bound({
      'index.js': `exports.handler = async () => { for (let i = 0; i < 300; i++) console.log('line ' + i + 'x'.repeat(100)) }`,
    });
    const { logTail } = await fn.client.invoke({}, { flags: invokeFlag.logTail });
    expect(logTail.length).toBe(4096);
    expect(logTail).toContain('line 299');
    expect(logTail).toContain('REPORT');
  });

  test('many that print nothing have one line together; whoever prints has all of its lines', async () => {
    const running = await fn.bound({
      'index.js': `exports.handler = async ({ say }) => { if (say) console.log(say); }`,
    });
    const many = 3 * fullPerSecond;
    const first = newRequestId();
    const talker = newRequestId();
    const answers = [fn.client.invoke({}, { requestId: first })];
    for (let n = 1; n < many; n += 1) answers.push(fn.client.invoke({}));
    answers.push(fn.client.invoke({ say: 'here I am' }, { requestId: talker }));
    await Promise.all(answers);
    const told = (): number =>
      [...running.output.matchAll(/^REPORT of (\d+) more invocations that printed nothing\t/gm)]
        .map((match) => Number(match[1]))
        .reduce((sum, count) => sum + count, 0);
    const reports = (): number => running.output.match(/^REPORT RequestId/gm)?.length ?? 0;
    await expect.poll(() => told() + reports()).toBe(many + 1);
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
    await fn.bound({ 'index.js': source });
    expect(await fn.valueOf({})).toBe(8);
    const id = fn.client.send(frameType.trim);
    const answer = await fn.client.frame((frame) => frame.type === frameType.trimmed && frame.id === id);
    const { beforeBytes, afterBytes } = JSON.parse(answer.payload.toString()) as TrimResult;
    // 50 MiB were freed; of what V8 itself keeps a few change from run to run.
    expect(beforeBytes - afterBytes).toBeGreaterThan(40 * 1024 * 1024);
  });

  test('may be overwritten: console, streams, JSON, Promise, Buffer, timers and exit do not break the loop', async () => {
    await fn.bound({
      'index.js': `for (const name of Object.keys(console)) console[name] = () => { throw new Error(name) };
        process.stdout.write = () => { throw new Error('write') };
        process.exit = () => {}; Date.now = () => NaN;
        JSON.stringify = JSON.parse = () => { throw new Error('JSON') };
        Object.assign(globalThis, { JSON: null, Promise: null, Buffer: null, setTimeout: null, setImmediate: null, performance: null, process: null, queueMicrotask: null });
        exports.handler = async (event) => { if (event.fail) throw new Error('x'); return event }`,
    });
    expect(await fn.valueOf({ a: 1 })).toEqual({ a: 1 });
    expect((await fn.client.invoke({ fail: true })).json()).toMatchObject({ errorMessage: 'x' });
    const id = fn.client.send(frameType.trim);
    await fn.client.frame((frame) => frame.type === frameType.trimmed && frame.id === id);
    expect(await fn.valueOf('ü'.repeat(100_000))).toHaveLength(100_000);
    fn.client.send(frameType.shutdown);
    expect(await fn.instance.exited()).toBe(0);
  });

  test('does not see gc', async () => {
    await fn.bound({
      'index.js': `exports.handler = async () => [typeof gc, typeof globalThis.gc, process.execArgv.some((a) => a.includes('gc'))]`,
    });
    const id = fn.client.send(frameType.trim);
    await fn.client.frame((frame) => frame.type === frameType.trimmed && frame.id === id);
    expect(await fn.valueOf({})).toEqual(['undefined', 'undefined', false]);
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
    fn.use(running);
    execFileSync('chmod', ['-R', 'a+rX', join(running.taskDirectory, '..')]);
    await fn.connect();
    const env = { SOCKET: join(running.runDirectory, 's.sock') };
    expect(await running.bind(fn.client, { uid: 65_432, gid: 65_431, env })).toEqual({ is: 'bound' });
    expect(await fn.valueOf({})).toEqual({
      uid: 65_432,
      euid: 65_432,
      gid: 65_431,
      groups: [65_431],
      back: false,
      connected: 'EACCES',
    });
  },
);
