// Takes memory back from instances that do not need it, on request: least recently used first, by trimming.
// Those that have little to give are let be, for asking costs memory (./expected-gain.ts), unless one is named by its id.
// Owns whom to ask and the report; what is trimmed and how is the agent's and the runtime's matter.
import { BellowsError } from '../base/errors.ts';
import type { InstanceId, UnitId } from '../base/ids.ts';
import { mib } from '../base/quantity.ts';
import type { Logger } from '../sys/log.ts';
import type { AgentLink } from './agent-link.ts';
import type { AuditLog } from './audit.ts';
import type { ReclaimReport, ReclaimRequest } from './control-plane.ts';
import { expectedGainBytes, worthwhileBytes } from './expected-gain.ts';
import type { Measures, Sample } from './measures.ts';
import type { ActualState, Tracked } from './state/actual.ts';

/** A trim collects garbage, which stops the program for tens of milliseconds; two at a time leave processors to the rest. */
const trimsAtOnce = 2;
const trimTimeoutMs = 30_000;
/** A machine keeps up to 64 MiB free when it is claimed (src/units/fleet/config.ts): less than this above it is not worth a claim. */
const worthwhileClaimBytes = 96 * mib;

export class Reclaimer {
  readonly #link: AgentLink;
  readonly #actual: ActualState;
  readonly #measures: Measures;
  readonly #audit: AuditLog;
  readonly #log: Logger;
  /** What an instance used before its memory was taken back: what it does not use again of it counts as claimed. */
  readonly #usedBefore = new Map<InstanceId, number>();
  /** What the last trim left an instance with. */
  readonly #left = new Map<InstanceId, number>();

  constructor(parts: {
    readonly link: AgentLink;
    readonly actual: ActualState;
    readonly measures: Measures;
    readonly audit: AuditLog;
    readonly log: Logger;
  }) {
    this.#link = parts.link;
    this.#actual = parts.actual;
    this.#measures = parts.measures;
    this.#audit = parts.audit;
    this.#log = parts.log;
    parts.actual.onChange((change) => {
      if (change.type !== 'gone') return;
      this.#usedBefore.delete(change.tracked.spec.id);
      this.#left.delete(change.tracked.spec.id);
    });
  }

  /** Bytes that were taken back from an instance and that it has not taken again. */
  claimedBytes(id: InstanceId): number {
    const before = this.#usedBefore.get(id);
    const now = this.#measures.usageOf(id)?.memoryBytes;
    return before === undefined || now === undefined ? 0 : Math.max(0, before - now);
  }

  /** @throws BellowsError NotFound when `from` names nobody, Unavailable without an agent */
  async reclaim(request: ReclaimRequest): Promise<ReclaimReport> {
    const named = reclaimOrder(this.#actual.all(), request);
    if (named.length === 0 && request.from !== undefined) {
      throw new BellowsError(
        'NotFound',
        `Nothing that runs belongs to ${request.from}.`,
        'List instances with `bellows ps`.',
      );
    }
    const before = await this.#measures.sample(0);
    const victims = named.filter(
      (tracked) =>
        tracked.spec.id === request.from ||
        this.#isWorthwhile(tracked.spec.id) ||
        claimableBytes(before, tracked) >= worthwhileClaimBytes,
    );
    const wanted = request.memoryBytes ?? Number.POSITIVE_INFINITY;
    const from: ReclaimReport['from'][number][] = [];
    let claimedBytes = 0;
    for (let next = 0; next < victims.length && claimedBytes < wanted; next += trimsAtOnce) {
      const trimmed = await Promise.all(
        victims.slice(next, next + trimsAtOnce).map((victim) => this.#trim(victim)),
      );
      for (const part of trimmed) {
        if (part === undefined) continue;
        from.push(part);
        claimedBytes += part.claimedBytes;
      }
    }
    const after = await this.#measures.sample(0);
    const asked = new Set(from.map(({ instance }) => instance));
    const unitsAsked = new Set(victims.filter(({ spec }) => asked.has(spec.id)).flatMap(unitOf));
    // By these samples, not by what the trims answer: theirs leave out what a pooled process was charged before its bind.
    for (const { id, usage } of before.instances)
      if (asked.has(id)) this.#usedBefore.set(id, usage.memoryBytes);
    for (const { id, usage } of after.instances) if (asked.has(id)) this.#left.set(id, usage.memoryBytes);
    const report: ReclaimReport = {
      foundBytes:
        claimedBytes +
        droppableBytes(
          before,
          named.filter(({ spec }) => !asked.has(spec.id)),
        ),
      claimedBytes,
      freedBytes: Math.max(0, heldBytes(before, unitsAsked) - heldBytes(after, unitsAsked)),
      from,
    };
    this.#audit.note({
      type: 'reclaim',
      message: `${report.freedBytes} bytes were taken back from ${from.length} instances.`,
      data: { request, report },
    });
    return report;
  }

