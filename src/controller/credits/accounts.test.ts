import { beforeEach, describe, expect, test } from 'vitest';
import { systemClock, type Clock } from '../../base/clock.ts';
import type { TenantId } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import { unlimited, type Tenant } from '../../model/tenant.ts';
import { createLogger } from '../../sys/log.ts';
import type { Entry, Store } from '../../store/port.ts';
import type { Tracked } from '../state/actual.ts';
import { Accounts } from './accounts.ts';

const [lender, borrower] = ['lender', 'borrower'] as [TenantId, TenantId];
let nowMs: number;
let granted: Partial<Record<string, number>>;
let tenants: Tenant[];
const kept = new Map<string, unknown>();
const clock: Clock = { ...systemClock, nowMs: () => nowMs, monotonicMs: () => nowMs };
const store = {
  get: async (key: string) =>
    kept.has(key) ? ({ key, value: structuredClone(kept.get(key)), revision: 1 } as Entry<never>) : undefined,
  put: async (key: string, value: unknown) => {
    kept.set(key, structuredClone(value));
    return 1;
  },
} as Pick<Store, 'get' | 'put'> as Store;

const accountsOf = (): Accounts =>
  new Accounts({
    store,
    desired: { tenants: () => tenants },
    actual: {
      all: () =>
        Object.entries(granted).map(
          ([tenant, memory]) =>
            ({
              spec: { tenant, grant: { memory } },
              life: { phase: 'starting', known: null },
            }) as unknown as Tracked,
        ),
    },
    grantableBytes: () => gib,
    clock,
    log: createLogger('controller', 'silent'),
  });

beforeEach(() => {
  nowMs = 1_000;
  kept.clear();
  tenants = [lender, borrower].map((id) => ({ id, weight: 1, limits: unlimited }) as Tenant);
  granted = { lender: 256 * mib, borrower: 640 * mib };
});

/** Of the same grants all along. */
function pass(accounts: Accounts, seconds: number): void {
  accounts.tick();
  for (let second = 0; second < seconds; second += 1) {
    nowMs += 1_000;
    accounts.tick();
  }
}

describe('M-E4: what tenants lend', () => {
  test('makes them be asked last for memory, as long as they hold no more than their own share', () => {
    const accounts = accountsOf();
    expect(accounts.lenders).toEqual(new Set());
    pass(accounts, 10);
    expect(accounts.lenders).toEqual(new Set([lender]));
    granted = { lender: 600 * mib, borrower: 300 * mib };
    expect(accounts.lenders).toEqual(new Set());
  });

  test('is metered as what others had of it, and is credit to the lender and debt to the borrower', () => {
    const accounts = accountsOf();
    pass(accounts, 10);
    expect(accounts.of(lender)).toEqual({
      own: 2_560 * mib,
      borrowed: 0,
      lent: 1_280 * mib,
      unused: 1_280 * mib,
      credit: 1_280 * mib,
    });
    expect(accounts.of(borrower)).toEqual({
      own: 5_120 * mib,
      borrowed: 1_280 * mib,
      lent: 0,
      unused: 0,
      credit: -1_280 * mib,
    });
  });

  test('is known to the next controller, and a time in which nobody looked is not accounted for', async () => {
    const accounts = accountsOf();
    pass(accounts, 10);
    const before = accounts.of(lender);
    await accounts.close();
    nowMs += 3_600_000;
    const next = accountsOf();
    await next.load();
    next.tick();
    expect(next.of(lender)).toEqual(before);
    nowMs += 3_600_000;
    next.tick();
    expect(next.of(lender)).toEqual(before);
    nowMs += 1_000;
    next.tick();
    expect(next.of(lender).credit).toBe(1_408 * mib);
  });

  test('counts and is written once a minute, not at each tick', async () => {
    const accounts = accountsOf();
    pass(accounts, 59);
    expect([kept.size, accounts.balances.size]).toEqual([0, 0]);
    pass(accounts, 1);
    expect(accounts.balances.get(lender)).toBe(60 * 128 * mib);
    pass(accounts, 30);
    expect(accounts.balances.get(lender)).toBe(60 * 128 * mib);
    await Promise.resolve();
    expect(kept.size).toBe(1);
  });

  test('goes to the others when a tenant is removed: balances add up to nothing', () => {
    const third = 'third' as TenantId;
    tenants.push({ ...(tenants[0] as Tenant), id: third });
    granted = { lender: 0, borrower: 800 * mib, third: 100 * mib };
    const accounts = accountsOf();
    pass(accounts, 30);
    expect(accounts.of(third).credit).not.toBe(0);
    tenants = tenants.filter(({ id }) => id !== third);
    granted = {};
    pass(accounts, 1);
    expect(accounts.of(lender).credit + accounts.of(borrower).credit).toBe(0);
  });

  test('what the store has that can not be read counts as nothing', async () => {
    kept.set('meta/accounts', { accounts: 'damaged' });
    const accounts = accountsOf();
    await accounts.load();
    expect(accounts.balances.size).toBe(0);
  });
});
