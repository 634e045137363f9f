// Compares the ledger with the kernel's own accounting at each measurement. The kernel is right: what it holds an instance or a tenant to
// is what the ledger says from then on, and one event tells of it. Owns when a difference counts, and what was told.
// The comparison is ./differences.ts; what is written because of it is the next division's matter.
//
//   agrees ──differs──▶ seen once ──differs alike──▶ told, and taken over ──agrees, or differs otherwise──▶ agrees
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
  /** A change under way looks like a difference until both ends have heard of it: only what is so twice counts. */
  readonly #seen = new Map<string, Difference>();
  readonly #told = new Map<string, Difference>();
  #before: Sample | undefined;

  constructor(parts: LedgerCheckParts) {
    this.#parts = parts;
    parts.actual.onChange((change) => {
      if (change.type === 'gone') this.#forget(change.tracked.spec.id);
    });
  }

  /** Each sample once. */
  check(sample: Sample): void {
    const found = new Map(this.#differences(sample).map((difference) => [keyOf(difference), difference]));
    const looksAtCpu = this.#before === undefined || sample.atMs - this.#before.atMs >= cpuWindowMs;
    if (looksAtCpu) this.#before = sample;
    const looked = new Set(sample.instances.flatMap(({ id, limits }) => (limits === undefined ? [] : [id])));
    for (const [key, { of, resource, instance }] of this.#seen) {
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
      const isSure = isAlike(this.#seen.get(key), difference);
      this.#seen.set(key, difference);
      if (!isSure) continue;
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
    return [
      ...memoryUseDifferences(sample, tenantOf),
      ...this.#cpuUse(sample, tenantOf),
      ...(virtual
        ? []
        : [
            ...grantDifferences(sample, (id) => this.#entryOf(id), holds),
            ...limitDifferences(sample, tenantLimits.of, holds),
          ]),
    ];
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
    for (const notes of [this.#seen, this.#told])
      for (const [key, { instance }] of notes) if (instance === id) notes.delete(key);
  }
}

function keyOf({ of, resource, tenant, instance }: Difference): string {
  return `${of} ${resource} ${tenant} ${instance ?? ''}`;
}

/** Use moves all the time: that it differs twice is enough. */
function isAlike(before: Difference | undefined, now: Difference): boolean {
  if (before === undefined) return false;
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
