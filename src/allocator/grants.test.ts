import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { InstanceId, TenantId } from '../base/ids.ts';
import { demandedBy, divide, type TenantClaim } from './grants.ts';

const runs = { numRuns: 2_000 };
const amount = fc.oneof(fc.nat(64), fc.nat(2 ** 31 - 1));

const tenantClaims: fc.Arbitrary<TenantClaim[]> = fc
  .array(
    fc.record({
      limit: fc.option(amount),
      weight: fc.oneof(fc.constant(1), fc.double({ min: 0.1, max: 100, noNaN: true })),
      instances: fc.array(
        fc.record({ request: amount, demand: fc.option(amount, { nil: undefined }), floor: fc.nat(32) }),
        { maxLength: 6 },
      ),
    }),
    { maxLength: 6 },
  )
  .map((tenants) =>
    tenants.map(({ limit, weight, instances }, t) => ({
      tenant: `t${t}` as TenantId,
      limit,
      weight,
      instances: instances.map(({ demand, ...own }, i) => ({
        ...own,
        id: `i-${t}-${i}` as InstanceId,
        ...(demand === undefined ? {} : { demand }),
      })),
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

  describe('by demand', () => {
    const idle = (id: string, request: number, demand: number) => ({ ...one(id, request), demand });
    const globex = (instances: TenantClaim['instances'], limit: number | null = null): TenantClaim => ({
      ...acme(instances, limit),
      tenant: 'globex' as TenantId,
    });

    test('M-C2: what idles lends to what works, and has the rest of its share that nobody demands', () => {
      const divided = divide(100, 1, [acme([idle('a', 80, 10)]), globex([idle('g', 80, 70)])]);
      expect(Object.fromEntries(divided.instances)).toEqual({ a: 30, g: 70 });
    });

    test('within one tenant’s limit its own instances lend to each other', () => {
      const divided = divide(1_000, 1, [acme([idle('a', 80, 10), idle('b', 80, 80)], 100)]);
      expect(Object.fromEntries(divided.instances)).toEqual({ a: 20, b: 80 });
    });

    test('demanded beyond what is there, it is shared as if all of it were asked for', () => {
      const divided = divide(100, 1, [acme([idle('a', 90, 80)]), globex([idle('g', 90, 80)])]);
      expect(Object.fromEntries(divided.instances)).toEqual({ a: 50, g: 50 });
    });

    test('nothing changes while there is room: everybody has what it asks for, whatever it demands', () => {
      fc.assert(
        fc.property(tenantClaims, (claims) => {
          const roomy = claims.map((claim) => ({
            ...claim,
            limit: claim.limit === null ? null : claim.limit + sum(claim.instances.map((own) => own.request)),
          }));
          const all = sum(claims.flatMap(({ instances }) => instances.map(({ request }) => request)));
          const divided = divide(all, 1, roomy);
          for (const claim of claims)
            for (const { id, request } of claim.instances) expect(divided.instances.get(id)).toBe(request);
        }),
        runs,
      );
    });

    test('all that is demanded is met before anybody has more than it demands', () => {
      fc.assert(
        fc.property(amount, tenantClaims, (capacity, claims) => {
          const { instances } = divide(capacity, 1, claims);
          const demanded = (claim: TenantClaim): number =>
            Math.min(
              sum(claim.instances.map((own) => demandedBy(own))),
              claim.limit ?? Number.POSITIVE_INFINITY,
            );
          const fits = sum(claims.map(demanded)) <= capacity;
          for (const claim of claims) {
            const isMet = claim.instances.map((own) => (instances.get(own.id) ?? 0) >= demandedBy(own));
            const withinLimit = demanded(claim) < (claim.limit ?? Number.POSITIVE_INFINITY);
            if (fits && withinLimit) expect(isMet).not.toContain(false);
            // Whoever has more than it demands, though a sibling has less, has it because it needs it in any case.
            const isAnybodyShort = isMet.includes(false);
            for (const own of claim.instances)
              if (isAnybodyShort) expect(instances.get(own.id)).toBeLessThanOrEqual(demandedBy(own));
          }
        }),
        runs,
      );
    });

    test('fair: who demands more than it has, has no less per weight than any other that has more than its floor', () => {
      fc.assert(
        fc.property(amount, tenantClaims, (capacity, claims) => {
          const { tenants } = divide(capacity, 1, claims);
          const share = (claim: TenantClaim): number => tenants.get(claim.tenant) ?? 0;
          const want = (claim: TenantClaim): number =>
            Math.min(
              sum(claim.instances.map((own) => demandedBy(own))),
              claim.limit ?? Number.POSITIVE_INFINITY,
            );
          const floor = (claim: TenantClaim): number =>
            sum(claim.instances.map((own) => Math.min(own.floor, own.request)));
          for (const poor of claims.filter((claim) => share(claim) < want(claim))) {
            for (const other of claims.filter((claim) => share(claim) > floor(claim))) {
              if (other === poor) continue;
              // The next unit would have gone to the poorer one.
              expect((share(other) - 1) / other.weight).toBeLessThanOrEqual((share(poor) + 1) / poor.weight);
            }
          }
        }),
        runs,
      );
    });
  });
});
