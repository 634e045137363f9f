// One virtual machine as the fleet keeps it: who is in it, what it was provisioned with, and how much of that is claimed.
// Owns claiming and releasing, one thing after another. Does not own who is put into it (starts.ts), nor its life (roster.ts).
//
//   warm ──served──▶ bound ◀──link lost, back──▶ disconnected
//    │               │  ▲                           │
//    │               │  ├──woken── hibernated ◀──put to rest (hibernation.ts)
//    │               │  └── in another machine ◀── moving (moves.ts)
//    └───────────────┴──────────────────────────────┴──▶ stopping
import type { Clock } from '../../base/clock.ts';
import { messageOf, type BellowsError } from '../../base/errors.ts';
import type { InstanceId, TenantId, UnitId } from '../../base/ids.ts';
import type { Bytes } from '../../base/quantity.ts';
import type { InstanceInfo, InstanceUsage } from '../../model/instance.ts';
import type { ResourceKind, Resources } from '../../model/resources.ts';
import { defaultMemory, defaultStorage } from '../../model/workload.ts';
import type { Endpoint, InstanceSpec } from '../../protocol/agent.ts';
import type { UnitMeasure } from '../../protocol/unit.ts';
import type { GuestProtocol } from '../../protocol/guest.ts';
import type { Caller } from '../../protocol/rpc.ts';
import type { Logger } from '../../sys/log.ts';
import type { VmDriver, VmUnit } from '../vm/port.ts';
import type { ClaimNote } from './claim-notes.ts';
import type { FleetTuning } from './config.ts';
import { GuestCalls } from './guest-calls.ts';
import { hostQuota, sumOf, usableFor, usableWhileIdle } from './sizing.ts';
import { ToldTenants } from './told-tenants.ts';
import { UnitMemory, type Thoroughness } from './unit-memory.ts';

/** An instance in the unit, from the moment that it was placed there. */
export interface Placed {
  readonly spec: InstanceSpec;
  /** By the guest's word; null until it has started. */
  info: InstanceInfo | null;
  endpoint: Endpoint | null;
  /** What the unit must leave to it: its grant, or during a change the larger of two. */
  reserved: Resources;
  /** The last figures of its groups inside. */
  usage: InstanceUsage | null;
}

/** What became of one round of claiming and releasing. */
export interface Settled {
  /** Memory that was to be claimed and could not be yet. */
  readonly shortBytes: number;
  /** Why a resource stayed as it was, by resource. */
  readonly failures: ReadonlyMap<ResourceKind, string>;
}

export interface FleetUnitParts {
  readonly driver: VmDriver;
  readonly vm: VmUnit;
  /** In millicores; null for a tenant without one. */
  readonly cpuLimitOf: (tenant: TenantId) => number | null;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: FleetTuning;
  /** Has it run again; at once when it does. @throws BellowsError when it can not */
  readonly wake: (unit: FleetUnit) => Promise<unknown>;
  /** Its claim has moved far. */
  readonly onClaim: (note: ClaimNote) => void;
}

export class FleetUnit {
  readonly guest: GuestCalls;
  readonly placed = new Map<InstanceId, Placed>();
  /** Every tenant that it has ever served: what it may be used for next depends on it. */
  readonly served = new Set<TenantId>();
  readonly tenants: ToldTenants;
  connected = true;
  /**
   * Its guest can not be asked now: it is hibernated, on its way there or back, and whoever asks wakes it; or it goes on in
   * another machine in a moment, and whoever asks waits for that.
   */
  away: 'hibernated' | 'moving' | null = null;
  stopping = false;
  /** Why it was lost; undefined for one that was not. */
  loss: BellowsError | undefined;
  readonly #parts: FleetUnitParts;
  #vm: VmUnit;
  readonly #memory: UnitMemory;
  /** What was last asked for; a unit is made without claims. */
  readonly #applied: Map<ResourceKind, number>;
  #turn: Promise<unknown> = Promise.resolve();
  #settleTimer: NodeJS.Timeout | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  /** Its instances are frozen and have been for long enough that what they do not hold is claimed. */
  #idle = false;
  readonly #frozen = new Set<InstanceId>();
  /** Being frozen, unless a thaw came meanwhile. */
  readonly #freezing = new Set<InstanceId>();

