// Where the ledger and the kernel do not agree: what instances were granted and tenants limited to against the limits that the
// kernel holds, and what tenants use against the sum of their instances. Pure. What follows from it is ./ledger-check.ts.
//
//   resource    limit, by the kernel       use, by the kernel
//   memory      instance, tenant           tenant = sum of instances
//   cpu         instance, tenant           tenant = sum of instances, between two samples
//   storage     instance (file system)     -
//   bandwidth   - nothing but our own gateways counts it -
import type { InstanceId, TenantId, WorkloadKey } from '../../base/ids.ts';
import { kib, mib } from '../../base/quantity.ts';
import type { ResourceKind } from '../../model/resources.ts';
import type { Sample } from '../measures.ts';

export interface Difference {
  readonly of: 'limit' | 'use';
  readonly resource: ResourceKind;
  readonly tenant: TenantId;
  /** Null where it is the tenant's own. */
  readonly instance: InstanceId | null;
  readonly workload: WorkloadKey | null;
  /** Null is "no limit of its own". */
  readonly ledger: number | null;
  readonly kernel: number | null;
}

/** What the ledger says of an instance. */
export interface Entry {
  readonly tenant: TenantId;
  readonly workload: WorkloadKey;
  readonly grant: Readonly<Record<'memory' | 'cpu' | 'storage', number>>;
}

/** What the kernel can hold at all. */
export interface Holds {
  readonly memory: boolean;
  readonly cpu: boolean;
}

type Limits = Readonly<Record<'memory' | 'cpu', number | null>>;

/** The kernel rounds: memory to pages, quotas to its least of a millisecond in a tenth of a second, disks to blocks. */
const rounding = { memory: 64 * kib, cpu: 10, storage: mib } as const;

/** Of the instances whose limits are in this sample. */
export function grantDifferences(
  { instances }: Pick<Sample, 'instances'>,
  entryOf: (id: InstanceId) => Entry | undefined,
  holds: Holds,
): Difference[] {
  return instances.flatMap(({ id, limits }) => {
    const entry = entryOf(id);
    if (limits === undefined || entry === undefined) return [];
    const { tenant, workload, grant } = entry;
    const held = {
      ...(holds.memory ? { memory: limits.memoryBytes } : {}),
      ...(holds.cpu ? { cpu: limits.cpuMillicores } : {}),
      // Null here means that nobody can tell.
      ...(limits.storageBytes === null ? {} : { storage: limits.storageBytes }),
    };
    return differing(grant, held).map((difference) => ({ ...difference, tenant, workload, instance: id }));
  });
}

export function limitDifferences(
  { tenants }: Pick<Sample, 'tenants'>,
  limitsOf: (tenant: TenantId) => Limits | undefined,
  holds: Holds,
): Difference[] {
  return tenants.flatMap(({ tenant, memoryLimitBytes, cpuLimitMillicores }) => {
    const limits = limitsOf(tenant);
    if (limits === undefined) return [];
    const held = {
      ...(holds.memory ? { memory: memoryLimitBytes } : {}),
      ...(holds.cpu && cpuLimitMillicores !== undefined ? { cpu: cpuLimitMillicores } : {}),
    };
    return differing(limits, held).map((difference) => ({
      ...difference,
      tenant,
      workload: null,
      instance: null,
    }));
  });
}

/**
 * Instances are measured one after another, each within a millisecond, and the group last: a program may allocate in
 * between. Charges also stay with a tenant's group for pages that outlive their instance until they are reclaimed.
 */
const memoryUseTolerance = { least: 32 * mib, share: 0.1 };
/** Between two samples, for the same reason. */
const cpuUseTolerance = { least: 100, share: 0.1 };

/** Tenants whose group is charged more or less than its instances together. */
export function memoryUseDifferences(
  { tenants, instances }: Pick<Sample, 'tenants' | 'instances'>,
  tenantOf: (id: InstanceId) => TenantId | undefined,
): Difference[] {
  const sums = new Map<TenantId, number>();
  for (const { id, usage } of instances) add(sums, tenantOf(id), usage.memoryBytes);
  return tenants.flatMap(({ tenant, memoryBytes }) =>
    useDifference('memory', tenant, sums.get(tenant) ?? 0, memoryBytes, memoryUseTolerance),
  );
}

/** Tenants whose group took more or less processor time than its instances together; those that had the same ones all the time. */
export function cpuUseDifferences(
  before: Pick<Sample, 'atMs' | 'tenants' | 'instances'>,
  after: Pick<Sample, 'atMs' | 'tenants' | 'instances'>,
  tenantOf: (id: InstanceId) => TenantId | undefined,
): Difference[] {
  const elapsedMs = after.atMs - before.atMs;
  if (elapsedMs <= 0) return [];
  const was = new Map(before.instances.map(({ id, usage }) => [id, usage.cpuUsageMicros]));
  const sums = new Map<TenantId, number>();
  const moved = new Set<TenantId | undefined>();
  for (const { id, usage } of after.instances) {
    const tenant = tenantOf(id);
    const from = was.get(id);
    if (from === undefined) moved.add(tenant);
    else add(sums, tenant, usage.cpuUsageMicros - from);
    was.delete(id);
  }
  // What those that ended took is in their tenant's group alone.
  const ended = was.size > 0;
  const groupsBefore = new Map(before.tenants.map(({ tenant, cpuUsageMicros }) => [tenant, cpuUsageMicros]));
  return after.tenants.flatMap(({ tenant, cpuUsageMicros }) => {
    const from = groupsBefore.get(tenant);
    if (ended || from === undefined || moved.has(tenant)) return [];
    // Microseconds per millisecond are millicores.
    const millicores = (micros: number): number => Math.round(micros / elapsedMs);
    const kernel = millicores(cpuUsageMicros - from);
    return useDifference('cpu', tenant, millicores(sums.get(tenant) ?? 0), kernel, cpuUseTolerance);
  });
}

function useDifference(
  resource: ResourceKind,
  tenant: TenantId,
  ledger: number,
  kernel: number,
  tolerance: { readonly least: number; readonly share: number },
): Difference[] {
  const tolerated = Math.max(tolerance.least, tolerance.share * kernel);
  if (Math.abs(kernel - ledger) <= tolerated) return [];
  return [{ of: 'use', resource, tenant, instance: null, workload: null, ledger, kernel }];
}

function differing(
  ledger: Readonly<Partial<Record<'memory' | 'cpu' | 'storage', number | null>>>,
  kernel: Readonly<Partial<Record<'memory' | 'cpu' | 'storage', number | null>>>,
): Pick<Difference, 'of' | 'resource' | 'ledger' | 'kernel'>[] {
  return (['memory', 'cpu', 'storage'] as const).flatMap((resource) => {
    const held = kernel[resource];
    if (held === undefined) return [];
    const noted = ledger[resource] ?? null;
    const distance = Math.abs((held ?? Number.MAX_SAFE_INTEGER) - (noted ?? Number.MAX_SAFE_INTEGER));
    return distance <= rounding[resource] ? [] : [{ of: 'limit', resource, ledger: noted, kernel: held }];
  });
}

function add(sums: Map<TenantId, number>, tenant: TenantId | undefined, amount: number): void {
  if (tenant !== undefined) sums.set(tenant, (sums.get(tenant) ?? 0) + amount);
}
