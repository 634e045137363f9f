// What grants follow of what instances demand: demand without its tremor, so that a division that was made stays until it matters.
// Owns what each demanded last, as far as it was divided, and who took back what it had lent. What is demanded is ../demand's.
import type { Clock } from '../../base/clock.ts';
import type { InstanceId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type { PartialResources, ResourceKind, Resources } from '../../model/resources.ts';
import type { Demands } from '../demand/demands.ts';
import { requestOf } from '../resize/plan-input.ts';
import type { Tracked } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';

/**
 * What has idled for so short counts as working: functions are called again within a second or two more often than not, and
 * gateways freeze what idles longer than this.
 */
const calmMs = 2_000;
/** Who took back what it had lent lends nothing for so long: a frozen function that is called now and then would lend in vain each time. */
const keepsMs = 10_000;
/** Who needs more than it has demands all that it asks for so long: the agent says each second that it goes on. */
const needsMs = 3_000;

/** Demand moves in steps of this. A step of memory is what the agent wants free above a working set; of the rest, what nobody notices. */
const stepOf: Readonly<Record<Exclude<ResourceKind, 'storage'>, number>> = {
  memory: 8 * mib,
  cpu: 50,
  bandwidth: 1_000_000,
};
/** It has to fall by a quarter, and by two steps, before a grant follows it down; up, it is followed at once. */
const slack = { share: 0.25, steps: 2 } as const;

/**
 * Processor and bandwidth are not given back by whoever enforces them, but by the next division: of these, so much of its
 * request is kept by who idles, to begin with.
 */
const keptShare = 0.25;

export class SteadyDemands {
  readonly #demands: Pick<Demands, 'demandOf'>;
  readonly #desired: Pick<DesiredState, 'record'>;
  readonly #clock: Clock;
  readonly #last = new Map<InstanceId, PartialResources>();
  readonly #keepsUntilMs = new Map<InstanceId, number>();

  constructor(demands: Pick<Demands, 'demandOf'>, desired: Pick<DesiredState, 'record'>, clock: Clock) {
    this.#demands = demands;
    this.#desired = desired;
    this.#clock = clock;
  }

  /** It needed what it had lent. */
  tookBack(id: InstanceId): void {
    this.#keepsUntilMs.set(id, this.#clock.nowMs() + keepsMs);
  }

  /** It needs more than it has. */
  needsMore(id: InstanceId): void {
    const untilMs = this.#clock.nowMs() + needsMs;
    this.#keepsUntilMs.set(id, Math.max(untilMs, this.#keepsUntilMs.get(id) ?? 0));
  }

  forget(id: InstanceId): void {
    this.#last.delete(id);
    this.#keepsUntilMs.delete(id);
  }

  /**
   * What is not named is demanded as it is asked for; so is storage, whose owner can not be told to wait for it.
   * @param wanted what it is to ask for, where that is not what its workload asks for
   * @param isHurried somebody waits for room to start: who idles lends for that at once, or it would be ended for it
   */
  of(tracked: Tracked, isHurried: boolean, wanted?: Resources): PartialResources {
    const { id, workload } = tracked.spec;
    const nowMs = this.#clock.nowMs();
    const lendsNow = isHurried && tracked.idle;
    if (!lendsNow && (this.#keepsUntilMs.get(id) ?? 0) > nowMs) return {};
    const isCalm = lendsNow || nowMs - tracked.lastUsedMs >= calmMs;
    const demand = this.#demands.demandOf(isCalm ? tracked : { ...tracked, idle: false });
    const request = requestOf(this.#desired.record(workload), tracked);
    const next = steady(this.#last.get(id), demand, request, wanted ?? request);
    this.#last.set(id, next);
    return next;
  }
}

/**
 * The next figure to divide by, after `last`.
 * @param request what it asks for, and may demand at most
 * @param wanted what it is to ask for: who demands all that it asks for, demands all of that
 */
export function steady(
  last: PartialResources | undefined,
  demand: Resources,
  request: Resources,
  wanted: Resources,
): PartialResources {
  const next = (kind: keyof typeof stepOf, least: number): number => {
    const asked = wanted[kind];
    const now = demand[kind] >= request[kind] ? asked : Math.max(demand[kind], least);
    const rounded = Math.min(asked, Math.ceil(now / stepOf[kind]) * stepOf[kind]);
    const before = Math.min(asked, last?.[kind] ?? 0);
    const fallsBy = before - rounded;
    const isSmall = fallsBy < Math.max(before * slack.share, slack.steps * stepOf[kind]);
    return fallsBy > 0 && isSmall ? before : rounded;
  };
  return {
    memory: next('memory', 0) as Resources['memory'],
    cpu: next('cpu', wanted.cpu * keptShare) as Resources['cpu'],
    bandwidth: next('bandwidth', wanted.bandwidth * keptShare) as Resources['bandwidth'],
  };
}
