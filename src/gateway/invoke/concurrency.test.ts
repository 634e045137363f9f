import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TenantId } from '../../base/ids.ts';
import { FunctionConcurrency, TenantConcurrency } from './concurrency.ts';

const full = 'ConcurrentInvocationLimitExceeded';

function tenantWith(limit: number | null, ...reserved: (number | null)[]) {
  const tenant = new TenantConcurrency('acme' as TenantId);
  tenant.limit = limit;
  const functions = reserved.map((each) => {
    const one = new FunctionConcurrency(tenant);
    one.reserved = each;
    return one;
  });
  return { tenant, functions };
}

describe("a tenant's concurrency", () => {
  test('is one limit for all its functions together', () => {
    const { tenant, functions } = tenantWith(3, null, null);
    const [a, b] = functions;
    expect([a?.enter(), b?.enter(), a?.enter(), b?.enter()]).toEqual([undefined, undefined, undefined, full]);
    expect(tenant.active).toBe(3);
    a?.leave();
    expect(b?.enter()).toBeUndefined();
  });

  test("is what reserved concurrency is taken from, and a function's reservation is its own limit", () => {
    const [a, b] = tenantWith(4, 3, null).functions;
    expect(b?.enter()).toBeUndefined();
    expect(b?.enter()).toBe(full);
    expect([a?.enter(), a?.enter(), a?.enter()]).toEqual([undefined, undefined, undefined]);
    expect(a?.enter()).toBe(full);
    const [alone] = tenantWith(4, 1).functions;
    alone?.enter();
    expect(alone?.enter()).toBe('ReservedFunctionConcurrentInvocationLimitExceeded');
  });

  test('holds for reservations too, when it was lowered below what they are together', () => {
    const { tenant, functions } = tenantWith(10, 4, 4);
    const [a, b] = functions;
    for (let n = 0; n < 3; n += 1) a?.enter();
    tenant.limit = 4;
    expect(b?.enter()).toBeUndefined();
    expect(b?.enter()).toBe(full);
    expect(tenant.active).toBe(4);
  });

  test('lowered, ends nothing that runs, and lets nothing begin until less runs', () => {
    const { tenant, functions } = tenantWith(null, null);
    const [a] = functions;
    for (let n = 0; n < 5; n += 1) a?.enter();
    tenant.limit = 2;
    expect(tenant.active).toBe(5);
    expect(a?.enter()).toBe(full);
    for (let n = 0; n < 4; n += 1) a?.leave();
    expect(a?.enter()).toBeUndefined();
    tenant.limit = 3;
    expect(a?.enter()).toBeUndefined();
  });

  test('a refusal names whose limit it was, and the limit', () => {
    const [a] = tenantWith(1, null).functions;
    a?.enter();
    expect(a?.throttled(full).message).toBe(
      'Rate Exceeded. The tenant acme runs 1 invocations, and its limit is 1.',
    );
    const [b] = tenantWith(7, 5, null).functions.toReversed();
    expect(b?.throttled(full).message).toBe(
      'Rate Exceeded. The tenant acme runs 0 invocations, and its limit is 7, of which 5 are reserved.',
    );
    const [c] = tenantWith(null, 2).functions;
    expect(c?.throttled('ReservedFunctionConcurrentInvocationLimitExceeded').message).toContain(
      'reserved concurrency is 2',
    );
  });

  test('adds up whatever begins, ends, is reserved, limited or removed', () => {
    const step = fc.record({
      what: fc.constantFrom('enter', 'leave', 'reserve', 'limit', 'remove'),
      which: fc.nat(2),
      amount: fc.nat(6),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const { tenant, functions } = tenantWith(null, null, null, null);
        const runs = [0, 0, 0];
        for (const { what, which, amount } of steps) {
          const one = functions[which];
          if (one === undefined) throw new Error('there are three');
          if (what === 'enter') {
            const before = tenant.active;
            if (one.enter() === undefined) {
              runs[which]! += 1;
              expect(before).toBeLessThan(tenant.limit ?? 1_000);
            }
          } else if (what === 'leave' && runs[which]! > 0) {
            one.leave();
            runs[which]! -= 1;
          } else if (what === 'reserve') one.reserved = amount === 0 ? null : amount;
          else if (what === 'limit') tenant.limit = amount;
          else if (what === 'remove' && runs[which] === 0) {
            one.close();
            functions[which] = new FunctionConcurrency(tenant);
          }
          expect(tenant.active).toBe(runs[0]! + runs[1]! + runs[2]!);
        }
      }),
    );
  });
});

test('other gateways are to hear soon of what came and went where there is a limit, and else only now and then', () => {
  let counted = 0;
  const tenant = new TenantConcurrency('acme' as TenantId, () => (counted += 1));
  const part = new FunctionConcurrency(tenant);
  part.enter();
  part.leave();
  expect(counted).toBe(0);
  tenant.limit = 2;
  part.enter();
  expect(counted).toBe(1);
  part.leave();
  expect(counted).toBe(2);
});
