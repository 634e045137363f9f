// Who runs what, in which order, and what becomes of it: the pool with links, clock and controller played by the test.
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import { FrameBatch } from '../../base/frame-batch.ts';
import { frameHeaderBytes } from '../../base/frame.ts';
import type { InstanceId, TenantId, WorkloadKey, WorkloadName } from '../../base/ids.ts';
import {
  decodeInvoke,
  encodeElsewhere,
  encodeResult,
  frameType,
  invokeFlag,
  outcome,
} from '../../protocol/instance.ts';
import type { WorkloadRoute } from '../../protocol/routes.ts';
import { defaultInvokeTuning } from '../config.ts';
import { FunctionConcurrency, TenantConcurrency } from './concurrency.ts';
import { FunctionPool } from './function-pool.ts';
import { Invocation, type Failure } from './invocation.ts';
import { enoughSamples, presentServiceMs, ServiceTimes } from './service-times.ts';
import { startBudget } from './start-budget.ts';

const route: WorkloadRoute = {
  key: 'acme/fn' as WorkloadKey,
  tenant: 'acme' as TenantId,
  name: 'fn' as WorkloadName,
  kind: 'function',
  generation: 'g1',
  timeoutMs: 1000,
  memoryBytes: 1,
  url: true,
  websocket: null,
  reservedConcurrency: null,
};

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

class Bench {
  /** Invocations that each instance was sent and has not answered, by name. */
  readonly sent = new Map<string, { id: number; name: string }[]>();
  readonly ended: string[] = [];
  readonly discarded: string[] = [];
  readonly calls: string[] = [];
  readonly waiting: string[] = [];
  /** What was to be logged for instances that could not themselves. */
  readonly broken: string[] = [];
  acquire: () => Promise<InstanceId | null> = () => new Promise(() => {});
  readonly pool: FunctionPool;
  readonly tenant = new TenantConcurrency(route.tenant);

  freeze = async (): Promise<void> => {};

