// Room on the simulated machine: grants within its capacity, and reclaim when there is too little. The decisions are those of
// src/allocator/reclaim; owns what they do to simulated instances.
import type { InstanceId, TenantId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import { demandOf } from '../demand/demand.ts';
import { planReclaim } from '../reclaim/ladder.ts';
import { reclaimNeed } from '../reclaim/need.ts';
import { victimOrder, type Candidate } from '../reclaim/victims.ts';
import { costs, trimmedBytes } from './costs.ts';
import type { InstanceState } from './instance.ts';
import type { Tally } from './tally.ts';

/** All functions are one tenant's: nobody lends to anybody. */
const tenant = 'day' as TenantId;
const lenders: ReadonlySet<TenantId> = new Set();
/** The watermarks are looked at so often at most; what finds no room at all is seen to at once. */
const watermarkTickMs = 1_000;

export class Room {
  readonly #capacityBytes: number;
  readonly #tally: Tally;
  readonly #end: (instance: InstanceState) => void;
  readonly #instances = new Map<InstanceId, InstanceState>();
  #watermarksAtMs = 0;

  /** @param end takes an idle instance out of everything */
  constructor(capacityBytes: number, tally: Tally, end: (instance: InstanceState) => void) {
    this.#capacityBytes = capacityBytes;
    this.#tally = tally;
    this.#end = end;
  }

  add(instance: InstanceState): void {
    this.#instances.set(idOf(instance), instance);
  }

  remove(instance: InstanceState): void {
    this.#instances.delete(idOf(instance));
  }

  /** Whether there is room for so many bytes more without anything being taken back. */
  isFree(bytes: number): boolean {
    return this.#capacityBytes - this.#tally.grantedBytes >= bytes;
  }

  /**
   * Makes room for so many bytes more. How long that takes, in milliseconds, or null when there is too little to take back.
   * `asking` is about to run, so it gives nothing.
   */
  make(bytes: number, nowMs: number, asking: InstanceState | null): number | null {
    const free = this.#capacityBytes - this.#tally.grantedBytes;
    const isShort = free < bytes;
    if (!isShort && nowMs - this.#watermarksAtMs < watermarkTickMs) return 0;
    this.#watermarksAtMs = nowMs;
    const { amount } = reclaimNeed({
      capacity: this.#capacityBytes,
      unallocated: free,
      coming: 0,
      unmet: bytes,
      pressurePercent: 0,
    });
    const tookMs = amount === 0 ? 0 : this.#reclaim(amount, nowMs, asking);
    if (this.#capacityBytes - this.#tally.grantedBytes < bytes) return null;
    return isShort ? tookMs : 0;
  }

  #reclaim(wanted: number, nowMs: number, asking: InstanceState | null): number {
    const candidates = [...this.#instances.values()]
      .filter((instance) => instance !== asking && instance.phase !== 'starting')
      .map((instance) => candidateOf(instance, nowMs));
    const victims = victimOrder(candidates, lenders, nowMs);
    const { steps } = planReclaim({ resource: 'memory', wanted, victims, worthwhile: mib });
    let trims = 0;
    for (const { id, rung, leaves } of steps) {
      const instance = this.#instances.get(id);
      if (instance === undefined) continue;
      if (rung === 'terminate') {
        this.#tally.count('evictions');
        this.#end(instance);
        continue;
      }
      const used = rung === 'trim' ? trimmedBytes(instance.usedBytes) : instance.usedBytes;
      if (rung === 'trim') {
        this.#tally.count('trims');
        trims += 1;
      }
      this.#tally.change(nowMs, leaves - instance.grantBytes, used - instance.usedBytes);
      instance.grantBytes = leaves;
      instance.usedBytes = used;
    }
    return Math.ceil(trims / costs.trimsAtOnce) * costs.trimMs;
  }
}

function candidateOf(instance: InstanceState, nowMs: number): Candidate {
  const { function: own, phase, grantBytes, usedBytes } = instance;
  const isBusy = phase === 'busy';
  const trimmed = trimmedBytes(usedBytes);
  const floor = isBusy ? activeDemand(instance, nowMs) : phase === 'trimmed' ? usedBytes : trimmed;
  return {
    id: idOf(instance),
    tenant,
    grant: grantBytes,
    used: usedBytes,
    floor: Math.min(floor, own.of.requestBytes),
    garbage: phase === 'idle' || phase === 'frozen' ? usedBytes - trimmed : 0,
    cleanCache: 0,
    idleSinceMs: isBusy ? null : instance.idleSinceMs,
    windowUse: usedBytes,
    mayHibernate: false,
    mayEnd: true,
  };
}

/** What an instance is to be granted while it runs, and before it does. */
export function activeDemand({ function: own, usedBytes }: InstanceState, nowMs: number): number {
  return demandOf({
    resource: 'memory',
    used: usedBytes,
    predicted: own.prediction.predict('memory', own.of.requestBytes, nowMs),
    request: own.of.requestBytes,
    floor: 0,
    activity: 'active',
  });
}

function idOf({ id }: InstanceState): InstanceId {
  return String(id).padStart(9, '0') as InstanceId;
}
