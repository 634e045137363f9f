import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TenantId } from '../../base/ids.ts';
import { RequestRate, RequestRates } from './request-rate.ts';

const acme = 'acme' as TenantId;

class Clock {
  nowMs = 5_000;
  readonly read = (): number => this.nowMs;
}

function limited(limit: number | null): { readonly rate: RequestRate; readonly clock: Clock } {
  const clock = new Clock();
  const rate = new RequestRate(acme, clock.read);
  rate.limit = limit;
  return { rate, clock };
}

/** How many of so many that come at once are let in. */
function enter(rate: RequestRate, times: number): number {
  let entered = 0;
  for (let n = 0; n < times; n += 1) if (rate.enter()) entered += 1;
  return entered;
}

describe("a tenant's requests per second", () => {
  test('without a limit all enter, and no clock is read', () => {
    const rate = new RequestRate(acme, () => {
      throw new Error('read');
    });
    expect(enter(rate, 1_000)).toBe(1_000);
  });

  test("a second's worth enters at once, then one for each part of a second", () => {
    const { rate, clock } = limited(10);
    expect(enter(rate, 100)).toBe(10);
    clock.nowMs += 99;
    expect(enter(rate, 5)).toBe(0);
    clock.nowMs += 1;
    expect(enter(rate, 5)).toBe(1);
    clock.nowMs += 3_600_000;
    expect(enter(rate, 100)).toBe(10);
  });

  test('a changed limit holds at once: a lowered one leaves no more than its own, a raised one fills faster', () => {
    const { rate, clock } = limited(100);
    rate.limit = 3;
    expect(enter(rate, 100)).toBe(3);
    rate.limit = 1_000;
    expect(enter(rate, 100)).toBe(0);
    clock.nowMs += 10;
    expect(enter(rate, 100)).toBe(10);
    rate.limit = null;
    expect(enter(rate, 5_000)).toBe(5_000);
    rate.limit = 2;
    expect(enter(rate, 100)).toBe(2);
  });

  test('a limit of none at all lets nobody in, whatever the time', () => {
    const { rate, clock } = limited(0);
    clock.nowMs += 1_000_000;
    expect(rate.enter()).toBe(false);
    expect(rate.retryAfterSeconds).toBe(60);
    rate.limit = 5;
    clock.nowMs += 1_000;
    expect(enter(rate, 100)).toBe(5);
  });

  test('who comes again when it was told to is let in', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5_000 }), fc.nat(2_000), (limit, pauseMs) => {
        const { rate, clock } = limited(limit);
        enter(rate, limit);
        clock.nowMs += pauseMs;
        while (rate.enter());
        expect(rate.retryAfterSeconds).toBeGreaterThanOrEqual(1);
        clock.nowMs += rate.retryAfterSeconds * 1_000;
        expect(rate.enter()).toBe(true);
      }),
    );
  });

  test("in no span of time do more enter than a second's worth and what the limit allows in it", () => {
    const steps = fc.array(fc.record({ afterMs: fc.nat(700), come: fc.nat(40) }), { maxLength: 60 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), steps, (limit, comings) => {
        const { rate, clock } = limited(limit);
        const entered: { atMs: number; count: number }[] = [];
        for (const { afterMs, come } of comings) {
          clock.nowMs += afterMs;
          entered.push({ atMs: clock.nowMs, count: enter(rate, come) });
        }
        for (const [from, { atMs }] of entered.entries()) {
          let sum = 0;
          for (const step of entered.slice(from)) {
            sum += step.count;
            // A hundredth for what is lost in sums of fractions.
            expect(sum).toBeLessThanOrEqual(limit + ((step.atMs - atMs) * limit) / 1_000 + 0.01);
          }
        }
      }),
    );
  });

  test('what is refused names the tenant, the limit and when to come again', () => {
    const { rate } = limited(2);
    enter(rate, 2);
    expect(rate.refusal().toRecord()).toMatchObject({
      code: 'LimitReached',
      message: 'The tenant acme sends more requests than its limit of 2 per second.',
    });
    expect(rate.lambdaRefusal()).toMatchObject({
      type: 'TooManyRequestsException',
      message: 'Rate Exceeded. The tenant acme sends more requests than its limit of 2 per second.',
      members: { Reason: 'CallerRateLimitExceeded', retryAfterSeconds: '1' },
    });
  });

  test('those let in are counted for each second', () => {
    const { rate } = limited(3);
    enter(rate, 10);
    expect(rate.perSecond).toBe(0);
    rate.countSecond();
    expect(rate.perSecond).toBe(3);
    rate.countSecond();
    expect(rate.perSecond).toBe(0);
  });
});