  constructor(more: Partial<WorkloadRoute> = {}, tuning: Partial<typeof defaultInvokeTuning> = {}) {
    const clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() };
    this.pool = new FunctionPool(
      { ...route, ...more },
      {
        clock,
        acquire: () => {
          this.calls.push('acquire');
          return this.acquire();
        },
        spare: (waiting) => void this.calls.push(`spare ${waiting}`),
        discard: (id) => void this.discarded.push(id),
        freeze: async (id) => {
          this.calls.push(`freeze ${id}`);
          await this.freeze();
        },
        thaw: async (id) => void this.calls.push(`thaw ${id}`),
        logBroken: async (id, { durationMs, cause }) => {
          this.broken.push(`${id} ${cause.kind} ${Math.round(durationMs)} ms`);
          return Buffer.from(`tail of ${id}`);
        },
        idle: (id, sinceMs) => void this.calls.push(`${sinceMs === null ? 'busy' : 'idle'} ${id}`),
        lending: { isHome: () => true, homeOf: () => undefined, say: () => {}, sayToHomes: () => {} },
      },
      { ...defaultInvokeTuning, ...tuning },
      new FunctionConcurrency(this.tenant),
    );
  }

  /** An instance whose link is open. */
  add(id: string, { generation = 'g1', frozen = false, starting = false } = {}): void {
    const frames: { id: number; name: string }[] = [];
    this.sent.set(id, frames);
    const sendWritten = (write: (batch: FrameBatch) => void): boolean => {
      const batch = new FrameBatch();
      write(batch);
      const frame = batch.take();
      frames.push({
        id: frame.readUInt32LE(5),
        name: decodeInvoke(frame.subarray(frameHeaderBytes)).event.toString(),
      });
      return true;
    };
    this.pool.addInstance(
      { id: id as InstanceId, generation, starting, frozen },
      { sendWritten, pause() {}, resume() {}, close() {} },
    );
    this.pool.linkOpened(id as InstanceId);
  }

  /** One that has just loaded its code. */
  serve(id: string): void {
    this.pool.onFrame(id as InstanceId, { type: frameType.serving, id: 0, payload: Buffer.alloc(0) });
  }

  submit(name: string): Invocation {
    const invocation = new Invocation(name, {
      onResult: ({ body }) => void this.ended.push(`${name} ${body}`),
      onFailure: (failure: Failure) =>
        void this.ended.push(
          `${name} ${failure.kind} ${'payload' in failure ? (JSON.parse(failure.payload) as { errorType: string }).errorType : ''}`.trim(),
        ),
    });
    this.pool.submit(invocation);
    return invocation;
  }

  /** @param ranMs by the instance's own clock */
  answer(id: string, how: 0 | 1 | 2 = outcome.ok, ranMs = 0.001): void {
    const first = this.sent.get(id)?.shift();
    if (first === undefined) throw new Error(`${id} was asked nothing`);
    const payload = encodeResult(
      { outcome: how, durationMicros: ranMs * 1000, peakKib: 1 },
      Buffer.alloc(0),
      'ok',
    );
    this.pool.onFrame(id as InstanceId, { type: frameType.result, id: first.id, payload });
  }

  names(id: string): string[] {
    return (this.sent.get(id) ?? []).map(({ name }) => name);
  }

  /** Lets it learn that the function is fast. */
  warmUp(id: string): void {
    for (let n = 0; n < enoughSamples; n += 1) {
      this.submit('warm');
      this.answer(id);
    }
    this.ended.length = 0;
  }
}

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
    bench.pool.linkLost('a' as InstanceId);
    expect(bench.ended).toEqual([]);
    expect(bench.broken).toEqual([]);
    vi.advanceTimersByTime(10);
    bench.pool.instanceGone('a' as InstanceId, { reason: 'exit status 3', oomKilled: false });
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
    bench.pool.linkLost('a' as InstanceId);
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
  test.each([
    [
      'a freeze that was asked for and not answered: it is thawed, for it may stand still',
      'Unavailable',
      true,
    ],
    ['a freeze that was refused: it is sent to as it is', 'NotSupportedHere', false],
  ] as const)('after %s', async (_what, code, thaws) => {
    const bench = new Bench();
    bench.add('a');
    bench.freeze = () => Promise.reject(new BellowsError(code, 'no'));
    vi.advanceTimersByTime(defaultInvokeTuning.freezeAfterMs);
    bench.pool.sweep(true);
    await vi.advanceTimersByTimeAsync(1);
    bench.submit('1');
    await vi.advanceTimersByTimeAsync(1);
    expect(bench.names('a')).toEqual(['1']);
    expect(bench.calls.includes('thaw a')).toBe(thaws);
  });

  test('that are frozen are thawed first, and nothing is sent meanwhile', async () => {
    const bench = new Bench();
    bench.add('a');
    vi.advanceTimersByTime(defaultInvokeTuning.freezeAfterMs);
    bench.pool.sweep(true);
    expect(bench.calls).toEqual(['idle a', 'freeze a']);
    // It comes while it is being frozen.
    bench.submit('1');
    expect(bench.names('a')).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(bench.calls).toContain('thaw a');
    expect(bench.names('a')).toEqual(['1']);
    expect(bench.calls).not.toContain('acquire');
  });

  test('are said to idle as soon as a sweep finds them so, and to be in use again', () => {
    const bench = new Bench();
    bench.add('a');
    const sweepTwice = (): void => {
      bench.pool.sweep(true);
      bench.pool.sweep(true);
    };
    bench.submit('1');
    sweepTwice();
    expect(bench.calls.splice(0)).toEqual(['busy a']);
    bench.answer('a');
    vi.advanceTimersByTime(100);
    sweepTwice();
    expect(bench.calls.splice(0)).toEqual(['idle a']);
    // One that is called again and again does not idle, though it may have nothing to do at the moment of a sweep.
    bench.submit('2');
    bench.answer('a');
    sweepTwice();
    expect(bench.calls.splice(0)).toEqual(['busy a']);
  });

  test('that were frozen when this gateway began are thawed, too', async () => {
    const bench = new Bench();
    bench.add('a', { frozen: true });
    bench.submit('1');
    expect(bench.names('a')).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(bench.names('a')).toEqual(['1']);
  });

  test('are not started for a queue that those which run clear sooner', () => {
    const bench = new Bench();
    bench.add('a');
    bench.warmUp('a');
    for (let n = 0; n < 30; n += 1) bench.submit(String(n));
    expect(bench.calls).toEqual([]);
  });

  test('are started when those that run take too long', async () => {
    const bench = new Bench({ timeoutMs: 60_000 });
    bench.add('a');
    bench.submit('1');
    for (let n = 0; n < 3; n += 1) bench.submit(String(n));
    await vi.advanceTimersByTimeAsync(200);
    expect(bench.calls.filter((call) => call === 'acquire').length).toBeGreaterThanOrEqual(3);
  });

  test('are not started for all that waited while the first start took long, when those that serve now clear the queue sooner', async () => {
    const bench = new Bench({ timeoutMs: 60_000 }, { firstStartMs: 10_000, maxWaitMs: 120_000 });
    const started = Promise.withResolvers<InstanceId>();
    bench.acquire = () => started.promise;
    for (let n = 0; n < 10; n += 1) bench.submit(String(n));
    await vi.advanceTimersByTimeAsync(60_000);
    // An earlier controller's: nobody has measured how long it took.
    bench.add('a');
    await vi.advanceTimersByTimeAsync(300);
    bench.answer('a');
    await vi.advanceTimersByTimeAsync(100);
    expect(bench.calls.filter((call) => call === 'acquire')).toEqual(['acquire']);
    bench.add('b');
    started.resolve('b' as InstanceId);
    await vi.advanceTimersByTimeAsync(200);
    bench.answer('a');
    await vi.advanceTimersByTimeAsync(100);
    bench.answer('b');
    await vi.advanceTimersByTimeAsync(100);
    expect(bench.calls.filter((call) => call === 'acquire')).toEqual(['acquire']);
  });

  test('that were asked for and are not needed any more are said to be spare, and asked for again when they are', async () => {
    const bench = new Bench({ timeoutMs: 60_000 });
    const starts: PromiseWithResolvers<InstanceId | null>[] = [];
    bench.acquire = () => {
      const start = Promise.withResolvers<InstanceId | null>();
      starts.push(start);
      return start.promise;
    };
    bench.add('a');
    bench.submit('0');
    await vi.advanceTimersByTimeAsync(1_000);
    for (const name of ['1', '2', '3']) bench.submit(name);
    expect(bench.calls.splice(0)).toEqual(['acquire', 'acquire', 'acquire']);
    bench.answer('a', outcome.ok, 1_000);
    await vi.advanceTimersByTimeAsync(100);
    expect(bench.calls.splice(0)).toEqual(['spare 2']);
    starts.at(-1)?.resolve(null);
    await vi.advanceTimersByTimeAsync(1);
    for (const name of ['4', '5']) bench.submit(name);
    await vi.advanceTimersByTimeAsync(1);
    expect(bench.calls.filter((call) => call === 'acquire')).toEqual(['acquire', 'acquire']);
  });

  test('that answer what was not asked are nonsense', () => {
    const bench = new Bench();
    bench.add('a');
    const payload = encodeResult({ outcome: 0, durationMicros: 0, peakKib: 0 }, Buffer.alloc(0), '1');
    expect(() => bench.pool.onFrame('a' as InstanceId, { type: frameType.result, id: 9, payload })).toThrow(
      RangeError,
    );
    bench.submit('1');
    expect(() =>
      bench.pool.onFrame('a' as InstanceId, { type: frameType.result, id: 1, payload: Buffer.alloc(3) }),
    ).toThrow(RangeError);
  });
});

