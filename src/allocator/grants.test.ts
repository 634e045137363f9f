import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { InstanceId, TenantId } from '../base/ids.ts';
import { divide, type TenantClaim } from './grants.ts';

const runs = { numRuns: 2_000 };
const amount = fc.oneof(fc.nat(64), fc.nat(2 ** 31 - 1));

const tenantClaims: fc.Arbitrary<TenantClaim[]> = fc
  .array(
    fc.record({
      limit: fc.option(amount),
      weight: fc.oneof(fc.constant(1), fc.double({ min: 0.1, max: 100, noNaN: true })),
      instances: fc.array(fc.record({ request: amount, floor: fc.nat(32) }), { maxLength: 6 }),
    }),
    { maxLength: 6 },
  )
  .map((tenants) =>
    tenants.map(({ limit, weight, instances }, t) => ({
      tenant: `t${t}` as TenantId,
      limit,
      weight,
      instances: instances.map((own, i) => ({ ...own, id: `i-${t}-${i}` as InstanceId })),
    })),
  );

const sum = (amounts: Iterable<number>): number => [...amounts].reduce((total, value) => total + value, 0);
const sumOf = (grants: ReadonlyMap<InstanceId, number>, tenant: TenantClaim): number =>
  sum(tenant.instances.map(({ id }) => grants.get(id) ?? Number.NaN));

describe('grants', () => {
  const acme = (
    instances: TenantClaim['instances'],
    limit: number | null = null,
    weight = 1,
  ): TenantClaim => ({
    tenant: 'acme' as TenantId,
    limit,
    weight,
    instances,
  });
  const one = (id: string, request: number, floor = 0): TenantClaim['instances'][number] => ({
    id: id as InstanceId,
    request,
    floor,
  });

  test('M-C2: a tenant’s limit binds the sum of its instances, and what it may not have goes to the others', () => {
    const globex: TenantClaim = {
      tenant: 'globex' as TenantId,
      limit: null,
      weight: 1,
      instances: [one('g', 90)],
    };
    const { tenants, instances } = divide(100, 1, [acme([one('a', 60), one('b', 60)], 40), globex]);
    expect(Object.fromEntries(instances)).toEqual({ a: 20, b: 20, g: 60 });
    expect(Object.fromEntries(tenants)).toEqual({ acme: 40, globex: 60 });
  });

  test('a tenant does not get more by running more instances', () => {
    const globex: TenantClaim = {
      tenant: 'globex' as TenantId,
      limit: null,
      weight: 1,
      instances: [one('g', 90)],
    };
    const crowd = Array.from({ length: 9 }, (_, i) => one(`a${i}`, 90));
    expect(divide(100, 1, [acme(crowd), globex]).tenants.get('acme' as TenantId)).toBe(50);
  });

  test('oversubscribed, more is granted than is there', () => {
    expect(sum(divide(100, 1.5, [acme([one('a', 90), one('b', 90)])]).instances.values())).toBe(150);
    expect(
      sum(divide(100, Number.POSITIVE_INFINITY, [acme([one('a', 90), one('b', 90)])]).instances.values()),
    ).toBe(180);
  });

  test('the sums stay within request, limit and capacity', () => {
    fc.assert(
      fc.property(
        amount,
        fc.double({ min: 1, max: 4, noNaN: true }),
        tenantClaims,
        (capacity, factor, claims) => {
          const { tenants, instances } = divide(capacity, factor, claims);
          expect(sum(instances.values())).toBeLessThanOrEqual(capacity * factor);
          for (const claim of claims) {
            const granted = sumOf(instances, claim);
            expect(granted).toBe(tenants.get(claim.tenant));
            expect(granted).toBeLessThanOrEqual(claim.limit ?? Number.POSITIVE_INFINITY);
            for (const { id, request } of claim.instances)
              expect(instances.get(id)).toBeLessThanOrEqual(request);
          }
        },
      ),
      runs,
    );
  });

  test('floors hold while limits and capacity have room for them', () => {
    fc.assert(
      fc.property(amount, tenantClaims, (capacity, claims) => {
        const floorsOf = ({ instances }: TenantClaim): number =>
          sum(instances.map(({ request, floor }) => Math.min(request, floor)));
        fc.pre(sum(claims.map((claim) => Math.min(floorsOf(claim), claim.limit ?? Infinity))) <= capacity);
        const { instances } = divide(capacity, 1, claims);
        for (const claim of claims) {
          if (floorsOf(claim) > (claim.limit ?? Number.POSITIVE_INFINITY)) continue;
          for (const { id, request, floor } of claim.instances) {
            expect(instances.get(id)).toBeGreaterThanOrEqual(Math.min(request, floor));
          }
        }
      }),
      runs,
    );
  });

  test('nobody is below its request while its tenant’s limit and the capacity leave room', () => {
    fc.assert(
      fc.property(amount, tenantClaims, (capacity, claims) => {
        const { tenants, instances } = divide(capacity, 1, claims);
        const full = sum(instances.values()) >= capacity;
        for (const claim of claims) {
          const atLimit = (tenants.get(claim.tenant) ?? 0) >= (claim.limit ?? Number.POSITIVE_INFINITY);
          if (full || atLimit) continue;
          for (const { id, request } of claim.instances) expect(instances.get(id)).toBe(request);
        }
      }),
      runs,
    );
  });

  test('the order in which tenants and instances are listed changes nothing', () => {
    fc.assert(
      fc.property(amount, tenantClaims, (capacity, claims) => {
        const turned = claims
          .toReversed()
          .map((claim) => ({ ...claim, instances: claim.instances.toReversed() }));
        const entries = (listed: TenantClaim[]): unknown =>
          Object.fromEntries(divide(capacity, 1, listed).instances);
        expect(entries(turned)).toEqual(entries(claims));
      }),
      runs,
    );
  });

  test('a tenant that raises its own limit loses nothing', () => {
    fc.assert(
      fc.property(amount, tenantClaims, amount, (capacity, claims, more) => {
        const [first, ...others] = claims;
        fc.pre(first !== undefined && first.limit !== null);
        const raised = { ...first, limit: (first.limit ?? 0) + more };
        const floors = [raised, ...others].flatMap(({ instances }) => instances.map(({ floor }) => floor));
        fc.pre(
          sum(floors) <= capacity && sum(first.instances.map(({ floor }) => floor)) <= (first.limit ?? 0),
        );
        const before = divide(capacity, 1, claims);
        const after = divide(capacity, 1, [raised, ...others]);
        for (const { id } of first.instances) {
          expect(after.instances.get(id)).toBeGreaterThanOrEqual(before.instances.get(id) ?? Number.NaN);
        }
      }),
      runs,
    );
  });
});
