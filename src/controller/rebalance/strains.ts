// Instances that have less memory than was asked for them and have come near that limit, or stand at it, by the agent's word.
// Owns who they are, asking for more for them, and telling of who waits. Dividing is ./rebalancer.ts, and what is taken back from
// others ../reclaim.
//
//   (none) ──near──▶ near: demands all that was asked for ──waiting──▶ waiting: told; what idles is trimmed, then divided anew
//      ▲              │                                                  │
//      └──easy, gone──┴──────────────── easy (told), gone ───────────────┘
import type { Clock } from '../../base/clock.ts';
import type { InstanceId } from '../../base/ids.ts';
import { humanBytes, mib } from '../../base/quantity.ts';
import { formatResource } from '../../model/resources.ts';
import type { AgentProtocol } from '../../protocol/agent.ts';
import type { EventOf } from '../../protocol/rpc.ts';
import type { Logger } from '../../sys/log.ts';
import type { AuditLog } from '../audit.ts';
import type { StrainView } from '../control-plane.ts';
import { promisedMemory, type ActualState, type Tracked } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import type { Rebalancer } from './rebalancer.ts';

type Told = Extract<EventOf<AgentProtocol>, { event: 'strained' }>['data'];

/** Less than this of a limit is as good as nothing: a division moves no less either. */
const slightBytes = 4 * mib;

export interface StrainsParts {
  readonly rebalancer: Pick<Rebalancer, 'strained'>;
  readonly actual: ActualState;
  readonly desired: Pick<DesiredState, 'tenant'>;
  readonly audit: Pick<AuditLog, 'note'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Takes back from others what they do not need, ends nobody; resolves when that is done. */
  readonly growthWaits: (bytes: number, why: string) => Promise<void>;
}

interface Strained extends StrainView {
  readonly limitBytes: number;
  /** When it began to wait, which was told; null when it has not waited since it was well. */
  readonly waitingSinceMs: number | null;
}

export class Strains {
  readonly #parts: StrainsParts;
  readonly #strained = new Map<InstanceId, Strained>();

  constructor(parts: StrainsParts) {
    this.#parts = parts;
    parts.actual.onChange((change) => {
      if (change.type === 'gone') this.#strained.delete(change.tracked.spec.id);
    });
  }

  /** Undefined while its limit does not trouble it. */
  of(id: InstanceId): StrainView | undefined {
    return this.#strained.get(id);
  }

  /** The agent says how one gets on. */
  onStrained({ id, strain, limitBytes, requestedBytes }: Told): void {
    const { actual, clock, rebalancer } = this.#parts;
    const tracked = actual.get(id);
    if (tracked === undefined) return;
    const before = this.#strained.get(id);
    if (strain === 'easy') {
      this.#strained.delete(id);
      if (before !== undefined) this.#toldEnd(tracked, before, limitBytes);
      return;
    }
    const isOwnLimit = this.#isOwnLimit(tracked);
    const waits = strain === 'waiting';
    const known = before?.waitingSinceMs ?? null;
    const next: Strained = {
      is: strain,
      limitBytes,
      requestedBytes,
      reason: this.#reason(tracked, isOwnLimit),
      waitingSinceMs: known ?? (waits ? clock.nowMs() : null),
    };
    this.#strained.set(id, next);
    if (waits && known === null) this.#toldBegin(tracked, next);
    rebalancer.strained(id);
    // A tenant's own limit is nobody else's matter.
    if (waits && !isOwnLimit) this.#takeBack(tracked, requestedBytes - limitBytes);
  }

  #takeBack({ spec }: Tracked, bytes: number): void {
    const { growthWaits, rebalancer, log } = this.#parts;
    growthWaits(bytes, `${spec.workload} waits for memory to grow`).then(
      () => rebalancer.strained(spec.id),
      (thrown: unknown) => log.warn({ err: thrown }, 'memory could not be taken back for one that waits'),
    );
  }

  #isOwnLimit({ spec: { tenant } }: Tracked): boolean {
    const limit = this.#parts.desired.tenant(tenant)?.limits.memory ?? null;
    if (limit === null) return false;
    const grantedBytes = this.#parts.actual
      .ofTenant(tenant)
      .reduce((total, tracked) => total + promisedMemory(tracked), 0);
    return grantedBytes + slightBytes > limit;
  }

  #reason({ spec: { tenant } }: Tracked, isOwnLimit: boolean): string {
    const limit = this.#parts.desired.tenant(tenant)?.limits.memory ?? null;
    return isOwnLimit && limit !== null
      ? `All of its tenant's limit, ${formatResource('memory', limit)}, is granted.`
      : 'All that may be granted here is, and nobody else can spare more now.';
  }

  #toldBegin({ spec }: Tracked, { limitBytes, requestedBytes, reason }: Strained): void {
    this.#parts.audit.note({
      type: 'memory.waiting',
      tenant: spec.tenant,
      workload: spec.workload,
      instance: spec.id,
      message: `${spec.workload} waits for memory: it has ${humanBytes(limitBytes)} of the ${humanBytes(requestedBytes)} that were asked for it. ${reason}`,
      data: { limitBytes, requestedBytes, reason },
    });
  }

  #toldEnd({ spec }: Tracked, { waitingSinceMs }: Strained, limitBytes: number): void {
    if (waitingSinceMs === null) return;
    const durationMs = this.#parts.clock.nowMs() - waitingSinceMs;
    this.#parts.audit.note({
      type: 'memory.resumed',
      tenant: spec.tenant,
      workload: spec.workload,
      instance: spec.id,
      message: `${spec.workload} does not wait for memory any more: it has ${humanBytes(limitBytes)}.`,
      data: { limitBytes, durationMs },
    });
  }
}
