// What every plan of a change keeps, whatever the state before and the wishes.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TenantId } from '../base/ids.ts';
import { gib, mib } from '../base/quantity.ts';
import {
  resourceKinds,
  type PartialResources,
  type ResourceKind,
  type Resources,
} from '../model/resources.ts';
import { minInstanceMemory } from '../model/workload.ts';
import { minimumOf } from './feasibility.ts';
import { divide } from './grants.ts';
import { planChange, type Step } from './plan-change.ts';
import { capacity, limits, oversubscription, plan, running, tenant, vector } from './testing/plan-states.ts';
import type { InstanceState, PlanInput } from './plan-input.ts';

describe('properties of plans', () => {
  const memory = (maxMib: number): fc.Arbitrary<number> =>
    fc.integer({ min: 32, max: maxMib }).map((n) => n * mib);
  const cpu = (max: number): fc.Arbitrary<number> => fc.integer({ min: 10, max });
  const resources = fc.tuple(memory(400), cpu(2_000)).map(([bytes, millicores]) => vector(bytes, millicores));
  /** Mostly feasible, so that plans are looked at more than refusals: nine inputs in ten are. */
  const someLimits = fc
    .tuple(fc.option(memory(2_000), { freq: 2 }), fc.option(cpu(8_000), { freq: 2 }))
    .map(([bytes, millicores]) => limits(bytes, millicores));
  const seldom = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null> =>
    fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: value });

  /** A state as an earlier plan left it, and wishes to change it. */
  const inputs: fc.Arbitrary<PlanInput> = fc
    .array(
      fc.record({
        now: someLimits,
        wanted: someLimits,
        weight: fc.integer({ min: 1, max: 5 }),
        instances: fc.array(fc.record({ now: resources, wanted: seldom(resources) }), { maxLength: 3 }),
      }),
      { minLength: 1, maxLength: 4 },
    )
    .map((specs) => {
      const tenants = specs.map(({ now, wanted, weight }, t) => ({
        ...tenant(`t${t}`, now, wanted),
        weight,
      }));
      const instances = specs.flatMap((spec, t) =>
        spec.instances.map(({ now, wanted }, i): InstanceState => ({
          ...running(`i-${t}-${i}`, `t${t}/w${i}`, now),
          wanted: wanted ?? now,
        })),
      );
      const base: PlanInput = { capacity: vector(gib, 2_000), oversubscription, tenants, instances };
      const settled = planChange({
        ...base,
        tenants: tenants.map((state) => ({ ...state, wantedLimits: state.limits })),
        instances: instances.map((instance) => ({
          ...instance,
          wanted: instance.request ?? instance.wanted,
        })),
      });
      return {
        ...base,
        instances: instances.map((instance) => ({
          ...instance,
          grant: settled.grants.get(instance.id) ?? instance.grant,
        })),
      };
    });

  const runs = { numRuns: 2_000 };

  /** Takes the steps one by one and looks at everything after each. */
  function walk(
    input: PlanInput,
    steps: readonly Step[],
    look: (grants: Map<string, number>, limitsNow: Map<string, number | null>) => void,
  ): void {
    const grants = new Map<string, number>();
    const limitsNow = new Map<string, number | null>();
    for (const resource of resourceKinds) {
      for (const { id, grant } of input.instances) grants.set(`${id} ${resource}`, grant[resource]);
      for (const state of input.tenants) limitsNow.set(`${state.tenant} ${resource}`, state.limits[resource]);
    }
    for (const step of steps) {
      if (step.owner === 'tenant') limitsNow.set(`${step.tenant} ${step.resource}`, step.after);
      else grants.set(`${step.instance} ${step.resource}`, step.after);
      look(grants, limitsNow);
    }
  }

  const sumFor = (
    grants: Map<string, number>,
    instances: readonly InstanceState[],
    resource: ResourceKind,
  ): number =>
    instances.reduce((total, { id }) => total + (grants.get(`${id} ${resource}`) ?? Number.NaN), 0);

  test('after every single step each tenant’s grants are within its limit and all are within what was or will be', () => {
    fc.assert(
      fc.property(inputs, (input) => {
        const result = planChange(input);
        const limitsAtStart = input.tenants.every(({ tenant: id, limits: now }) =>
          resourceKinds.every((resource) => {
            const own = input.instances.filter((instance) => instance.tenant === id);
            return (
              own.reduce((total, { grant }) => total + grant[resource], 0) <= (now[resource] ?? Infinity)
            );
          }),
        );
        expect(limitsAtStart).toBe(true);
        const before = (resource: ResourceKind): number =>
          input.instances.reduce((total, { grant }) => total + grant[resource], 0);
        const after = (resource: ResourceKind): number =>
          [...result.grants.values()].reduce((total, grant) => total + grant[resource], 0);
        walk(input, result.steps, (grants, limitsNow) => {
          for (const resource of resourceKinds) {
            expect(sumFor(grants, input.instances, resource)).toBeLessThanOrEqual(
              Math.max(before(resource), after(resource)),
            );
            for (const { tenant: id } of input.tenants) {
              const own = input.instances.filter((instance) => instance.tenant === id);
              expect(sumFor(grants, own, resource)).toBeLessThanOrEqual(
                limitsNow.get(`${id} ${resource}`) ?? Infinity,
              );
            }
          }
        });
      }),
      runs,
    );
  });

  test('the steps lead to what the plan says: wanted limits, and grants between the minimum and what was asked for', () => {
    fc.assert(
      fc.property(inputs, (input) => {
        const result = planChange(input);
        fc.pre(result.status !== 'infeasible');
        let last: Map<string, number> | undefined;
        walk(input, result.steps, (grants) => (last = grants));
        for (const { id, wanted, grant } of input.instances) {
          const granted = result.grants.get(id);
          for (const resource of resourceKinds) {
            expect(last?.get(`${id} ${resource}`) ?? grant[resource]).toBe(granted?.[resource]);
            expect(granted?.[resource]).toBeLessThanOrEqual(wanted[resource]);
          }
        }
        for (const step of result.steps) expect(step.before).not.toBe(step.after);
      }),
      runs,
    );
  });

  test('planning again after the change finds nothing to do', () => {
    fc.assert(
      fc.property(inputs, (input) => {
        const result = planChange(input);
        fc.pre(result.status !== 'infeasible');
        const done = planChange({
          ...input,
          tenants: input.tenants.map((state) => ({ ...state, limits: state.wantedLimits })),
          instances: input.instances.map((instance) => ({
            ...instance,
            grant: result.grants.get(instance.id) ?? instance.grant,
            request: instance.wanted,
          })),
        });
        expect(done).toMatchObject({ status: 'applied', steps: [], tenants: [], instances: [] });
      }),
      runs,
    );
  });

  test('no instance is granted less memory than it needs, when its tenant and the unit have room for the minimum', () => {
    fc.assert(
      fc.property(inputs, (input) => {
        const result = planChange(input);
        fc.pre(result.status !== 'infeasible' && input.instances.length * minInstanceMemory <= gib);
        const fits = (id: TenantId): boolean => {
          const limit = input.tenants.find((state) => state.tenant === id)?.wantedLimits.memory ?? Infinity;
          return (
            input.instances.filter((instance) => instance.tenant === id).length * minInstanceMemory <= limit
          );
        };
        for (const { id, tenant: owner } of input.instances) {
          if (fits(owner)) expect(result.grants.get(id)?.memory).toBeGreaterThanOrEqual(minInstanceMemory);
        }
      }),
      runs,
    );
  });

  test('what is planned is what `divide` gives, for every resource', () => {
    const quantity = fc.nat(400).map((value) => value * mib);
    const many = fc.array(
      fc.record({
        tenant: fc.nat(3),
        memory: fc.integer({ min: 32, max: 400 }),
        used: quantity,
        demand: fc.option(quantity, { nil: undefined }),
      }),
      { maxLength: 15 },
    );
    fc.assert(
      fc.property(
        many,
        fc.array(fc.option(quantity), { minLength: 4, maxLength: 4 }),
        quantity,
        (list, caps, extra) => {
          const tenants = caps.map((cap, at) => tenant(`t${at}`, limits(cap)));
          const instances = list.map(({ tenant: at, memory, used }, index) => ({
            ...running(`i-${index}`, `t${at}/w${index}`, vector(memory * mib)),
            inUse: { memory: used as Resources['memory'] },
          }));
          const scarce = { ...capacity, memory: (400 * mib + extra) as Resources['memory'] };
          const demandOf = ({ id }: Pick<InstanceState, 'id'>): PartialResources => ({
            memory: list[instances.findIndex((each) => each.id === id)]?.demand as
              Resources['memory'] | undefined,
          });
          const { grants, promised, status } = plan(tenants, instances, { capacity: scarce, demandOf });
          fc.pre(status !== 'infeasible');
          const unused = instances.map((each) => ({ ...each, inUse: {} }));
          const undemanded = plan(tenants, unused, { capacity: scarce }).grants;
          for (const { id } of instances) {
            const [now, own] = [grants.get(id)?.memory ?? 0, undemanded.get(id)?.memory ?? 0];
            expect(promised.get(id) ?? Math.min(now, own)).toBe(own > now ? own : Math.min(now, own));
          }
          for (const resource of resourceKinds) {
            const claims = tenants.map((state) => ({
              ...state,
              limit: state.limits[resource],
              instances: instances
                .filter((each) => each.tenant === state.tenant)
                .map(({ id, wanted, inUse }) => ({
                  id,
                  request: wanted[resource],
                  demand: demandOf({ id })[resource] ?? wanted[resource],
                  floor: Math.max(minimumOf[resource], resource === 'memory' ? inUse.memory : 0),
                })),
            }));
            const divided = divide(scarce[resource], oversubscription[resource], claims).instances;
            for (const { id } of instances) expect(grants.get(id)?.[resource]).toBe(divided.get(id));
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
