import { describe, expect, test } from 'vitest';
import type { InstanceId, TenantId, WorkloadKey, WorkloadName } from '../../base/ids.ts';
import type { BytesPerSecond } from '../../base/quantity.ts';
import { defaultRequest } from '../../model/workload.ts';
import type { InstanceRoute, TenantRoute, WorkloadRoute } from '../../protocol/routes.ts';
import { Lines } from './lines.ts';

const tenant = 'acme' as TenantId;
const key = 'acme/site' as WorkloadKey;

function linesWith(tenantLimit: number | null, ...grants: readonly number[]): Lines {
  const lines = new Lines(() => 0);
  lines.onChange({ change: 'tenant', tenant: tenantRoute(tenantLimit) });
  lines.onChange({
    change: 'workload',
    workload: { key, tenant, name: 'site' as WorkloadName } as WorkloadRoute,
  });
  for (const [index, grant] of grants.entries())
    lines.onChange({ change: 'instance', instance: instanceRoute(index, grant) });
  return lines;
}

const tenantRoute = (bandwidthLimit: number | null): TenantRoute =>
  ({ id: tenant, bandwidthLimit }) as TenantRoute;
const idOf = (index: number): InstanceId => `i-00000000000${index}` as InstanceId;
const instanceRoute = (index: number, bandwidth: number): InstanceRoute => ({
  id: idOf(index),
  workload: key,
  generation: 'g',
  endpoint: { runDirectory: '/none', mode: 'frames', port: null },
  starting: false,
  frozen: false,
  grant: { ...defaultRequest, bandwidth: bandwidth as BytesPerSecond },
});

describe('M-A5: bandwidth', () => {
  test('an instance has its grant, a function what its instances have together', () => {
    const lines = linesWith(null, 1000, 500);
    expect(lines.ofInstance(idOf(0))?.bytesPerSecond).toBe(1000);
    expect(lines.ofWorkload(key)?.bytesPerSecond).toBe(1500);
  });

  test('another grant is taken up by the line that is in use', () => {
    const lines = linesWith(null, 1000);
    const line = lines.ofInstance(idOf(0));
    lines.onChange({ change: 'instance', instance: instanceRoute(0, 4000) });
    expect(line?.bytesPerSecond).toBe(4000);
    expect(lines.ofWorkload(key)?.bytesPerSecond).toBe(4000);
  });

  test('what one instance carries counts against its tenant, and so against the others', () => {
    const lines = linesWith(1000, 100_000_000, 100_000_000);
    lines.ofInstance(idOf(0))?.take('out', 1_000_000);
    expect(lines.ofInstance(idOf(1))?.isFree('out')).toBe(false);
    expect(lines.ofInstance(idOf(1))?.isFree('in')).toBe(true);
  });

  test("a tenant's limit that goes sets free at once", () => {
    const lines = linesWith(1000, 100_000_000);
    lines.ofInstance(idOf(0))?.take('out', 1_000_000);
    lines.onChange({ change: 'tenant', tenant: tenantRoute(null) });
    expect(lines.ofInstance(idOf(0))?.isFree('out')).toBe(true);
  });

  test('an instance that is gone has no line, and gives its function none', () => {
    const lines = linesWith(null, 1000, 500);
    lines.onChange({ change: 'instanceGone', id: idOf(1), workload: key, reason: '', oomKilled: false });
    expect(lines.ofInstance(idOf(1))).toBeUndefined();
    expect(lines.ofWorkload(key)?.bytesPerSecond).toBe(1000);
  });
});

test('M-A5: what another gateway carries slows this one down: of a tenant, a function and an instance', () => {
  const there = linesWith(1_000_000, 100_000_000);
  there.ofInstance(idOf(0))?.take('out', 5_000_000);
  there.ofWorkload(key)?.take('in', 70_000);
  const told = [...there.takeUntold()];
  expect(told).toEqual([
    { owner: 'tenant', name: tenant, bytesIn: 70_000, bytesOut: 5_000_000 },
    { owner: 'workload', name: key, bytesIn: 70_000, bytesOut: 0 },
    { owner: 'instance', name: idOf(0), bytesIn: 0, bytesOut: 5_000_000 },
  ]);
  expect([...there.takeUntold()]).toEqual([]);
  const here = linesWith(1_000_000, 100_000_000);
  expect(here.ofInstance(idOf(0))?.isFree('out')).toBe(true);
  for (const passed of told) here.passedElsewhere(passed);
  expect(here.ofInstance(idOf(0))?.isFree('out')).toBe(false);
  expect(here.ofWorkload(key)?.isFree('in')).toBe(false);
  // It is not told back.
  expect([...here.takeUntold()]).toEqual([]);
});
