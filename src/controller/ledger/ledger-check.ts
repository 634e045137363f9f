// Compares the ledger with the kernel's own accounting at each measurement. The kernel is right: what it holds an instance or a tenant to
// is what the ledger says from then on, and one event tells of it. Owns when a difference counts, and what was told.
// The comparison is ./differences.ts; what is written because of it is the next division's matter.
//
//   agrees ──differs──▶ seen ──still differs alike, some time later──▶ told, and taken over ──agrees, or differs otherwise──▶ agrees
import type { InstanceId, TenantId } from '../../base/ids.ts';
import { formatResource, type ResourceKind, type Resources } from '../../model/resources.ts';
import type { AgentLink } from '../agent-link.ts';
import type { AuditLog } from '../audit.ts';
import type { Sample } from '../measures.ts';
import { knownOf, type ActualState } from '../state/actual.ts';
import {
  cpuUseDifferences,
  grantDifferences,
  limitDifferences,
  memoryUseDifferences,
  type Difference,
  type Entry,
  type Holds,
} from './differences.ts';

/** Within less, what passes between reading the first instance and the group weighs too much. */
const cpuWindowMs = 900;
/** A change takes a few milliseconds on both sides, also on a busy machine; two readings may be nearer to each other than that. */
const sureAfterMs = 300;
/** What an instance was charged stays with its tenant's group while the kernel takes its memory apart: a GiB takes some 100 ms. */
const settlesMs = 2_000;

interface Seen {
  readonly difference: Difference;
  /** By the samples' clock: the first of those that differed alike without a break. */
  readonly sinceMs: number;
}

export interface LedgerCheckParts {
  readonly link: Pick<AgentLink, 'hello'>;
  readonly actual: ActualState;
  readonly audit: AuditLog;
  /** Guests are asked seldom while they stand still: their limits may be older than what the ledger knows. */
  readonly virtual: boolean;
  readonly tenantLimits: {
    /** What the kernel holds a tenant to, as far as the ledger knows; undefined for one that is not known. */
    readonly of: (tenant: TenantId) => Readonly<Record<'memory' | 'cpu', number | null>> | undefined;
    /** Takes the kernel's word. */
    readonly take: (tenant: TenantId, resource: 'memory' | 'cpu', limit: number | null) => void;
  };
}

export class LedgerCheck {
  readonly #parts: LedgerCheckParts;
  /** A change under way looks like a difference until both ends have heard of it: only what stays so counts. */
  readonly #seen = new Map<string, Seen>();
  readonly #told = new Map<string, Difference>();
  #before: Sample | undefined;
  /** Tenants of which an instance is gone since the last sample. */
  readonly #left = new Set<TenantId>();
  /** Until when a tenant's use may still hold that of an instance that is gone, by the samples' clock. */
  readonly #settledAtMs = new Map<TenantId, number>();

  constructor(parts: LedgerCheckParts) {
    this.#parts = parts;
    parts.actual.onChange((change) => {
      if (change.type !== 'gone') return;
      this.#forget(change.tracked.spec.id);
      this.#left.add(change.tracked.spec.tenant);
    });
  }

