// All functions and their instances: makes pools and links as routes come and go. Owns the map; a pool owns its queue.
import type { FrameBatch } from '../../base/frame-batch.ts';
import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { InstanceId, TenantId, WorkloadKey } from '../../base/ids.ts';
import type { BrokenInvocation, Endpoint } from '../../protocol/agent.ts';
import type { LendingWord } from '../../protocol/beside.ts';
import type { InstanceRoute, RouteChange, WorkloadRoute } from '../../protocol/routes.ts';
import type { InvokeTuning } from '../config.ts';
import { frameType } from '../../protocol/instance.ts';
import type { InstanceLinkHandlers } from '../links/instance-link.ts';
import type { Gauges } from '../meter.ts';
import { FunctionConcurrency, TenantConcurrency } from './concurrency.ts';
import type { PoolEffects } from './effects.ts';
import { FunctionPool } from './function-pool.ts';
import type { Neighbour } from './lending.ts';
import type { SlotLink } from './slot.ts';

export interface FunctionsEffects {
  readonly clock: Clock;
  openLink(id: InstanceId, endpoint: Endpoint, handlers: InstanceLinkHandlers): SlotLink;
  acquire(workload: WorkloadKey, generation: string, waiting: number): Promise<InstanceId | null>;
  spare(workload: WorkloadKey, waiting: number): void;
  discard(id: InstanceId, reason: string): void;
  freeze(id: InstanceId): Promise<void>;
  thaw(id: InstanceId): Promise<void>;
  logBroken(id: InstanceId, invocation: BrokenInvocation): Promise<Buffer>;
  idle(id: InstanceId, sinceMs: number | null): void;
  lending(workload: WorkloadKey): PoolEffects['lending'];
  /** Something was counted that has a limit. */
  counted(): void;
  hearOthers: PoolEffects['hearOthers'];
}

export interface LendingEvent {
  readonly workload: WorkloadKey;
  readonly id: InstanceId;
  readonly say: LendingWord;
}

/** An instance that another gateway has. */
interface Loan {
  readonly from: Neighbour;
  readonly id: InstanceId;
}

export class Functions {
  readonly #effects: FunctionsEffects;
  readonly #tuning: InvokeTuning;
  readonly #pools = new Map<WorkloadKey, FunctionPool>();
  readonly #poolOfInstance = new Map<InstanceId, FunctionPool>();
  readonly #tenants = new Map<TenantId, TenantConcurrency>();
  /** Instances whose link is not known to be good yet. */
  readonly #unheard = new Map<InstanceId, NodeJS.Timeout | undefined>();
  /** What other gateways have of functions that are not known here yet. */
  readonly #heldEarly = new Map<WorkloadKey, Loan[]>();
  #leaving = false;

  constructor(effects: FunctionsEffects, tuning: InvokeTuning) {
    this.#effects = effects;
    this.#tuning = tuning;
  }

  pool(key: WorkloadKey): FunctionPool | undefined {
    return this.#pools.get(key);
  }

