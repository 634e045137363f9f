import { expect, test } from 'vitest';
import { newInstanceId, type TenantId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type { ResourceChange } from '../../model/change.ts';
import type { Resources } from '../../model/resources.ts';
import { defaultRequest } from '../../model/workload.ts';
import { mergeChanges, type InstanceParts } from './merge.ts';

const sized = (storageMib: number): Resources =>
  ({ ...defaultRequest, storage: storageMib * mib }) as Resources;
const change = (
  resource: 'memory' | 'cpu' | 'storage',
  more: Partial<ResourceChange> = {},
): ResourceChange => ({
  resource,
  before: defaultRequest[resource],
  after: defaultRequest[resource],
  wanted: defaultRequest[resource],
  status: 'applied',
  reason: '',
  durationMs: 1,
  ...more,
});
const merged = (
  storageMib: number,
  inside: ResourceChange[],
  more: Partial<InstanceParts> = {},
): ResourceChange[] =>
  mergeChanges({
    before: sized(512),
    wanted: sized(storageMib),
    inside: {
      instance: newInstanceId(),
      tenant: 'acme' as TenantId,
      workload: 'acme/site' as never,
      changes: [change('memory'), change('cpu'), ...inside],
      connections: { open: 0, kept: 0, dropped: 0 },
    },
    refused: new Map(),
    waits: new Map(),
    failures: new Map(),
    shortBytes: 0,
    durationMs: 5,
    ...more,
  });
const storageOf = (changes: ResourceChange[]): ResourceChange | undefined =>
  changes.find(({ resource }) => resource === 'storage');

test('what an instance stores is the guest’s word: what it holds is not taken away', () => {
  const reason = 'holds 300 MiB in /tmp';
  const inside = change('storage', { after: 512 * mib, wanted: 128 * mib, status: 'deferred', reason });
  expect(storageOf(merged(128, [inside]))).toMatchObject({ status: 'deferred', after: 512 * mib, reason });
});

test('storage that nobody changes is not told of; what the guest has already is applied', () => {
  expect(storageOf(merged(512, []))).toBeUndefined();
  expect(storageOf(merged(600, []))).toMatchObject({ status: 'applied', after: 600 * mib });
});

test('storage that a unit has no room for waits, or can never be', () => {
  const waits = new Map([['storage', 'no room now'] as const]);
  expect(storageOf(merged(900, [], { waits }))).toMatchObject({ status: 'deferred', after: 512 * mib });
  const refused = new Map([['storage', 'its unit has less'] as const]);
  expect(storageOf(merged(9000, [], { refused }))).toMatchObject({ status: 'infeasible', after: 512 * mib });
});
