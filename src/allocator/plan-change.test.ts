import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { InstanceId, TenantId, WorkloadKey } from '../base/ids.ts';
import { gib, mib, parseBytes } from '../base/quantity.ts';
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
import type { InstanceState, PlanInput, ResourceLimits, TenantState } from './plan-input.ts';

const vector = (memory: number, cpu = 1_000): Resources =>
  ({ memory, cpu, storage: 512 * mib, bandwidth: 125_000_000 }) as Resources;
const limits = (memory: number | null, cpu: number | null = null): ResourceLimits =>
  ({ memory, cpu, storage: null, bandwidth: null }) as ResourceLimits;
const oversubscription = { memory: 1, cpu: 4, storage: 4, bandwidth: 20 };
const capacity: Resources = { ...vector(8 * gib, 4_000), storage: parseBytes('100GiB') };

const tenant = (name: string, now: ResourceLimits, wanted = now): TenantState => ({
  tenant: name as TenantId,
  weight: 1,
  limits: now,
  wantedLimits: wanted,
});
const running = (id: string, workload: string, grant: Resources, wanted = grant): InstanceState => ({
  id: id as InstanceId,
  workload: workload as WorkloadKey,
  tenant: workload.split('/')[0] as TenantId,
  grant,
  request: grant,
  wanted,
  inUse: {},
});
const plan = (tenants: TenantState[], instances: InstanceState[], change: Partial<PlanInput> = {}) =>
  planChange({ capacity, oversubscription, tenants, instances, ...change });
const brief = (step: Step): unknown[] => [
  step.owner === 'tenant' ? step.tenant : step.instance,
  step.resource,
  step.before === null ? null : step.before / mib,
  step.after === null ? null : step.after / mib,
];

