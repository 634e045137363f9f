// Who runs what, in which order, and what becomes of it: the pool with links, clock and controller played by the test.
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import { encodeResult, frameType, invokeFlag, outcome } from '../../protocol/instance.ts';
import { defaultInvokeTuning, virtualInvokeTuning } from '../config.ts';
import { Invocation, type Failure } from './invocation.ts';
import { Bench, route } from './testing/bench.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('requests', () => {
  test('go to the most recently used idle instance, so that the others stay idle', () => {
    const bench = new Bench();
    bench.add('a');
    bench.add('b');
    bench.submit('1');
    vi.advanceTimersByTime(5);
    const used = bench.names('a').length === 1 ? 'a' : 'b';
    bench.answer(used);
    for (let n = 0; n < 5; n += 1) {
      bench.submit('again');
      expect(bench.names(used)).toEqual(['again']);
      vi.advanceTimersByTime(1);
      bench.answer(used);
    }
  });

  test('are not sent ahead until the function is known to be fast, then in order and in bounds', () => {
    const bench = new Bench();
    bench.add('a');
    bench.submit('1');
    bench.submit('2');
    expect(bench.names('a')).toEqual(['1']);
    bench.answer('a');
    bench.answer('a');
    bench.warmUp('a');
    for (let n = 0; n < 40; n += 1) bench.submit(String(n));
    expect(bench.names('a')).toEqual(
      Array.from({ length: defaultInvokeTuning.pipelineDepth }, (_, n) => String(n)),
    );
    for (let n = 0; n < 40; n += 1) bench.answer('a');
    expect(bench.ended).toEqual(Array.from({ length: 40 }, (_, n) => `${n} ok`));
  });

  test('are sent ahead to the instance that works, so that another is not woken for so little', () => {
    const bench = new Bench();
    bench.add('a');
    bench.add('b');
    bench.warmUp('a');
    for (const name of ['1', '2', '3']) bench.submit(name);
    const used = bench.names('a').length > 0 ? 'a' : 'b';
    expect(bench.names(used)).toEqual(['1', '2', '3']);
  });

  test('that were sent ahead to an instance that dies run elsewhere; only the one it had begun fails', () => {
    const bench = new Bench();
    bench.add('a');
    bench.warmUp('a');
    for (const name of ['1', '2', '3']) bench.submit(name);
    vi.advanceTimersByTime(30);
    bench.pool.instances.linkLost('a' as InstanceId);
    expect(bench.ended).toEqual([]);
    expect(bench.broken).toEqual([]);
    vi.advanceTimersByTime(10);
    bench.pool.instances.gone('a' as InstanceId, { reason: 'exit status 3', oomKilled: false });
    expect(bench.ended).toEqual(['1 functionError Runtime.ExitError']);
    // The time it ran, not how long the reason of its end took to be known; and those that were not begun left no trace.
    expect(bench.broken).toEqual(['a exited 30 ms']);
    bench.add('b');
    bench.answer('b');
    bench.answer('b');
    expect(bench.ended.slice(1)).toEqual(['2 ok', '3 ok']);
  });

  test('whose instance dies without a reason are told after a while, and it is discarded', () => {
    const bench = new Bench();
    bench.add('a');
    bench.submit('1');
    bench.pool.instances.linkLost('a' as InstanceId);
    vi.advanceTimersByTime(defaultInvokeTuning.deathReasonMs);
    expect(bench.ended).toEqual(['1 functionError Runtime.ExitError']);
    expect(bench.discarded).toEqual(['a']);
  });

  test('time out from the moment the instance could begin, not from when they were sent', () => {
    const bench = new Bench();
    bench.add('a');
    bench.warmUp('a');
    bench.submit('1');
    bench.submit('2');
    vi.advanceTimersByTime(900);
    bench.answer('a');
    vi.advanceTimersByTime(900);
    expect(bench.ended).toEqual(['1 ok']);
    vi.advanceTimersByTime(200);
    expect(bench.ended).toEqual(['1 ok', '2 functionError Sandbox.Timedout']);
    expect(bench.broken).toEqual(['a timedOut 1000 ms']);
    expect(bench.discarded).toEqual(['a']);
  });

  test('the tail of the log goes to a caller who asked for it, and to nobody else', async () => {
    const bench = new Bench();
    const tails: (Promise<Buffer> | undefined)[] = [];
    const sink = {
      onResult: () => {},
      onFailure: (failure: Failure) => void tails.push('logTail' in failure ? failure.logTail : undefined),
    };
    for (const flags of [invokeFlag.logTail, 0]) {
      bench.add(`${flags}`);
      bench.pool.submit(new Invocation('x', sink, { flags }));
      vi.advanceTimersByTime(1001);
    }
    expect(String(await tails[0])).toBe(`tail of ${invokeFlag.logTail}`);
    expect(tails.slice(1)).toEqual([undefined]);
  });

  test('behind one that timed out, or ended its process, run elsewhere', () => {
    const bench = new Bench();
    bench.add('a');
    bench.warmUp('a');
    for (const name of ['1', '2', '3']) bench.submit(name);
    bench.answer('a', outcome.fatal);
    expect(bench.names('a')).toEqual(['2', '3']);
    bench.add('b');
    expect(bench.names('b')).toEqual(['2', '3']);
    vi.advanceTimersByTime(1001);
    expect(bench.ended).toEqual(['1 ok', '2 functionError Sandbox.Timedout']);
    bench.add('c');
    expect(bench.names('c')).toEqual(['3']);
  });

  test('that nobody wants any more are not run, and count no more', () => {
    const bench = new Bench({ reservedConcurrency: 2 });
    bench.add('a');
    bench.submit('1');
    const left = bench.submit('2');
    bench.submit('3');
    expect(bench.ended).toEqual(['3 throttled']);
    bench.pool.cancel(left);
    bench.pool.cancel(left);
    bench.submit('4');
    bench.answer('a');
    expect(bench.names('a')).toEqual(['4']);
  });

  test('wait no longer than they may, in number, bytes and time', () => {
    const bench = new Bench({}, { maxWaiting: 2, maxWaitingBytes: 10, maxWaitMs: 500 });
    bench.submit('1');
    bench.submit('long long long');
    bench.submit('2');
    bench.submit('3');
    expect(bench.ended).toEqual(['long long long throttled', '3 throttled']);
    vi.advanceTimersByTime(540);
    expect(bench.ended.slice(2)).toEqual(['1 throttled', '2 throttled']);
    expect(bench.pool.quiet).toBe(true);
  });

  test('wait as long as a start takes where it is: longer in virtual machines, also once the function was moved there', () => {
    const bench = new Bench({ unitKind: 'host' }, virtualInvokeTuning);
    bench.submit('1');
    vi.advanceTimersByTime(defaultInvokeTuning.maxWaitMs + 100);
    expect(bench.ended).toEqual(['1 throttled']);
    bench.pool.setRoute({ ...bench.pool.route, unitKind: 'vm' });
    bench.submit('2');
    vi.advanceTimersByTime(virtualInvokeTuning.maxWaitMs - 100);
    expect(bench.ended).toHaveLength(1);
    vi.advanceTimersByTime(200);
    expect(bench.ended).toEqual(['1 throttled', '2 throttled']);
  });

  test('that wait for a start that fails get its error, unless an instance runs', async () => {
    const bench = new Bench();
    bench.acquire = () =>
      Promise.reject(
        new BellowsError('StartFailed', '{"errorType":"Runtime.Init","errorMessage":"","trace":[]}'),
      );
    bench.submit('1');
    await vi.advanceTimersByTimeAsync(1);
    expect(bench.ended).toEqual(['1 functionError Runtime.Init']);
    bench.add('a');
    bench.submit('2');
    bench.submit('3');
    await vi.advanceTimersByTimeAsync(300);
    bench.answer('a');
    bench.answer('a');
    expect(bench.ended.slice(1)).toEqual(['2 ok', '3 ok']);
  });
});

