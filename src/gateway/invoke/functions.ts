// All functions and their instances: makes pools and links as routes come and go. Owns the map; a pool owns its queue.
import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { InstanceId, TenantId, WorkloadKey } from '../../base/ids.ts';
import type { BrokenInvocation, Endpoint } from '../../protocol/agent.ts';
import type { InstanceRoute, RouteChange, WorkloadRoute } from '../../protocol/routes.ts';
import type { InvokeTuning } from '../config.ts';
import type { InstanceLinkHandlers } from '../links/instance-link.ts';
import type { Gauges } from '../meter.ts';
import { FunctionConcurrency, TenantConcurrency } from './concurrency.ts';
import { FunctionPool } from './function-pool.ts';
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
}

export class Functions {
  readonly #effects: FunctionsEffects;
  readonly #tuning: InvokeTuning;
  readonly #pools = new Map<WorkloadKey, FunctionPool>();
  readonly #poolOfInstance = new Map<InstanceId, FunctionPool>();
  readonly #tenants = new Map<TenantId, TenantConcurrency>();

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
        this.#poolOfInstance.get(change.id)?.instanceGone(change.id, change);
        this.#poolOfInstance.delete(change.id);
    }
  }

  /** Invocations of a tenant that run or wait. */
  activeOf(tenant: TenantId): number {
    return this.#tenants.get(tenant)?.active ?? 0;
  }

  /** Freezes and reports what idles. */
  sweep(): void {
    for (const pool of this.#pools.values()) pool.sweep();
  }

  retire(id: InstanceId): Promise<void> {
    return this.#poolOfInstance.get(id)?.retire(id) ?? Promise.resolve();
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
    if (concurrency === undefined) this.#tenants.set(id, (concurrency = new TenantConcurrency(id)));
    return concurrency;
  }

  #setWorkload(route: WorkloadRoute): void {
    const pool = this.#pools.get(route.key);
    if (pool !== undefined) {
      pool.setRoute(route);
      return;
    }
    const effects = {
      ...this.#effects,
      acquire: (generation: string, waiting: number) => this.#effects.acquire(route.key, generation, waiting),
      spare: (waiting: number) => this.#effects.spare(route.key, waiting),
    };
    this.#pools.set(
      route.key,
      new FunctionPool(route, effects, this.#tuning, new FunctionConcurrency(this.#tenant(route.tenant))),
    );
  }

  #removeWorkload(key: WorkloadKey): void {
    const pool = this.#pools.get(key);
    if (pool === undefined) return;
    this.#pools.delete(key);
    for (const [id, owner] of this.#poolOfInstance) if (owner === pool) this.#poolOfInstance.delete(id);
    pool.close();
  }

  #addInstance(route: InstanceRoute): void {
    const { id, workload, endpoint } = route;
    const pool = this.#pools.get(workload);
    if (pool === undefined) return;
    if (this.#poolOfInstance.has(id)) {
      // A second route of the same instance tells of its grant or its state, and the link is there.
      if (!route.starting) pool.instanceServes(id);
      return;
    }
    this.#poolOfInstance.set(id, pool);
    const link = this.#effects.openLink(id, endpoint, {
      onOpen: () => pool.linkOpened(id),
      onFrame: (frame) => {
        try {
          pool.onFrame(id, frame);
        } catch (thrown) {
          this.#effects.discard(id, `it spoke nonsense: ${messageOf(thrown)}`);
          throw thrown;
        }
      },
      onLost: () => pool.linkLost(id),
      onDead: (reason) => {
        this.#effects.discard(id, reason);
        pool.instanceGone(id, { reason: '', oomKilled: false });
      },
    });
    pool.addInstance(route, link);
  }
}