  get quiet(): boolean {
    return [...this.#pools.values()].every((pool) => pool.quiet);
  }

  /** Follows a change of the route table; changes of apps are none of its business. */
  onChange(change: RouteChange): void {
    switch (change.change) {
      case 'tenant': {
        const concurrency = this.#tenant(change.tenant.id);
        concurrency.limit = change.tenant.concurrencyLimit;
        return;
      }
      case 'tenantGone':
        this.#tenants.delete(change.id);
        return;
      case 'workload':
        if (change.workload.kind === 'function') this.#setWorkload(change.workload);
        else this.#removeWorkload(change.workload.key);
        return;
      case 'workloadGone':
        this.#removeWorkload(change.key);
        return;
      case 'instance':
        this.#addInstance(change.instance);
        return;
      case 'instanceGone':
        this.#forgetUnheard(change.id);
        this.#poolOfInstance.get(change.id)?.instances.gone(change.id, change);
        this.#poolOfInstance.delete(change.id);
    }
  }

  /** Invocations of a tenant that run or wait. */
  activeOf(tenant: TenantId): number {
    return this.#tenants.get(tenant)?.active ?? 0;
  }

  /** Freezes and reports what idles. */
  sweep(mayFreeze: boolean): void {
    for (const pool of this.#pools.values()) pool.sweep(mayFreeze);
  }

  /** Another gateway serves from now on. */
  leave(): void {
    this.#leaving = true;
    for (const pool of this.#pools.values()) pool.leave();
  }

  /** Another gateway's word of an instance. */
  lending(from: Neighbour, { workload, id, say }: LendingEvent): void {
    const pool = this.#pools.get(workload);
    if (pool !== undefined) pool.lending.heard(from, id, say);
    else if (say === 'holds' || say === 'returns') this.#hearEarly(workload, { from, id }, say);
    else if (say === 'wants') this.#effects.lending(workload).say(from, id, 'refuses');
  }

  #hearEarly(workload: WorkloadKey, loan: Loan, say: 'holds' | 'returns'): void {
    const others = (this.#heldEarly.get(workload) ?? []).filter(
      ({ from, id }) => from !== loan.from || id !== loan.id,
    );
    this.#heldEarly.set(workload, say === 'holds' ? [...others, loan] : others);
  }

  /** Another gateway has ended. */
  neighbourGone(who: Neighbour): void {
    for (const pool of this.#pools.values()) pool.lending.gone(who);
    for (const [key, held] of this.#heldEarly)
      this.#heldEarly.set(
        key,
        held.filter(({ from }) => from !== who),
      );
  }

  /** What is at home with other gateways and used here. */
  *borrowed(): Iterable<{ readonly workload: WorkloadKey; readonly id: InstanceId }> {
    for (const [workload, { lending }] of this.#pools)
      for (const id of lending.borrowed()) yield { workload, id };
  }

  /** How many links are being made, or have not said a word. */
  get unheard(): number {
    return this.#unheard.size;
  }

  /** How many invocations of each tenant wait here. */
  waitingByTenant(): Map<TenantId, number> {
    const waiting = new Map<TenantId, number>();
    for (const { route, waiting: here } of this.#pools.values())
      if (here > 0) waiting.set(route.tenant, (waiting.get(route.tenant) ?? 0) + here);
    return waiting;
  }

  /** Of all other gateways together. */
  setWaitingElsewhere(waiting: ReadonlyMap<TenantId, number>): void {
    for (const [id, tenant] of this.#tenants) tenant.waitingElsewhere = waiting.get(id) ?? 0;
  }

  retire(id: InstanceId): Promise<void> {
    return this.#poolOfInstance.get(id)?.instances.retire(id) ?? Promise.resolve();
  }

  /** For a report: what was counted for it begins anew. */
  addGauges(gauges: Map<WorkloadKey, Gauges>): void {
    for (const [key, pool] of this.#pools) {
      const { busyInstances, waiting } = pool;
      gauges.set(key, { busyInstances, waiting, connections: 0, calls: pool.takeCalls() });
    }
  }

  #tenant(id: TenantId): TenantConcurrency {
    let concurrency = this.#tenants.get(id);
    if (concurrency !== undefined) return concurrency;
    concurrency = new TenantConcurrency(id, () => this.#effects.counted());
    this.#tenants.set(id, concurrency);
    return concurrency;
  }

  #setWorkload(route: WorkloadRoute): void {
    const pool = this.#pools.get(route.key);
    if (pool !== undefined) {
      pool.setRoute(route);
      return;
    }
    const effects: PoolEffects = {
      ...this.#effects,
      lending: this.#effects.lending(route.key),
      acquire: (generation: string, waiting: number) => this.#effects.acquire(route.key, generation, waiting),
      spare: (waiting: number) => this.#effects.spare(route.key, waiting),
    };
    const concurrency = new FunctionConcurrency(this.#tenant(route.tenant));
    const made = new FunctionPool(route, effects, this.#tuning, concurrency);
    if (this.#leaving) made.leave();
    this.#pools.set(route.key, made);
    for (const { from, id } of this.#heldEarly.get(route.key) ?? []) made.lending.heard(from, id, 'holds');
    this.#heldEarly.delete(route.key);
  }

  #removeWorkload(key: WorkloadKey): void {
    const pool = this.#pools.get(key);
    if (pool === undefined) return;
    this.#pools.delete(key);
    for (const [id, owner] of this.#poolOfInstance) {
      if (owner !== pool) continue;
      this.#poolOfInstance.delete(id);
      this.#forgetUnheard(id);
    }
    pool.close();
  }

  #addInstance(route: InstanceRoute): void {
    const { id, workload, endpoint } = route;
    const pool = this.#pools.get(workload);
    if (pool === undefined) return;
    if (this.#poolOfInstance.has(id)) {
      // A second route of the same instance tells of its grant or its state, and the link is there.
      if (!route.starting) pool.instances.serves(id);
      return;
    }
    this.#poolOfInstance.set(id, pool);
    this.#unheard.set(id, undefined);
    const link = this.#effects.openLink(id, endpoint, {
      onOpen: () => {
        this.#unheard.set(id, undefined);
        link.sendWritten(askForOthers);
        if (pool.instances.speaks(id)) this.#awaitWord(id, pool);
        else this.#heard(id, pool);
      },
      onFrame: (frame) => {
        try {
          if (frame.type === frameType.pong) this.#heard(id, pool);
          pool.instances.onFrame(id, frame);
        } catch (thrown) {
          this.#effects.discard(id, `it spoke nonsense: ${messageOf(thrown)}`);
          throw thrown;
        }
      },
      onLost: () => {
        this.#forgetUnheard(id);
        pool.instances.linkLost(id);
      },
      onDead: (reason) => {
        this.#forgetUnheard(id);
        this.#effects.discard(id, reason);
        pool.instances.gone(id, { reason: '', oomKilled: false });
      },
    });
    pool.instances.add(route, link);
  }

  /**
   * What it runs for others it says when it is asked. Until then it is sent nothing; one that says nothing for long may
   * have been frozen since the controller told of it.
   */
  #awaitWord(id: InstanceId, pool: FunctionPool): void {
    const late = setTimeout(() => {
      this.#unheard.delete(id);
      pool.instances.linkOpened(id, true);
    }, this.#tuning.deathReasonMs);
    this.#unheard.set(id, late);
  }

  #heard(id: InstanceId, pool: FunctionPool): void {
    if (!this.#unheard.has(id)) return;
    this.#forgetUnheard(id);
    pool.instances.linkOpened(id);
  }

  #forgetUnheard(id: InstanceId): void {
    clearTimeout(this.#unheard.get(id));
    this.#unheard.delete(id);
  }
}

/** A runtime of an earlier Bellows knows no `watch` and has nothing to say to it; the pong says that all was said. */
function askForOthers(batch: FrameBatch): void {
  for (const type of [frameType.watch, frameType.ping]) {
    batch.begin(0);
    batch.end(type, 0, 0);
  }
}
