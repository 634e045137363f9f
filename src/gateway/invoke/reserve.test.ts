// What is frozen and thawed, what is said to idle, and how many are started: the pool with the controller played by the test.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import { outcome } from '../../protocol/instance.ts';
import { defaultInvokeTuning } from '../config.ts';
import { Bench, route } from './testing/bench.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
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
      bench.pool.instances.gone('a' as InstanceId, { reason: 'idle', oomKilled: false });
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
