import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TenantId, WorkloadKey } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import type { Sample } from '../measures.ts';
import {
  cpuUseDifferences,
  grantDifferences,
  limitDifferences,
  memoryUseDifferences,
  type Entry,
} from './differences.ts';

const tenant = 'acme' as TenantId;
const both = { memory: true, cpu: true };
const grant = { memory: 128 * mib, cpu: 500, storage: 512 * mib };
const entry: Entry = { tenant, workload: 'acme/chat' as WorkloadKey, grant };
const held = { memoryBytes: grant.memory, cpuMillicores: grant.cpu, storageBytes: grant.storage };

const sampleOf = (parts: object): Sample =>
  ({ atMs: 0, instances: [], tenants: [], ...parts }) as unknown as Sample;
const instance = (id: string, parts: object): object => ({ id, usage: {}, ...parts });
const known = (): Entry => entry;
const ofAcme = (): TenantId => tenant;

describe('M-E2: what instances were granted, against what the kernel holds them to', () => {
  const differ = (limits: object, holds = both) =>
    grantDifferences(sampleOf({ instances: [instance('i-1', { limits })] }), known, holds).map(
      ({ resource, ledger, kernel }) => [resource, ledger, kernel],
    );

  test('the same is no difference, also as the kernel rounds it', () => {
    expect(differ(held)).toEqual([]);
    expect(differ({ ...held, memoryBytes: held.memoryBytes - 4096, cpuMillicores: 505 })).toEqual([]);
  });

  test.each([
    ['memory', { memoryBytes: 64 * mib }, 64 * mib],
    ['memory', { memoryBytes: null }, null],
    ['cpu', { cpuMillicores: 1_000 }, 1_000],
    ['cpu', { cpuMillicores: null }, null],
    ['storage', { storageBytes: gib }, gib],
  ] as const)('%s: another limit, or none, is a difference', (resource, other, kernel) => {
    expect(differ({ ...held, ...other })).toEqual([[resource, grant[resource], kernel]]);
  });

  test('what the kernel can not hold at all, or nobody can tell, is none', () => {
    const none = { memoryBytes: null, cpuMillicores: null, storageBytes: null };
    expect(differ(none, { memory: false, cpu: false })).toEqual([]);
    expect(grantDifferences(sampleOf({ instances: [instance('i-1', {})] }), known, both)).toEqual([]);
    expect(
      grantDifferences(sampleOf({ instances: [instance('i-1', { limits: none })] }), () => undefined, both),
    ).toEqual([]);
  });
});

test('M-E2: a tenant that the kernel holds to something else than its limit is told, and one without a limit in either is not', () => {
  const tenants = [
    { tenant, memoryLimitBytes: gib, cpuLimitMillicores: null },
    { tenant: 'free', memoryLimitBytes: null, cpuLimitMillicores: null },
  ];
  const limitsOf = (id: TenantId) =>
    id === tenant ? { memory: 2 * gib, cpu: null } : { memory: null, cpu: null };
  expect(limitDifferences(sampleOf({ tenants }), limitsOf, both)).toMatchObject([
    { of: 'limit', resource: 'memory', tenant, instance: null, ledger: 2 * gib, kernel: gib },
  ]);
});

describe('M-E2: what tenants use, against the sum of their instances', () => {
  const memory = (group: number, ...own: number[]) =>
    memoryUseDifferences(
      sampleOf({
        tenants: [{ tenant, memoryBytes: group * mib }],
        instances: own.map((megabytes, at) =>
          instance(`i-${at}`, { usage: { memoryBytes: megabytes * mib } }),
        ),
      }),
      ofAcme,
    );

  test('memory: within what moves between two readings it agrees, beyond that it does not', () => {
    expect(memory(500, 460)).toEqual([]);
    expect(memory(500, 300)).toMatchObject([{ ledger: 300 * mib, kernel: 500 * mib, resource: 'memory' }]);
  });

  test('memory: sums that add up never differ, however many they are', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(4_000), { maxLength: 50 }), (own) => {
        const total = own.reduce((sum, megabytes) => sum + megabytes, 0);
        expect(memory(total, ...own)).toEqual([]);
      }),
    );
  });

  const at = (atMs: number, group: number, own: Record<string, number>): Sample =>
    sampleOf({
      atMs,
      tenants: [{ tenant, cpuUsageMicros: group * 1_000 }],
      instances: Object.entries(own).map(([id, millis]) =>
        instance(id, { usage: { cpuUsageMicros: millis * 1_000 } }),
      ),
    });

  test('processor time: of the same instances, by what both have grown', () => {
    expect(
      cpuUseDifferences(at(0, 9_000, { a: 100, b: 50 }), at(1_000, 9_600, { a: 500, b: 250 }), ofAcme),
    ).toEqual([]);
    expect(cpuUseDifferences(at(0, 9_000, { a: 100 }), at(1_000, 10_000, { a: 500 }), ofAcme)).toMatchObject([
      { of: 'use', resource: 'cpu', ledger: 400, kernel: 1_000 },
    ]);
  });

  test.each([
    ['one that came', { a: 1 }, { a: 1, b: 2_000 }],
    ['one that ended', { a: 1, b: 2_000 }, { a: 1 }],
  ])('processor time: %s is no difference', (_, before, after) => {
    expect(cpuUseDifferences(at(0, 0, before), at(1_000, 5_000, after), ofAcme)).toEqual([]);
  });
});

test('what nobody has an entry for counts for nobody', () => {
  const sample = sampleOf({
    tenants: [{ tenant, memoryBytes: 0 }],
    instances: [instance('i-0', { usage: { memoryBytes: gib } })],
  });
  expect(memoryUseDifferences(sample, () => undefined)).toEqual([]);
});