describe('an instance that starts', () => {
  test('has the first request already when its code is loaded, and gets the others then', () => {
    const bench = new Bench();
    for (const name of ['1', '2']) bench.submit(name);
    bench.add('a', { starting: true });
    expect(bench.names('a')).toEqual(['1']);
    bench.serve('a');
    bench.answer('a');
    bench.answer('a');
    expect(bench.ended).toEqual(['1 ok', '2 ok']);
    expect(bench.calls.filter((call) => call === 'acquire')).toEqual(['acquire']);
  });

  test('gets none ahead where another serves, which may be free sooner', () => {
    const bench = new Bench();
    bench.add('a');
    bench.add('b', { starting: true });
    for (const name of ['1', '2']) bench.submit(name);
    expect(bench.names('b')).toEqual([]);
    bench.answer('a');
    expect(bench.names('a')).toEqual(['2']);
  });

  test('counts the time of what it was sent from when it serves', () => {
    const bench = new Bench();
    bench.submit('1');
    bench.add('a', { starting: true });
    vi.advanceTimersByTime(5000);
    bench.serve('a');
    vi.advanceTimersByTime(900);
    expect(bench.ended).toEqual([]);
    vi.advanceTimersByTime(200);
    expect(bench.ended).toEqual(['1 functionError Sandbox.Timedout']);
    expect(bench.broken).toEqual(['a timedOut 1000 ms']);
  });

  test.each(['link, reason', 'reason, link'])(
    'and ends before it serves leaves its request to another: %s',
    (order) => {
      const bench = new Bench();
      bench.submit('1');
      bench.add('a', { starting: true });
      const steps = [
        () => bench.pool.linkLost('a' as InstanceId),
        () => bench.pool.instanceGone('a' as InstanceId, { reason: 'redeployed', oomKilled: false }),
      ];
      for (const step of order === 'link, reason' ? steps : steps.reverse()) step();
      expect(bench.ended).toEqual([]);
      bench.add('b', { starting: true });
      expect(bench.names('b')).toEqual(['1']);
      bench.serve('b');
      bench.answer('b');
      expect(bench.ended).toEqual(['1 ok']);
      expect(bench.broken).toEqual([]);
    },
  );

  test('and dies when it has begun fails what it was sent, whatever is heard first', () => {
    const bench = new Bench();
    bench.submit('1');
    bench.add('a', { starting: true });
    bench.pool.instanceGone('a' as InstanceId, { reason: 'exit status 3', oomKilled: false });
    bench.serve('a');
    bench.pool.linkLost('a' as InstanceId);
    expect(bench.ended).toEqual(['1 functionError Runtime.ExitError']);
    bench.add('b');
    expect(bench.names('b')).toEqual([]);
  });

  test('and is gone while its link says nothing counts as one that had begun', () => {
    const bench = new Bench();
    bench.submit('1');
    bench.add('a', { starting: true });
    bench.pool.instanceGone('a' as InstanceId, { reason: 'signal: killed', oomKilled: false });
    vi.advanceTimersByTime(defaultInvokeTuning.deathReasonMs);
    expect(bench.ended).toEqual(['1 functionError Runtime.ExitError']);
  });

  test('and does not come to serve gives the error of its start to all who wait', async () => {
    const bench = new Bench();
    const { promise, reject } = Promise.withResolvers<InstanceId>();
    bench.acquire = () => promise;
    for (const name of ['1', '2']) bench.submit(name);
    bench.add('a', { starting: true });
    bench.pool.linkLost('a' as InstanceId);
    bench.pool.instanceGone('a' as InstanceId, { reason: 'it failed', oomKilled: false });
    expect(bench.ended).toEqual([]);
    reject(new BellowsError('StartFailed', '{"errorType":"Runtime.Init","errorMessage":"","trace":[]}'));
    await vi.advanceTimersByTimeAsync(1);
    expect(bench.ended).toEqual(['1 functionError Runtime.Init', '2 functionError Runtime.Init']);
    expect(bench.calls).toEqual(['acquire']);
  });

  test('and hangs for longer than any start may take is given up, and its request with it', () => {
    const bench = new Bench();
    bench.submit('1');
    bench.add('a', { starting: true });
    vi.advanceTimersByTime(defaultInvokeTuning.acquireTimeoutMs);
    expect(bench.ended).toEqual(['1 unavailable']);
    expect(bench.discarded).toEqual(['a']);
  });

  test('of a function that is deleted leaves nobody waiting', () => {
    const bench = new Bench();
    bench.submit('1');
    bench.add('a', { starting: true });
    bench.pool.close();
    expect(bench.ended).toEqual(['1 gone']);
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
            bench.pool.instanceGone(id as InstanceId, { reason: 'signal: killed', oomKilled: choice > 4 });
            break;
          case 'lose':
            bench.sent.get(id)?.splice(0);
            bench.pool.linkLost(id as InstanceId);
            bench.pool.linkOpened(id as InstanceId);
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
            void bench.pool.retire(id as InstanceId);
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

describe('how many are started', () => {
  const acquired = (bench: Bench): number => bench.calls.filter((call) => call === 'acquire').length;
  /** Each is there `startMs` after it was asked for. */
  function startsTake(bench: Bench, startMs: number): void {
    let started = 0;
    bench.acquire = async () => {
      const id = `s${(started += 1)}` as InstanceId;
      await new Promise((resolve) => setTimeout(resolve, startMs));
      bench.add(id);
      return id;
    };
  }
  /** As the instances of a function whose invocations take so long would, until `untilMs`. */
  async function serveAll(bench: Bench, ranMs: number, untilMs: number): Promise<void> {
    const stepMs = Math.max(1, ranMs);
    for (let atMs = 0; atMs < untilMs; atMs += stepMs) {
      await vi.advanceTimersByTimeAsync(stepMs);
      for (const [id, sent] of bench.sent)
        for (let left = stepMs / ranMs; left >= 1 && sent.length > 0; left -= 1)
          bench.answer(id, outcome.ok, ranMs);
    }
  }

  test.each([
    ['nothing is known', false],
    ['it is known to be fast', true],
  ])('one for a burst of fast requests where there is none: %s', async (_what, known) => {
    const bench = new Bench({ timeoutMs: 60_000 });
    if (known) {
      bench.add('a');
      bench.warmUp('a');
      bench.pool.instanceGone('a' as InstanceId, { reason: 'idle', oomKilled: false });
      bench.sent.delete('a');
    }
    startsTake(bench, 60);
    for (let n = 0; n < 200; n += 1) {
      bench.submit(String(n));
      if (n % 2 === 0) await serveAll(bench, 0.2, 1);
    }
    await serveAll(bench, 0.2, 400);
    expect(bench.ended.length).toBe(200);
    expect(acquired(bench)).toBe(1);
  });

  test('one for each of a burst of slow requests, a few starts after the first', async () => {
    const bench = new Bench({ timeoutMs: 60_000 });
    startsTake(bench, 50);
    for (let n = 0; n < 30; n += 1) bench.submit(String(n));
    await vi.advanceTimersByTimeAsync(300);
    expect(bench.pool.waiting).toBe(0);
    expect(acquired(bench)).toBe(30);
  });

  test('one more where the first of a fast function stands still for long, not one for each that waits', async () => {
    const bench = new Bench({ timeoutMs: 60_000 });
    bench.add('a');
    bench.warmUp('a');
    for (let n = 0; n < 60; n += 1) bench.submit(String(n));
    startsTake(bench, 1_000);
    await vi.advanceTimersByTimeAsync(500);
    expect(acquired(bench)).toBe(1);
  });

  test('soon one for each where a function that was fast is not any more', async () => {
    const bench = new Bench({ timeoutMs: 60_000 });
    bench.add('a');
    bench.warmUp('a');
    startsTake(bench, 20);
    for (let n = 0; n < 60; n += 1) bench.submit(String(n));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(bench.pool.waiting).toBe(0);
  });

  test('one after new code was deployed, of which is not known yet how long it takes', async () => {
    const bench = new Bench({ timeoutMs: 60_000 });
    bench.add('a');
    bench.warmUp('a');
    bench.pool.setRoute({ ...route, timeoutMs: 60_000, generation: 'g2' });
    bench.acquire = async () => {
      await new Promise((resolve) => setTimeout(resolve, 40));
      bench.add('b', { generation: 'g2' });
      return 'b' as InstanceId;
    };
    for (let n = 0; n < 40; n += 1) bench.submit(String(n));
    await vi.advanceTimersByTimeAsync(45);
    // Nothing is sent ahead to code that may take long.
    expect(bench.names('b')).toHaveLength(1);
    await serveAll(bench, 0.2, 100);
    expect(bench.ended.length).toBe(40);
    expect(acquired(bench)).toBe(1);
  });
});

test('what was sent to an instance that ends and waits for the first time has waited since then, however old the gateway is', () => {
  const bench = new Bench();
  vi.advanceTimersByTime(2 * defaultInvokeTuning.maxWaitMs);
  bench.add('a');
  bench.warmUp('a');
  for (const name of ['1', '2']) bench.submit(name);
  bench.pool.linkLost('a' as InstanceId);
  vi.advanceTimersByTime(100);
  expect(bench.pool.waiting).toBe(1);
  bench.add('b');
  expect(bench.names('b')).toEqual(['2']);
});

test('what those that run say of how long one takes', () => {
  expect(presentServiceMs(null, [], 50)).toBeNull();
  expect(presentServiceMs(null, [3, 7], 50)).toBe(7);
  expect(presentServiceMs(0.3, [500, 2, 1], 50)).toBe(0.3);
  expect(presentServiceMs(0.3, [60, 500, 70], 50)).toBe(60);
});

describe('what is told of calls between two reports', () => {
  test('the most instances that worked at once, when the first began and when the last was done', async () => {
    const bench = new Bench();
    expect(bench.pool.takeCalls()).toBeUndefined();
    bench.add('a');
    bench.add('b');
    const calledAtMs = Date.now();
    bench.submit('1');
    await vi.advanceTimersByTimeAsync(100);
    bench.submit('2');
    await vi.advanceTimersByTimeAsync(100);
    bench.answer('a');
    bench.answer('b');
    const endedAtMs = Date.now();
    expect(bench.pool.takeCalls()).toEqual({ most: 2, calledAtMs, endedAtMs });
    expect(bench.pool.takeCalls()).toBeUndefined();
  });

  test('who goes on working is told when it is done, and began no second time', async () => {
    const bench = new Bench();
    bench.add('a');
    bench.submit('1');
    expect(bench.pool.takeCalls()).toMatchObject({ most: 1, endedAtMs: null });
    expect([bench.pool.takeCalls(), bench.pool.busyInstances]).toEqual([undefined, 1]);
    await vi.advanceTimersByTimeAsync(100);
    bench.answer('a');
    expect(bench.pool.takeCalls()).toEqual({ most: 1, calledAtMs: null, endedAtMs: Date.now() });
    expect(bench.pool.busyInstances).toBe(0);
  });
});

test('how many fit into a time follows the average, and nothing is said before enough is known', () => {
  const times = new ServiceTimes();
  for (let n = 1; n < enoughSamples; n += 1) times.add(0);
  expect(times.fitInto(0.5, 32)).toBe(0);
  times.add(0);
  expect(times.fitInto(0.5, 32)).toBe(32);
  for (let n = 0; n < 100; n += 1) times.add(0.1);
  expect(times.fitInto(0.51, 32)).toBe(5);
  times.add(50);
  expect(times.fitInto(0.5, 32)).toBe(0);
});

test.each([
  [{ running: 0, serviceMs: null, startMs: 50 }, 100, 1],
  [{ running: 3, serviceMs: null, startMs: 50 }, 100, 6],
  [{ running: 3, serviceMs: 1, startMs: 50 }, 4, 4],
  [{ running: 0, serviceMs: 500, startMs: 50 }, 100, 100],
])('starts under way: %o, at most %i: %i', (load, cap, expected) => {
  expect(startBudget(load, cap)).toBe(expected);
});

describe('beside another gateway', () => {
  /** The instance says how many invocations of others it has. */
  function tell(bench: Bench, id: string, count: number): void {
    const payload = encodeElsewhere(count);
    bench.pool.onFrame(id as InstanceId, { type: frameType.elsewhere, id: 0, payload });
  }

  test('an instance gets nothing while it runs what another has sent, which counts for the limits', () => {
    const bench = new Bench();
    bench.tenant.limit = 2;
    bench.add('a');
    tell(bench, 'a', 1);
    expect(bench.tenant.active).toBe(1);
    bench.submit('1');
    expect(bench.names('a')).toEqual([]);
    bench.submit('2');
    expect(bench.ended).toEqual(['2 throttled']);
    tell(bench, 'a', 0);
    expect(bench.names('a')).toEqual(['1']);
    bench.answer('a');
    expect(bench.ended).toEqual(['2 throttled', '1 ok']);
    expect(bench.tenant.active).toBe(0);
    expect(bench.pool.quiet).toBe(true);
  });

  test('an invocation that was sent at the same time as that of another is given the time of both', () => {
    const bench = new Bench();
    bench.add('a');
    bench.submit('1');
    tell(bench, 'a', 1);
    vi.advanceTimersByTime(route.timeoutMs + 10);
    expect(bench.discarded).toEqual([]);
    vi.advanceTimersByTime(route.timeoutMs);
    expect(bench.discarded).toContain('a');
    expect(bench.ended).toEqual(['1 functionError Sandbox.Timedout']);
  });

  test('an instance whose invocation nobody waits for any more is ended when that has had its time', () => {
    const bench = new Bench();
    bench.add('a');
    tell(bench, 'a', 2);
    vi.advanceTimersByTime(route.timeoutMs);
    // One of the two ended: the other has begun.
    tell(bench, 'a', 1);
    vi.advanceTimersByTime(route.timeoutMs);
    expect(bench.discarded).toEqual([]);
    vi.advanceTimersByTime(defaultInvokeTuning.deathReasonMs);
    expect(bench.discarded).toEqual(['a']);
    bench.pool.instanceGone('a' as InstanceId, { reason: '', oomKilled: false });
    expect(bench.tenant.active).toBe(0);
  });

  test('nothing is frozen while one before may still use it', () => {
    const bench = new Bench();
    bench.add('a');
    vi.advanceTimersByTime(defaultInvokeTuning.freezeAfterMs);
    bench.pool.sweep(false);
    expect(bench.calls).toEqual(['idle a']);
  });

  test('one that leaves finishes what it has, and thaws whatever it uses again', async () => {
    const bench = new Bench();
    bench.add('a');
    bench.add('b');
    bench.submit('1');
    const [busy, idle] = bench.names('a').length === 1 ? ['a', 'b'] : ['b', 'a'];
    bench.pool.leave();
    bench.answer(busy);
    expect(bench.ended).toEqual(['1 ok']);
    bench.submit('2');
    bench.submit('3');
    expect([...bench.names('a'), ...bench.names('b')]).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(bench.calls.filter((call) => call.startsWith('thaw')).toSorted()).toEqual(['thaw a', 'thaw b']);
    expect([...bench.names(busy), ...bench.names(idle)].toSorted()).toEqual(['2', '3']);
  });

  test('one that leaves takes back a freeze that was under way: the next may be using the instance', async () => {
    const bench = new Bench();
    const frozen = Promise.withResolvers<void>();
    bench.freeze = () => frozen.promise;
    bench.add('a');
    vi.advanceTimersByTime(defaultInvokeTuning.freezeAfterMs);
    bench.pool.sweep(true);
    bench.pool.leave();
    frozen.resolve();
    await vi.advanceTimersByTimeAsync(1);
    expect(bench.calls).toEqual(['idle a', 'freeze a', 'thaw a']);
  });
});
