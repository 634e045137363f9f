// What an instance is sent that has not loaded its code yet, and what becomes of that when it never does.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import { defaultInvokeTuning } from '../config.ts';
import { Bench } from './testing/bench.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
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
        () => bench.pool.instances.linkLost('a' as InstanceId),
        () => bench.pool.instances.gone('a' as InstanceId, { reason: 'redeployed', oomKilled: false }),
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
    bench.pool.instances.gone('a' as InstanceId, { reason: 'exit status 3', oomKilled: false });
    bench.serve('a');
    bench.pool.instances.linkLost('a' as InstanceId);
    expect(bench.ended).toEqual(['1 functionError Runtime.ExitError']);
    bench.add('b');
    expect(bench.names('b')).toEqual([]);
  });

  test('and is gone while its link says nothing counts as one that had begun', () => {
    const bench = new Bench();
    bench.submit('1');
    bench.add('a', { starting: true });
    bench.pool.instances.gone('a' as InstanceId, { reason: 'signal: killed', oomKilled: false });
    vi.advanceTimersByTime(defaultInvokeTuning.deathReasonMs);
    expect(bench.ended).toEqual(['1 functionError Runtime.ExitError']);
  });

  test('and does not come to serve gives the error of its start to all who wait', async () => {
    const bench = new Bench();
    const { promise, reject } = Promise.withResolvers<InstanceId>();
    bench.acquire = () => promise;
    for (const name of ['1', '2']) bench.submit(name);
    bench.add('a', { starting: true });
    bench.pool.instances.linkLost('a' as InstanceId);
    bench.pool.instances.gone('a' as InstanceId, { reason: 'it failed', oomKilled: false });
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