  /** One that came since the sample was taken has nothing to give yet. */
  #isWorthwhile(id: InstanceId): boolean {
    const usage = this.#measures.usageOf(id);
    return usage !== undefined && expectedGainBytes(usage, this.#left.get(id)) >= worthwhileBytes;
  }

  async #trim({ spec }: Tracked): Promise<ReclaimReport['from'][number] | undefined> {
    try {
      const { beforeBytes, afterBytes, unit } = await this.#link.agent.call(
        'trim',
        { id: spec.id },
        { timeoutMs: trimTimeoutMs },
      );
      const claimedBytes = unit === undefined ? Math.max(0, beforeBytes - afterBytes) : unit.claimedBytes;
      const how = unit === undefined ? 'trim' : 'claim';
      return { instance: spec.id, workload: spec.workload, how, beforeBytes, afterBytes, claimedBytes };
    } catch (thrown) {
      // It may have ended meanwhile; the others can still be asked.
      this.#log.warn({ err: thrown, instance: spec.id }, 'an instance could not be trimmed');
      return undefined;
    }
  }
}

/** Whom to ask, in this order: idle ones before those in use, each least recently used first. Without `from`, idle ones alone. */
export function reclaimOrder(instances: readonly Tracked[], { from }: ReclaimRequest): Tracked[] {
  const names = ({ spec }: Tracked): boolean =>
    from === spec.id || from === spec.workload || from === spec.tenant;
  return instances
    .filter(
      (tracked) => tracked.life.phase === 'serving' && (from === undefined ? tracked.idle : names(tracked)),
    )
    .sort((a, b) => Number(b.idle) - Number(a.idle) || a.lastUsedMs - b.lastUsedMs);
}

const unitOf = ({ life }: Tracked): UnitId[] => (life.known === null ? [] : [life.known.info.unit]);

/** What a virtual machine has left to its instances and they do not use, by the last figures; 0 outside of one. */
function claimableBytes({ units, instances }: Sample, tracked: Tracked): number {
  const [own] = unitOf(tracked);
  const unit = units.find(({ id }) => id === own);
  if (unit === undefined) return 0;
  const used =
    instances.find(({ id }) => id === tracked.spec.id)?.usage.memoryBytes ?? Number.POSITIVE_INFINITY;
  return unit.provisioned.memory - unit.claimed.memory - used;
}

/** Of the host: the processes of the virtual machines that were asked; without any, what is charged to all tenants. */
function heldBytes(sample: Sample, asked: ReadonlySet<UnitId>): number {
  if (sample.units.length === 0) return sample.tenants.reduce((sum, tenant) => sum + tenant.memoryBytes, 0);
  return sample.units.reduce(
    (sum, { id, hostPrivateBytes }) => sum + (asked.has(id) ? hostPrivateBytes : 0),
    0,
  );
}

/** Clean cache that could go, of those that were not asked. */
function droppableBytes(sample: Sample, tracked: readonly Tracked[]): number {
  const ids = new Set(tracked.map(({ spec }) => spec.id));
  return sample.instances.reduce(
    (sum, { id, usage }) =>
      ids.has(id) ? sum + Math.max(0, usage.memoryBytes - usage.workingSetBytes) : sum,
    0,
  );
}