test('one tenant that sends too much takes nothing from another, and a tenant that is gone is forgotten', () => {
  const rates = new RequestRates(() => 0);
  const change = (id: string, requestLimit: number | null): void =>
    rates.onChange({
      change: 'tenant',
      tenant: {
        id: id as TenantId,
        accountId: '',
        accessKeyId: '',
        secretAccessKey: '',
        connectionLimit: null,
        concurrencyLimit: null,
        bandwidthLimit: null,
        requestLimit,
      },
    });
  change('acme', 5);
  change('globex', 5);
  expect(enter(rates.of(acme), 1_000)).toBe(5);
  expect(enter(rates.of('globex' as TenantId), 5)).toBe(5);
  rates.countSecond();
  expect(rates.of(acme).perSecond).toBe(5);
  rates.onChange({ change: 'tenantGone', id: acme });
  expect(rates.of(acme).limit).toBeNull();
});

describe('several gateways', () => {
  test('what one lets in the others have less of, and what was one too many is paid back before anybody enters', () => {
    const { rate: here, clock } = limited(10);
    const there = new RequestRate(acme, clock.read);
    there.limit = 10;
    expect(enter(here, 8) + enter(there, 8)).toBe(16);
    here.cameElsewhere(there.takeUntold());
    there.cameElsewhere(8);
    expect(enter(here, 1) + enter(there, 1)).toBe(0);
    expect(here.retryAfterSeconds).toBe(1);
    clock.nowMs += 600;
    expect(enter(here, 1) + enter(there, 1)).toBe(0);
    clock.nowMs += 100;
    expect(enter(here, 5)).toBe(1);
  });

  test('whatever comes to which of them when, together they let in no more than the limit and what comes between two words', () => {
    const calls = fc.array(
      fc.record({
        pauseMs: fc.integer({ min: 0, max: 400 }),
        at: fc.integer({ min: 0, max: 2 }),
        times: fc.integer({ min: 1, max: 60 }),
      }),
      { minLength: 1, maxLength: 60 },
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), calls, (limit, steps) => {
        const clock = new Clock();
        const beganMs = clock.nowMs;
        const all = [0, 1, 2].map(() => {
          const rate = new RequestRate(acme, clock.read);
          rate.limit = limit;
          return rate;
        });
        let entered = 0;
        let wordMs = clock.nowMs;
        const exchange = (): void => {
          const untold = all.map((rate) => rate.takeUntold());
          const sum = untold.reduce((a, b) => a + b, 0);
          for (const [index, rate] of all.entries()) rate.cameElsewhere(sum - untold[index]!);
          wordMs = clock.nowMs;
        };
        for (const { pauseMs, at, times } of steps) {
          clock.nowMs += pauseMs;
          if (clock.nowMs - wordMs >= 50) exchange();
          entered += enter(all[at]!, times);
          // A burst, the pace since the beginning, and at most a burst of each other that was not told yet.
          const fair = limit + ((clock.nowMs - beganMs) * limit) / 1000;
          expect(entered).toBeLessThanOrEqual(fair + 2 * limit + 1e-6);
          exchange();
          expect(entered).toBeLessThanOrEqual(fair + 2 * limit + 1e-6);
        }
      }),
    );
  });

  test('one alone uses what the others do not, to the last', () => {
    const { rate: here, clock } = limited(10);
    let entered = 0;
    for (let step = 0; step < 100; step += 1) {
      clock.nowMs += 100;
      here.cameElsewhere(0);
      entered += enter(here, 3);
    }
    // All of ten seconds, and the burst that it began with.
    expect(entered).toBeGreaterThanOrEqual(109);
  });
});
