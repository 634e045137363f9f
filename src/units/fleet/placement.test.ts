import { describe, expect, test } from 'vitest';
import fc from 'fast-check';
import type { TenantId, UnitId } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import { place, type Candidate } from './placement.ts';
import { noResources } from '../no-resources.ts';

const size = { memory: gib, cpu: 2000, storage: gib, bandwidth: 1e8 } as Resources;
const small = { memory: 128 * mib, cpu: 500, storage: 128 * mib, bandwidth: 1e7 } as Resources;
const acme = 'acme' as TenantId;
const rival = 'rival' as TenantId;

function candidate(id: string, change: Partial<Candidate> = {}): Candidate {
  return {
    id: id as UnitId,
    provisioned: size,
    granted: noResources,
    claimed: noResources,
    instances: 0,
    served: new Set(),
    ...change,
  };
}
const used = (id: string, ...served: TenantId[]): Candidate =>
  candidate(id, { served: new Set(served), instances: 1, granted: small });

describe('M-A6: which unit an instance starts in', () => {
  test('the one whose claim has to change least', () => {
    const claimed = { ...noResources, memory: gib - 128 * mib } as Resources;
    const found = place(
      { tenant: acme, grant: small },
      [candidate('a'), candidate('b', { claimed })],
      'none',
      size,
    );
    expect(found).toEqual({ is: 'found', unit: 'b' });
  });

  test('an instance has a unit to itself by default, also beside its own tenant’s', () => {
    expect(place({ tenant: acme, grant: small }, [used('a', acme)], 'none', size)).toEqual({ is: 'none' });
  });

  test('a tenant’s instances share one where that is allowed, and no other tenant’s', () => {
    const wanted = { tenant: acme, grant: small };
    expect(place(wanted, [used('a', rival), used('b', acme)], 'tenant', size)).toEqual({
      is: 'found',
      unit: 'b',
    });
    expect(place(wanted, [used('a', rival)], 'tenant', size)).toEqual({ is: 'none' });
  });

  test('a unit that another tenant has left is not passed on', () => {
    const left = candidate('a', { served: new Set([rival]) });
    expect(place({ tenant: acme, grant: small }, [left], 'none', size)).toEqual({ is: 'none' });
    expect(place({ tenant: acme, grant: small }, [left], 'tenant', size)).toEqual({ is: 'none' });
  });

  test('tenants share a unit when the operator lets them', () => {
    expect(place({ tenant: acme, grant: small }, [used('a', rival)], 'all', size)).toEqual({
      is: 'found',
      unit: 'a',
    });
  });

  test('more memory than any unit has is refused with both amounts', () => {
    const grant = { ...small, memory: 2 * gib } as Resources;
    const refused = place({ tenant: acme, grant }, [candidate('a')], 'all', size);
    expect(refused).toMatchObject({ is: 'never', reason: expect.stringMatching(/2\.0 GiB.*1\.0 GiB/) });
  });

  test('M-A7: whatever is there, no unit ever holds more memory than it has or two tenants unasked', () => {
    const tenants = fc.constantFrom(acme, rival, 'third' as TenantId);
    const start = fc.record({ tenant: tenants, memory: fc.integer({ min: 1, max: 1024 }) });
    fc.assert(
      fc.property(
        fc.array(start, { maxLength: 30 }),
        fc.constantFrom('none' as const, 'tenant' as const),
        (starts, sharing) => {
          const units = new Map<UnitId, Candidate>();
          for (const [index, { tenant, memory }] of starts.entries()) {
            const grant = { ...small, memory: memory * mib, storage: mib } as Resources;
            const found = place({ tenant, grant }, [...units.values()], sharing, size);
            const id = found.is === 'found' ? found.unit : (`u${index}` as UnitId);
            const before = units.get(id) ?? candidate(id);
            const granted = { ...grant, memory: before.granted.memory + grant.memory } as Resources;
            units.set(id, {
              ...before,
              granted,
              instances: before.instances + 1,
              served: new Set([...before.served, tenant]),
            });
          }
          for (const { granted, served, instances } of units.values()) {
            expect(granted.memory).toBeLessThanOrEqual(size.memory);
            expect(served.size).toBe(1);
            if (sharing === 'none') expect(instances).toBe(1);
          }
        },
      ),
    );
  });
});
