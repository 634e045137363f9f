import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mib } from '../../base/quantity.ts';
import {
  headroomBytes,
  judgeShrink,
  planSteps,
  type InstancePlan,
  type OwnerPlan,
  type Quantities,
} from './plan.ts';

const amount = fc.option(fc.integer({ min: 1, max: 16 }), { nil: null });
const quantities: fc.Arbitrary<Quantities> = fc.record({ memoryBytes: amount, cpuMillicores: amount });
const more = (a: number | null, b: number | null): boolean => (a ?? Infinity) > (b ?? Infinity);

/** A tenant and its instances as v1 allows them to stand: no instance above its tenant's CPU. */
const family = fc
  .record({
    enforced: quantities,
    wanted: quantities,
    instances: fc.array(fc.record({ enforced: quantities, wanted: quantities }), { maxLength: 4 }),
  })
  .map(({ enforced, wanted, instances }) => {
    const tenant: OwnerPlan = { key: 'tenant', enforced, wanted };
    const plans = instances.map((instance, index): InstancePlan => {
      const above = more(instance.enforced.cpuMillicores, enforced.cpuMillicores);
      const cpuMillicores = above ? enforced.cpuMillicores : instance.enforced.cpuMillicores;
      return {
        key: `i${index}`,
        enforced: { ...instance.enforced, cpuMillicores },
        wanted: instance.wanted,
        tenantCpuMillicores: wanted.cpuMillicores,
      };
    });
    return { tenant, plans };
  });

test('M-E1: no step ever puts an instance above its tenant in CPU, and all of them lead to what was wanted', () => {
  fc.assert(
    fc.property(family, ({ tenant, plans }) => {
      const state = new Map([tenant, ...plans].map((owner) => [owner.key, { ...owner.enforced }]));
      for (const step of planSteps([tenant], plans).flat()) {
        state.set(step.key, { ...(state.get(step.key) ?? tenant.enforced), ...step.limits });
        for (const plan of plans) {
          expect(
            more(state.get(plan.key)?.cpuMillicores ?? null, state.get('tenant')?.cpuMillicores ?? null),
          ).toBe(false);
        }
      }
      expect(state.get('tenant')).toEqual(tenant.wanted);
      for (const plan of plans) {
        const above = more(plan.wanted.cpuMillicores, tenant.wanted.cpuMillicores);
        const cpuMillicores = above ? tenant.wanted.cpuMillicores : plan.wanted.cpuMillicores;
        expect(state.get(plan.key)).toEqual({ ...plan.wanted, cpuMillicores });
      }
    }),
  );
});

test('nothing is written when nothing changes', () => {
  fc.assert(
    fc.property(quantities, (enforced) => {
      expect(planSteps([{ key: 'tenant', enforced, wanted: enforced }], []).flat()).toEqual([]);
    }),
  );
});

test('a shrink is refused in words that name use, headroom and what was asked', () => {
  const usage = { memoryBytes: 230 * mib, workingSetBytes: 212 * mib };
  expect(judgeShrink(usage, 128 * mib)).toEqual({
    safe: false,
    reason: 'uses 212 MiB (working set) and needs 8.0 MiB of headroom; 128 MiB was asked',
  });
});

test('cache above the limit does not make a shrink unsafe: it is dropped', () => {
  const usage = { memoryBytes: 300 * mib, workingSetBytes: 60 * mib };
  expect(judgeShrink(usage, 128 * mib)).toEqual({ safe: true, cacheInTheWay: true });
  expect(judgeShrink({ ...usage, memoryBytes: 70 * mib }, 128 * mib)).toEqual({
    safe: true,
    cacheInTheWay: false,
  });
});

test('a safe shrink always leaves at least 8 MiB', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 34 }),
      fc.integer({ min: 0, max: 2 ** 34 }),
      (used, wanted) => {
        if (judgeShrink({ memoryBytes: used, workingSetBytes: used }, wanted).safe) {
          expect(wanted - used).toBeGreaterThanOrEqual(8 * mib);
          expect(wanted - used).toBeGreaterThanOrEqual(headroomBytes(wanted));
        }
      },
    ),
  );
});
