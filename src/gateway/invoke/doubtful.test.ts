// A call that would be refused only for what another gateway said: the pool with that other played by the test.
import { describe, expect, test } from 'vitest';
import { Invocation, type Failure } from './invocation.ts';
import { Bench } from './testing/bench.ts';

describe('a call for which there is room only if what waited at another gateway does not any more', () => {
  const full = 'throttled';
  function besideOne(): { bench: Bench; told: PromiseWithResolvers<void>; asked: () => number } {
    const bench = new Bench();
    const told = Promise.withResolvers<void>();
    let asked = 0;
    bench.hearOthers = () => {
      asked += 1;
      return told.promise;
    };
    bench.add('i');
    bench.tenant.limit = 1;
    bench.tenant.waitingElsewhere = 1;
    return { bench, told, asked: () => asked };
  }

  test('runs when the other says that nothing waits there', async () => {
    const { bench, told } = besideOne();
    expect(bench.pool.refuses(1)).toBeUndefined();
    bench.submit('late');
    expect([bench.names('i'), bench.ended, bench.pool.quiet]).toEqual([[], [], false]);
    bench.tenant.waitingElsewhere = 0;
    told.resolve();
    await told.promise;
    expect(bench.names('i')).toEqual(['late']);
    bench.answer('i');
    expect([bench.ended, bench.pool.quiet]).toEqual([['late ok'], true]);
  });

  test('is refused when the other says the same again, and told how many there are', async () => {
    const { bench, told } = besideOne();
    let message = '';
    const sink = {
      onResult: () => {},
      onFailure: (failure: Failure) => void (message = 'message' in failure ? failure.message : failure.kind),
    };
    bench.pool.submit(new Invocation('late', sink));
    told.resolve();
    await told.promise;
    expect(message).toBe('Rate Exceeded. The tenant acme runs 1 invocations, and its limit is 1.');
    expect([bench.names('i'), bench.pool.quiet]).toEqual([[], true]);
  });

  test('is not run for a client that has left meanwhile, and is told when its function is deleted', async () => {
    const { bench, told } = besideOne();
    bench.pool.cancel(bench.submit('left'));
    bench.pool.abandon(bench.submit('left its stream'));
    bench.submit('deleted');
    bench.pool.close();
    bench.tenant.waitingElsewhere = 0;
    told.resolve();
    await told.promise;
    expect([bench.names('i'), bench.ended]).toEqual([[], ['deleted gone']]);
  });

  test('is refused at once where there is no room whatever the other says', () => {
    const { bench, asked } = besideOne();
    bench.tenant.waitingElsewhere = 0;
    bench.submit('first');
    bench.tenant.waitingElsewhere = 1;
    expect(bench.pool.refuses(1)).toMatchObject({ kind: full });
    bench.submit('second');
    expect([bench.ended, asked()]).toEqual([[`second ${full}`], 0]);
  });
});
