import { describe, expect, test } from 'vitest';
import type { InstanceId, TenantId } from '../base/ids.ts';
import { gib, mib, parseBytes } from '../base/quantity.ts';
import { type PartialResources, type Resources } from '../model/resources.ts';
import { brief, capacity, limits, plan, running, tenant, vector } from './testing/plan-states.ts';
import type { InstanceState, TenantState } from './plan-input.ts';

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

  test('the reason of a share that is no whole page says what the kernel is told', () => {
    const result = plan(
      [tenant('acme', limits(gib))],
      [
        running('i-1', 'acme/chat', vector(64 * mib), vector(gib)),
        ...['i-2', 'i-3'].map((id) => running(id, 'acme/api', vector(gib))),
      ],
    );
    expect(result.reason).toMatch(/^Granted 349524KiB of memory for now/);
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