  /** Each sample once. */
  check(sample: Sample): void {
    const found = new Map(this.#differences(sample).map((difference) => [keyOf(difference), difference]));
    const looksAtCpu = this.#before === undefined || sample.atMs - this.#before.atMs >= cpuWindowMs;
    if (looksAtCpu) this.#before = sample;
    const looked = new Set(sample.instances.flatMap(({ id, limits }) => (limits === undefined ? [] : [id])));
    for (const [key, { difference }] of this.#seen) {
      const { of, resource, instance } = difference;
      const isLooked =
        of === 'use' && resource === 'cpu' ? looksAtCpu : instance === null || looked.has(instance);
      if (!found.has(key) && isLooked) this.#seen.delete(key);
    }
    for (const [key, told] of this.#told) {
      const isLooked = told.instance === null || looked.has(told.instance);
      // What was taken over agrees from then on, though the kernel stands where it stood.
      if (isLooked && !found.has(key) && !this.#isStillHeld(told)) this.#told.delete(key);
    }
    for (const [key, difference] of found) {
      const before = this.#seen.get(key);
      const isAgain = before !== undefined && isAlike(before.difference, difference);
      const sinceMs = isAgain ? before.sinceMs : sample.atMs;
      this.#seen.set(key, { difference, sinceMs });
      if (sample.atMs - sinceMs < sureAfterMs) continue;
      if (this.#told.get(key)?.kernel !== difference.kernel || difference.of === 'use')
        this.#tell(key, difference);
      if (difference.of === 'limit') this.#take(difference);
    }
  }

  #differences(sample: Sample): Difference[] {
    const { link, virtual, tenantLimits } = this.#parts;
    const capabilities = link.hello?.capabilities;
    const holds: Holds = {
      memory: capabilities?.memoryLimit ?? false,
      cpu: capabilities?.cpuLimit ?? false,
    };
    const tenantOf = (id: InstanceId): TenantId | undefined => this.#parts.actual.get(id)?.spec.tenant;
    const moving = this.#moving(sample.atMs);
    const use = [...memoryUseDifferences(sample, tenantOf), ...this.#cpuUse(sample, tenantOf)];
    return [
      ...use.filter(({ tenant }) => !moving.has(tenant)),
      ...(virtual
        ? []
        : [
            ...grantDifferences(sample, (id) => this.#entryOf(id), holds),
            ...limitDifferences(sample, tenantLimits.of, holds),
          ]),
    ];
  }

  /** Whose use says nothing now: what starts or ends is in the tenant's group already or still, and not among its instances. */
  #moving(atMs: number): ReadonlySet<TenantId> {
    for (const tenant of this.#left) this.#settledAtMs.set(tenant, atMs + settlesMs);
    this.#left.clear();
    for (const [tenant, settledAtMs] of this.#settledAtMs)
      if (settledAtMs <= atMs) this.#settledAtMs.delete(tenant);
    const moving = new Set(this.#settledAtMs.keys());
    for (const { spec, life } of this.#parts.actual.all())
      if (life.phase !== 'serving' && life.phase !== 'waiting') moving.add(spec.tenant);
    return moving;
  }

  #cpuUse(sample: Sample, tenantOf: (id: InstanceId) => TenantId | undefined): Difference[] {
    const before = this.#before;
    const isLong = before !== undefined && sample.atMs - before.atMs >= cpuWindowMs;
    return isLong ? cpuUseDifferences(before, sample, tenantOf) : [];
  }

  #entryOf(id: InstanceId): Entry | undefined {
    const tracked = this.#parts.actual.get(id);
    // Groups of what starts or ends are being made, or taken apart.
    if (tracked?.life.phase !== 'serving') return undefined;
    const { tenant, workload, grant } = tracked.life.known.info;
    return { tenant, workload, grant };
  }

  #isStillHeld({ of, resource, tenant, instance, kernel }: Difference): boolean {
    if (of === 'use') return false;
    if (instance !== null) {
      const entry = this.#entryOf(instance);
      return entry?.grant[resource as keyof Entry['grant']] === kernel;
    }
    return this.#parts.tenantLimits.of(tenant)?.[resource as 'memory' | 'cpu'] === kernel;
  }

  #tell(key: string, difference: Difference): void {
    const isNew = !this.#told.has(key) || difference.of === 'limit';
    this.#told.set(key, difference);
    if (!isNew) return;
    const { tenant, workload, instance, of, resource, ledger, kernel } = difference;
    this.#parts.audit.note({
      type: 'ledger.discrepancy',
      tenant,
      ...(workload === null ? {} : { workload }),
      ...(instance === null ? {} : { instance }),
      message: sentenceOf(difference),
      data: { of, resource, ledger, kernel },
    });
  }

  #take({ tenant, instance, resource, kernel }: Difference): void {
    const { actual, tenantLimits } = this.#parts;
    if (instance === null) {
      if (resource === 'memory' || resource === 'cpu') tenantLimits.take(tenant, resource, kernel);
      return;
    }
    const tracked = actual.get(instance);
    const known = tracked === undefined ? null : knownOf(tracked);
    // Without a limit of its own an instance has what its tenant has: a grant can not say that.
    if (tracked?.life.phase !== 'serving' || known === null || kernel === null) return;
    const grant: Resources = { ...known.info.grant, [resource]: kernel };
    actual.set({
      ...tracked,
      life: { ...tracked.life, known: { ...known, info: { ...known.info, grant } } },
    });
  }

  #forget(id: InstanceId): void {
    for (const [key, { difference }] of this.#seen) if (difference.instance === id) this.#seen.delete(key);
    for (const [key, { instance }] of this.#told) if (instance === id) this.#told.delete(key);
  }
}

function keyOf({ of, resource, tenant, instance }: Difference): string {
  return `${of} ${resource} ${tenant} ${instance ?? ''}`;
}

/** Use moves all the time: that it differs twice is enough. */
function isAlike(before: Difference, now: Difference): boolean {
  return now.of === 'use' || (before.kernel === now.kernel && before.ledger === now.ledger);
}

function sentenceOf({ of, resource, tenant, workload, instance, ledger, kernel }: Difference): string {
  const whose = instance === null ? `tenant ${tenant}` : `${workload} ${instance}`;
  const show = (amount: number | null): string => shown(resource, amount);
  return of === 'use'
    ? `The kernel counts ${show(kernel)} of ${resource} for ${whose}, the sum of its instances is ${show(ledger)}.`
    : `The kernel holds ${whose} to ${show(kernel)} of ${resource}, the ledger said ${show(ledger)}: the kernel's is taken.`;
}

function shown(resource: ResourceKind, amount: number | null): string {
  return amount === null ? 'no limit' : formatResource(resource, amount);
}
