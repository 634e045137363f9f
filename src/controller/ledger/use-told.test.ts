// When it is told that a tenant uses more than its instances together: samples and states are the test's.
import { beforeEach, describe, expect, test } from 'vitest';
import { parseTenantId, type InstanceId, type WorkloadKey } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type { InstanceSpec } from '../../protocol/agent.ts';
import type { AuditLog } from '../audit.ts';
import type { Sample } from '../measures.ts';
import { ActualState, type Life } from '../state/actual.ts';
import { LedgerCheck } from './ledger-check.ts';

const acme = parseTenantId('acme');

describe('what a tenant uses beyond the sum of its instances', () => {
  const id = 'i-big' as InstanceId;
  const told: string[] = [];
  let actual: ActualState;
  let check: LedgerCheck;

  beforeEach(() => {
    told.length = 0;
    actual = new ActualState();
    be({ phase: 'serving' });
    check = new LedgerCheck({
      link: { hello: null },
      actual,
      audit: { note: ({ message }) => void told.push(message) } as Pick<AuditLog, 'note'> as AuditLog,
      // Only use is looked at here.
      virtual: true,
      tenantLimits: { of: () => undefined, take: () => undefined },
    });
  });

  function be(life: Pick<Life, 'phase'>): void {
    const spec = { id, tenant: acme, workload: 'acme/big' as WorkloadKey } as InstanceSpec;
    actual.set({ spec, life: life as Life, idle: true, lastUsedMs: 0, servingSinceMs: 0 });
  }

  /** The group is charged 600 MiB. @param ofInstances what the instances that are listed use */
  function measure(atMs: number, ofInstances: number | null): void {
    const instances =
      ofInstances === null ? [] : [{ id, usage: { memoryBytes: ofInstances, cpuUsageMicros: 0 } }];
    const tenants = [
      {
        tenant: acme,
        memoryBytes: 600 * mib,
        memoryLimitBytes: null,
        cpuLimitMillicores: null,
        cpuUsageMicros: 0,
      },
    ];
    check.check({ atMs, instances, tenants } as unknown as Sample);
  }

  test('M-E2: is told when it stays so, not when two readings close to each other say so', () => {
    measure(0, mib);
    measure(50, mib);
    measure(250, mib);
    expect(told).toEqual([]);
    measure(350, mib);
    expect(told).toHaveLength(1);
  });

  test.each(['retiring', 'stopping', 'starting'] as const)(
    'M-E2: is nothing to tell while one is %s',
    (phase) => {
      be({ phase });
      for (let atMs = 0; atMs < 5_000; atMs += 500) measure(atMs, mib);
      expect(told).toEqual([]);
    },
  );

  test('M-E2: is nothing to tell while the kernel takes the memory of one apart that is gone, and is afterwards', () => {
    measure(0, 600 * mib);
    be({ phase: 'stopping' });
    measure(500, null);
    actual.remove(id, 'it was idle');
    measure(1_000, null);
    measure(2_000, null);
    expect(told).toEqual([]);
    measure(3_500, null);
    measure(4_000, null);
    expect(told).toHaveLength(1);
  });
});