  constructor(parts: FleetUnitParts) {
    this.#parts = parts;
    this.#vm = parts.vm;
    const { storage, bandwidth } = parts.vm.provisioned;
    this.#applied = new Map<ResourceKind, number>([
      ['storage', storage],
      ['bandwidth', bandwidth],
    ]);
    const present = (): VmUnit => this.#vm;
    const awake: Caller<GuestProtocol> = {
      call: async (name, params, options) => {
        await this.wake();
        return present().guest.call(name, params, options);
      },
    };
    this.guest = new GuestCalls(awake, parts.clock);
    this.tenants = new ToldTenants(this.guest);
    const { driver, clock, log, tuning, onClaim } = parts;
    this.#memory = new UnitMemory({
      ...{ driver, clock, log, tuning, onClaim, guest: this.guest },
      get vm() {
        return present();
      },
    });
  }

  /** It stands still on disk, until it is woken. */
  get resting(): boolean {
    return this.away === 'hibernated';
  }

  /** Another one after it was hibernated, or has moved. */
  get vm(): VmUnit {
    return this.#vm;
  }

  get id(): UnitId {
    return this.#vm.handle.id;
  }

  get granted(): Resources {
    return sumOf([...this.placed.values()].map(({ reserved }) => reserved));
  }

  get state(): UnitMeasure['state'] {
    if (this.stopping) return 'stopping';
    if (this.resting) return 'hibernated';
    if (!this.connected && this.away === null) return 'disconnected';
    return this.served.size === 0 && this.placed.size === 0 ? 'warm' : 'bound';
  }

  /** Whose it is; null while it is nobody's or several tenants'. */
  get tenant(): TenantId | null {
    const [only, ...others] = this.served;
    return only !== undefined && others.length === 0 ? only : null;
  }

  /** Whether everything in it stands still: then what it uses changes only by what is claimed. */
  get still(): boolean {
    return this.placed.size > 0 && [...this.placed.keys()].every((id) => this.#frozen.has(id));
  }

  /** What it leaves to its instances. */
  usable(): Resources {
    return usableFor(
      this.vm.provisioned,
      [...this.placed.values()].map((placed) => this.#left(placed)),
    );
  }

  /** Before anything of it is changed. @throws BellowsError when it can not run again now */
  async wake(): Promise<void> {
    if (this.away !== null) await this.#parts.wake(this);
  }

  /** It runs again, as this one. */
  replace(vm: VmUnit): void {
    this.#vm = vm;
    this.away = null;
  }

  /** Does something while nothing is claimed of it or released. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** What a start left unclaimed is claimed a little later. */
  settleSoon(): void {
    this.#later(this.#parts.tuning.settleMs);
  }

  /** Nobody's yet: claimed down to what most who come ask for, so that they need not wait for it. */
  async ready(): Promise<void> {
    if (this.served.size === 0) await this.#settleQuietly();
  }

  /**
   * Brings what is claimed to what the instances' reservations leave: releases first, then claims. Rounds follow each
   * other. What could not be claimed is tried again later by itself.
   */
  settle(thoroughness: Thoroughness = 'all'): Promise<Settled> {
    if (this.placed.size > 0) this.#memory.cutClaim(this.usable().memory);
    const round = this.#turn.then(() => this.#settle(thoroughness));
    this.#turn = round.catch(() => undefined);
    return round;
  }

  /**
   * Claims what nothing inside has, on request, also while its instances run. It stays claimed until one is thawed or comes,
   * is granted more, or memory gets short inside. Resolves with by how much the claim grew.
   */
  reclaim(why: string): Promise<number> {
    const { idleSpareBytes, runningSpareBytes } = this.#parts.tuning;
    const round = this.#turn.then(() => {
      if (this.stopping || this.away !== null || this.placed.size === 0) return 0;
      const spareBytes = this.still ? idleSpareBytes : runningSpareBytes;
      return this.#memory
        .reclaim(this.usable().memory, spareBytes, why)
        .finally(() => this.#settleWhenCalm());
    });
    this.#turn = round.catch(() => undefined);
    return round;
  }

  /** Everything that is claimed of memory goes back at once, past whatever is under way; claimed again when it is calm. */
  async releaseEverything(why: string): Promise<void> {
    const released = this.#memory.releaseEverything(why);
    this.#settleWhenCalm();
    await released;
  }

  /** An instance is about to be frozen: {@link awake} may come before {@link frozen}. */
  freezing(id: InstanceId): void {
    this.#freezing.add(id);
  }

  /** An instance has been frozen. When all are, what they do not hold is claimed if that lasts. */
  frozen(id: InstanceId): void {
    if (!this.#freezing.delete(id)) return;
    this.#frozen.add(id);
    clearTimeout(this.#idleTimer);
    if (!this.still) return;
    this.#idleTimer = setTimeout(() => {
      this.#idle = true;
      void this.#settleQuietly();
    }, this.#parts.tuning.idleClaimMs).unref();
  }

  /** Before an instance runs again, or comes: the unit has all that was granted by the time that this resolves. */
  async awake(id: InstanceId): Promise<void> {
    this.#freezing.delete(id);
    this.#frozen.delete(id);
    clearTimeout(this.#idleTimer);
    if (!this.#idle && !this.#memory.isReclaimed) return;
    this.#idle = false;
    await this.#memory.giveBack(this.usable().memory);
    await this.settle();
  }

  /**
   * What was lent of an instance's memory is its own again, up to so much: it is not claimed any more when this resolves. Not
   * in turn, for whoever needs it runs, or is about to.
   */
  async givenBack(id: InstanceId, memoryBytes: number): Promise<void> {
    const placed = this.placed.get(id);
    if (placed === undefined || placed.reserved.memory >= memoryBytes) return;
    placed.reserved = { ...placed.reserved, memory: memoryBytes as Bytes };
    this.#memory.cutClaim(this.usable().memory);
    await this.#memory.giveBack(this.usable().memory);
    await this.settle();
  }

  /** Who looks after the unit, or the agent inside, is another: nothing is known to hold. */
  forgetApplied(): void {
    this.#applied.clear();
    this.#memory.forgetTold();
    this.tenants.forget();
  }

  close(): void {
    this.stopping = true;
    clearTimeout(this.#settleTimer);
    clearTimeout(this.#idleTimer);
  }

  async #settle(thoroughness: Thoroughness): Promise<Settled> {
    const failures = new Map<ResourceKind, string>();
    // What rests is settled when it is back.
    if (this.stopping || this.away !== null) return { shortBytes: 0, failures };
    const { driver, log } = this.#parts;
    const { vm } = this;
    if (this.placed.size === 0) {
      if (this.served.size === 0) await this.#settleWarm();
      return { shortBytes: 0, failures };
    }
    const usable = this.usable();
    const attempt = async (kind: ResourceKind, amount: number, apply: () => Promise<unknown>) => {
      try {
        await this.#apply(kind, amount, apply);
      } catch (thrown) {
        if (!this.stopping)
          log.warn({ err: thrown, unit: this.id, resource: kind }, 'a unit’s resource could not be changed');
        failures.set(kind, messageOf(thrown));
      }
    };
    const quota = hostQuota(usable, this.tenant === null ? null : this.#parts.cpuLimitOf(this.tenant));
    await Promise.all([
      attempt('cpu', quota, () => driver.setCpu(vm, quota)),
      attempt('bandwidth', usable.bandwidth, () => driver.setBandwidth(vm, usable.bandwidth)),
      attempt('storage', usable.storage, () => driver.setStorage(vm, usable.storage)),
    ]);
    let shortBytes = 0;
    try {
      const leftBytes = this.#idle ? this.#idleBytes(usable.memory) : usable.memory;
      shortBytes = await this.#memory.settle(usable.memory, leftBytes, thoroughness);
      this.#settleWhenCalm();
    } catch (thrown) {
      if (!this.stopping)
        log.warn({ err: thrown, unit: this.id }, 'memory of a unit could not be claimed or released');
      failures.set('memory', messageOf(thrown));
    }
    const again = failures.size > 0 || (shortBytes > 0 && thoroughness === 'all');
    if (again && !this.stopping) this.#later(this.#parts.tuning.settleMs);
    return { shortBytes, failures };
  }

  /** To what most ask for who name no size. */
  async #settleWarm(): Promise<void> {
    const { vm } = this;
    const storage = Math.min(defaultStorage, vm.provisioned.storage);
    await this.#apply('storage', storage, () => this.#parts.driver.setStorage(vm, storage));
    const target = vm.provisioned.memory - Math.min(defaultMemory, vm.provisioned.memory);
    await this.#memory.claimTo(target, 'free');
    this.#settleWhenCalm();
  }

  #settleWhenCalm(): void {
    const { quietMs } = this.#memory;
    if (quietMs > 0) this.#later(quietMs);
  }

  async #apply(kind: ResourceKind, amount: number, apply: () => Promise<unknown>): Promise<void> {
    if (this.#applied.get(kind) === amount) return;
    await apply();
    this.#applied.set(kind, amount);
  }

  /** One whose memory is lent has a little more than that, or the first page that it asks for would have to wait. */
  #left({ reserved, info }: Placed): Resources {
    if (info?.promised === undefined) return reserved;
    const memory = Math.min(info.promised.memory, reserved.memory + this.#parts.tuning.idleSpareBytes);
    return { ...reserved, memory: Math.max(reserved.memory, memory) as Bytes };
  }

  #idleBytes(usableBytes: number): number {
    let usedBytes = 0;
    // Of an instance that was never measured it is not known what it holds.
    for (const { usage, reserved } of this.placed.values())
      usedBytes += usage?.workingSetBytes ?? reserved.memory;
    return usableWhileIdle(usableBytes, usedBytes, this.#parts.tuning.idleSpareBytes);
  }

  #later(afterMs: number): void {
    clearTimeout(this.#settleTimer);
    this.#settleTimer = setTimeout(() => void this.#settleQuietly(), afterMs).unref();
  }

  async #settleQuietly(): Promise<void> {
    await this.settle().catch((thrown: unknown) =>
      this.#parts.log.warn({ err: thrown, unit: this.id }, 'a unit’s claims could not be settled'),
    );
  }
}