describe('planning a change', () => {
  test('nothing wanted: nothing to do', () => {
    const result = plan([tenant('acme', limits(gib))], [running('i-1', 'acme/chat', vector(128 * mib))]);
    expect(result).toMatchObject({ status: 'applied', reason: '', tenants: [], instances: [], steps: [] });
  });

  test('M-A3: a resize up and one down', () => {
    const up = plan(
      [tenant('acme', limits(gib))],
      [running('i-1', 'acme/chat', vector(128 * mib), vector(256 * mib))],
    );
    expect(up.status).toBe('applied');
    expect(up.steps.map(brief)).toEqual([['i-1', 'memory', 128, 256]]);
    expect(up.grants.get('i-1' as InstanceId)).toEqual(vector(256 * mib));
    const down = plan(
      [tenant('acme', limits(gib))],
      [running('i-1', 'acme/chat', vector(256 * mib), vector(128 * mib, 500))],
    );
    expect(down.steps.map(({ resource, before, after }) => [resource, before, after])).toEqual([
      ['memory', 256 * mib, 128 * mib],
      ['cpu', 1_000, 500],
    ]);
    expect(down.instances[0]?.changes[0]).toEqual({
      resource: 'memory',
      before: 256 * mib,
      after: 128 * mib,
      wanted: 128 * mib,
      status: 'applied',
      reason: '',
      durationMs: 0,
    });
  });

  test('M-C2: a lower limit caps the grants, first the instances and then the tenant', () => {
    const result = plan(
      [tenant('acme', limits(null), limits(200 * mib))],
      [running('i-1', 'acme/chat', vector(256 * mib)), running('i-2', 'acme/api', vector(64 * mib))],
    );
    expect(result.status).toBe('applied');
    expect(result.steps.map(brief)).toEqual([
      ['i-1', 'memory', 256, 136],
      ['acme', 'memory', null, 200],
    ]);
  });

  test('M-C2: a higher limit gives back what was asked for, first the tenant and then its instances', () => {
    const capped = {
      ...running('i-1', 'acme/chat', vector(100 * mib)),
      request: vector(256 * mib),
      wanted: vector(256 * mib),
    };
    const result = plan([tenant('acme', limits(100 * mib), limits(gib))], [capped]);
    expect(result.status).toBe('applied');
    expect(result.steps.map(brief)).toEqual([
      ['acme', 'memory', 100, 1024],
      ['i-1', 'memory', 100, 256],
    ]);
  });

  test('a resize that fits the limit, but not beside the others, is granted in part and deferred, with the reason', () => {
    const result = plan(
      [tenant('acme', limits(300 * mib))],
      [
        running('i-1', 'acme/chat', vector(128 * mib), vector(256 * mib)),
        running('i-2', 'acme/api', vector(128 * mib)),
      ],
    );
    expect(result.status).toBe('deferred');
    expect(result.reason).toBe(
      "Granted 172MiB of memory for now: tenant acme's limit of 300MiB is shared by 2 instances.",
    );
    expect(result.steps.map(brief)).toEqual([['i-1', 'memory', 128, 172]]);
  });

  test('the same when the unit is too small for all', () => {
    const result = plan(
      [tenant('acme', limits(null)), tenant('globex', limits(null))],
      [running('i-1', 'acme/a', vector(gib), vector(6 * gib)), running('i-2', 'globex/b', vector(5 * gib))],
    );
    expect(result).toMatchObject({
      status: 'deferred',
      reason: expect.stringContaining("the unit's 8GiB is shared by 2 instances"),
    });
    expect(result.steps.map(brief)).toEqual([
      ['i-2', 'memory', 5 * 1024, 4 * 1024],
      ['i-1', 'memory', 1024, 4 * 1024],
    ]);
  });

  test('what is in use is taken last', () => {
    const busy = { ...running('i-1', 'acme/a', vector(200 * mib)), inUse: { memory: parseBytes('150MiB') } };
    const result = plan(
      [tenant('acme', limits(null), limits(200 * mib))],
      [busy, running('i-2', 'acme/b', vector(200 * mib))],
    );
    expect(result.steps.slice(0, 2).map(brief)).toEqual([
      ['i-1', 'memory', 200, 150],
      ['i-2', 'memory', 200, 50],
    ]);
  });

  test('M-C2: where room is short what idles lends to what works, and is promised what it lends', () => {
    const scarce = { ...capacity, memory: parseBytes('512MiB') };
    const instances = [
      running('i-1', 'acme/a', vector(256 * mib), vector(256 * mib)),
      running('i-2', 'globex/b', vector(256 * mib), vector(400 * mib)),
    ];
    const demandOf = ({ id }: InstanceState): PartialResources => ({
      memory: parseBytes(id === 'i-1' ? '60MiB' : '400MiB'),
    });
    const tenants = [tenant('acme', limits(null)), tenant('globex', limits(null))];
    const result = plan(tenants, instances, { capacity: scarce, demandOf });
    expect(result.steps.map(brief)).toEqual([
      ['i-1', 'memory', 256, 112],
      ['i-2', 'memory', 256, 400],
    ]);
    expect([...result.promised]).toEqual([['i-1', 256 * mib]]);
    const roomy = plan(tenants, instances, { demandOf: () => expect.fail('nothing is short') });
    expect(roomy.steps.map(brief)).toEqual([['i-2', 'memory', 256, 400]]);
    expect(roomy.promised.size).toBe(0);
  });

  test('who has lent before is first at what others do not demand', () => {
    const scarce = { ...capacity, memory: parseBytes('600MiB') };
    const instances = ['acme', 'globex', 'initech'].map((name) =>
      running(name, `${name}/a`, vector(400 * mib)),
    );
    const demandOf = ({ tenant: owner }: InstanceState): PartialResources => ({
      memory: parseBytes(owner === 'initech' ? '50MiB' : '400MiB'),
    });
    const balances = new Map([
      ['acme' as TenantId, -1e12],
      ['globex' as TenantId, 1e12],
    ]);
    const tenants = ['acme', 'globex', 'initech'].map((name) => tenant(name, limits(null)));
    const { grants } = plan(tenants, instances, { capacity: scarce, demandOf, balances });
    expect([...grants].map(([id, { memory }]) => [id, memory / mib])).toEqual([
      ['acme', 200],
      ['globex', 350],
      ['initech', 50],
    ]);
  });

  test('an instance that is about to start takes its share, and others make room before', () => {
    const starting: InstanceState = {
      ...running('i-2', 'acme/b', vector(0, 0), vector(128 * mib)),
      grant: { memory: 0, cpu: 0, storage: 0, bandwidth: 0 } as Resources,
      request: null,
    };
    const result = plan(
      [tenant('acme', limits(200 * mib))],
      [running('i-1', 'acme/a', vector(128 * mib)), starting],
    );
    expect(result.status).toBe('deferred');
    expect(result.steps.filter(({ resource }) => resource === 'memory').map(brief)).toEqual([
      ['i-1', 'memory', 128, 100],
      ['i-2', 'memory', 0, 100],
    ]);
  });

  const small = vector(64 * mib);
  test.each<[string, TenantState[], InstanceState[], string]>([
    [
      'a request below what an instance needs',
      [tenant('acme', limits(null))],
      [running('i-1', 'acme/chat', small, vector(16 * mib))],
      'acme/chat can not run with 16MiB of memory: an instance needs at least 32MiB.',
    ],
    [
      'no processor time',
      [tenant('acme', limits(null))],
      [running('i-1', 'acme/chat', small, vector(64 * mib, 5))],
      'acme/chat can not run with 5m of cpu: an instance needs at least 10m.',
    ],
    [
      'a request above the unit',
      [tenant('acme', limits(null))],
      [running('i-1', 'acme/chat', small, vector(9 * gib))],
      'acme/chat can not have 9GiB of memory: the unit has 8GiB.',
    ],
    [
      'a request above the tenant’s limit',
      [tenant('acme', limits(200 * mib))],
      [running('i-1', 'acme/chat', small, vector(256 * mib))],
      "acme/chat can not have 256MiB of memory: tenant acme's limit is 200MiB. Raise the limit first, or ask for less.",
    ],
    [
      'all instances of a workload together above the limit',
      [tenant('acme', limits(200 * mib))],
      ['i-1', 'i-2'].map((id) => running(id, 'acme/chat', small, vector(128 * mib))),
      "acme/chat can not have 256MiB of memory for its 2 instances together: tenant acme's limit is 200MiB. Raise the limit first, or ask for less.",
    ],
    [
      'a limit below what its instances need at least',
      [tenant('acme', limits(null), limits(60 * mib))],
      ['i-1', 'i-2'].map((id) => running(id, 'acme/chat', small)),
      'A memory limit of 60MiB is too little for the 2 instances that tenant acme runs: each needs at least 32MiB, together 64MiB.',
    ],
    [
      'one instance more than a limit has room for',
      [tenant('acme', limits(90 * mib))],
      [
        running('i-1', 'acme/a', small),
        running('i-2', 'acme/b', small),
        { ...running('i-3', 'acme/c', small), request: null },
      ],
      "Tenant acme's memory limit of 90MiB has no room for 3 instances: each needs at least 32MiB.",
    ],
  ])('infeasible, and nothing is done: %s', (_, tenants, instances, reason) => {
    const result = plan(tenants, instances);
    expect(result).toMatchObject({ status: 'infeasible', reason, steps: [] });
    const changes = [...result.tenants, ...result.instances].flatMap((owner) => owner.changes);
    expect(changes.length).toBeGreaterThan(0);
    for (const change of changes)
      expect(change).toMatchObject({ status: 'infeasible', after: change.before });
    for (const { id, grant } of instances) expect(result.grants.get(id)).toEqual(grant);
  });

  test('a request that was above a limit before stands in nobody’s way', () => {
    const capped = {
      ...running('i-1', 'acme/chat', vector(100 * mib)),
      request: vector(256 * mib),
      wanted: vector(256 * mib),
    };
    const result = plan([tenant('acme', limits(100 * mib), limits(120 * mib))], [capped]);
    expect(result.status).toBe('applied');
    expect(result.steps.map(brief)).toEqual([
      ['acme', 'memory', 100, 120],
      ['i-1', 'memory', 100, 120],
    ]);
  });
});

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