describe('instances', () => {
  test('that answer what was not asked are nonsense', () => {
    const bench = new Bench();
    bench.add('a');
    const payload = encodeResult({ outcome: 0, durationMicros: 0, peakKib: 0 }, Buffer.alloc(0), '1');
    expect(() =>
      bench.pool.instances.onFrame('a' as InstanceId, { type: frameType.result, id: 9, payload }),
    ).toThrow(RangeError);
    bench.submit('1');
    expect(() =>
      bench.pool.instances.onFrame('a' as InstanceId, {
        type: frameType.result,
        id: 1,
        payload: Buffer.alloc(3),
      }),
    ).toThrow(RangeError);
  });
});

test('whatever happens, every request ends exactly once and the counts come back to nothing', async () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.constant('submit' as const) },
    { weight: 5, arbitrary: fc.constant('answer' as const) },
    fc.constantFrom(
      'fatal' as const,
      'die' as const,
      'lose' as const,
      'add' as const,
      'start' as const,
      'serve' as const,
      'retire' as const,
      'cancel' as const,
      'freeze' as const,
      'wait' as const,
      'redeploy' as const,
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(step, fc.nat(7)), { maxLength: 120 }), async (steps) => {
      const bench = new Bench();
      const cancelled = new Set<string>();
      const open: Invocation[] = [];
      let count = 0;
      let instances = 0;
      let generation = 1;
      bench.add('i0');
      bench.warmUp('i0');
      for (const [what, choice] of steps) {
        const id = `i${choice % (instances + 1)}`;
        const alive = bench.pool.busyInstances > 0 && (bench.sent.get(id)?.length ?? 0) > 0;
        switch (what) {
          case 'submit':
            open.push(bench.submit(`r${(count += 1)}`));
            break;
          case 'answer':
          case 'fatal':
            // What was given back is no longer the instance's to answer; the pool says so by refusing it.
            try {
              if (alive) bench.answer(id, what === 'fatal' ? outcome.fatal : outcome.ok);
            } catch (thrown) {
              if (!(thrown instanceof RangeError)) throw thrown;
            }
            break;
          case 'die':
            bench.sent.get(id)?.splice(0);
            bench.pool.instances.gone(id as InstanceId, { reason: 'signal: killed', oomKilled: choice > 4 });
            break;
          case 'lose':
            bench.sent.get(id)?.splice(0);
            bench.pool.instances.linkLost(id as InstanceId);
            bench.pool.instances.linkOpened(id as InstanceId);
            break;
          case 'add':
            bench.add(`i${(instances += 1)}`, { generation: `g${generation}` });
            break;
          case 'start':
            bench.add(`i${(instances += 1)}`, { generation: `g${generation}`, starting: true });
            break;
          case 'serve':
            bench.serve(id);
            break;
          case 'retire':
            void bench.pool.instances.retire(id as InstanceId);
            break;
          case 'cancel': {
            const invocation = open[choice];
            if (invocation !== undefined) {
              bench.pool.cancel(invocation);
              if (invocation.cancelled) cancelled.add(String(invocation.event));
            }
            break;
          }
          case 'freeze':
            await vi.advanceTimersByTimeAsync(100);
            bench.pool.sweep(true);
            break;
          case 'wait':
            await vi.advanceTimersByTimeAsync(choice * 40);
            break;
          case 'redeploy':
            bench.pool.setRoute({ ...route, generation: `g${(generation += 1)}` });
        }
      }
      await vi.advanceTimersByTimeAsync(2 * defaultInvokeTuning.acquireTimeoutMs);
      const ended = bench.ended.map((line) => line.split(' ')[0]);
      expect(new Set(ended).size).toBe(ended.length);
      expect(ended.length + cancelled.size).toBe(count);
      expect(bench.pool.quiet).toBe(true);
      expect(bench.pool.waiting).toBe(0);
      expect(bench.pool.busyInstances).toBe(0);
      expect(bench.tenant.unreservedActive).toBe(0);
    }),
    { numRuns: 150 },
  );
});

test('what was sent to an instance that ends and waits for the first time has waited since then, however old the gateway is', () => {
  const bench = new Bench();
  vi.advanceTimersByTime(2 * defaultInvokeTuning.maxWaitMs);
  bench.add('a');
  bench.warmUp('a');
  for (const name of ['1', '2']) bench.submit(name);
  bench.pool.instances.linkLost('a' as InstanceId);
  vi.advanceTimersByTime(100);
  expect(bench.pool.waiting).toBe(1);
  bench.add('b');
  expect(bench.names('b')).toEqual(['2']);
});
