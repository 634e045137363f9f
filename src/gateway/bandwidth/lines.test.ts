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
