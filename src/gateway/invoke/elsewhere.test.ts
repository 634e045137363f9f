// Instances that also run what another gateway has sent, which leaves or has crashed. Who may send at all: lending.test.ts.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { encodeElsewhere, frameType } from '../../protocol/instance.ts';
import { defaultInvokeTuning } from '../config.ts';
import { Bench, route } from './testing/bench.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('beside another gateway', () => {
  /** The instance says how many invocations of others it has. */
  function tell(bench: Bench, id: string, count: number): void {
    const payload = encodeElsewhere(count);
    bench.pool.instances.onFrame(id as InstanceId, { type: frameType.elsewhere, id: 0, payload });
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
    bench.pool.instances.gone('a' as InstanceId, { reason: '', oomKilled: false });
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
