import { describe, expect, test } from 'vitest';
import type { InstanceId, TenantId, WorkloadKey } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type { ResourceChange } from '../../model/change.ts';
import { partsOf, sentenceOf } from './wording.ts';

const memory = (before: number | null, after: number | null): ResourceChange => ({
  resource: 'memory',
  before: before === null ? null : before * mib,
  after: after === null ? null : after * mib,
  wanted: after === null ? null : after * mib,
  status: 'applied',
  reason: '',
  durationMs: 1,
});
const cpu: ResourceChange = { ...memory(null, null), resource: 'cpu', before: 500, after: 750, wanted: 750 };
const none = { open: 0, kept: 0, dropped: 0 };
const instance = (changes: readonly ResourceChange[]) => ({
  instance: 'i-1' as InstanceId,
  workload: 'default/chat' as WorkloadKey,
  tenant: 'default' as TenantId,
  changes,
  connections: none,
});

describe('the audit log says in a line', () => {
  test('M-E3: what was moved, and that connections were kept', () => {
    const connections = { open: 50, kept: 50, dropped: 0 };
    const instances = [instance([memory(128, 256), cpu])];
    expect(
      sentenceOf('default/chat', { status: 'applied', reason: '', tenants: [], instances, connections }),
    ).toBe('default/chat: memory 128MiB to 256MiB; CPU 500m to 750m. 50 of 50 connections kept.');
  });

  test('limits that gateways count, as the numbers they are', () => {
    const counted = { status: 'applied', reason: '', durationMs: 1 } as const;
    expect(
      partsOf([
        { ...counted, resource: 'connections', before: null, after: 100, wanted: 100 },
        { ...counted, resource: 'concurrency', before: 20, after: null, wanted: null },
      ]),
    ).toBe('connections no limit to 100; concurrency 20 to no limit');
  });

  test('what waits, and for what', () => {
    const waits: ResourceChange = {
      ...memory(384, 384),
      wanted: 128 * mib,
      status: 'deferred',
      reason: '200 MiB are in use.',
    };
    const tenants = [{ tenant: 'default' as TenantId, changes: [memory(null, 1024)] }];
    expect(
      sentenceOf('the limits of tenant default', {
        status: 'deferred',
        reason: '',
        tenants,
        instances: [instance([waits])],
        connections: none,
      }),
    ).toBe(
      'The limits of tenant default: memory no limit to 1GiB; memory stays 384MiB, 128MiB is deferred (200 MiB are in use).',
    );
  });

  test('what was refused, and why', () => {
    expect(
      sentenceOf('default/chat', {
        status: 'infeasible',
        reason: 'The machine has 24 GiB.',
        tenants: [],
        instances: [],
        connections: none,
      }),
    ).toBe('default/chat: not changed. The machine has 24 GiB.');
  });

  test('what many have in common once, and no more than a person reads', () => {
    expect(partsOf([memory(1, 2), memory(1, 2)])).toBe('memory 1MiB to 2MiB');
    expect(partsOf([memory(1, 1)])).toBe('as it was');
    const many = Array.from({ length: 10 }, (_, index) => memory(1, index + 2));
    expect(partsOf(many)).toMatch(/; and 4 more$/);
  });
});
