// All apps and their instances: makes pools as routes come and go. Owns the map; a pool owns who gets which instance.
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import type { ConnectionCounts } from '../../model/instance.ts';
import type { RouteChange } from '../../protocol/routes.ts';
import type { Lines } from '../bandwidth/lines.ts';
import type { Connections } from '../limits/tenant-connections.ts';
import type { Gauges } from '../meter.ts';
import { AppInstance } from './app-instance.ts';
import { AppPool } from './app-pool.ts';

export class Apps {
  readonly #discard: (id: InstanceId, reason: string) => void;
  readonly #tunnels: (id: InstanceId, counts: ConnectionCounts) => void;
  readonly #lines: Lines;
  readonly #connections: Connections;
  readonly #waitMs: number;
  readonly #pools = new Map<WorkloadKey, AppPool>();
  readonly #poolOfInstance = new Map<InstanceId, AppPool>();

  constructor(
    discard: (id: InstanceId, reason: string) => void,
    tunnels: (id: InstanceId, counts: ConnectionCounts) => void,
    lines: Lines,
    connections: Connections,
    waitMs: number,
  ) {
    this.#discard = discard;
    this.#tunnels = tunnels;
    this.#lines = lines;
    this.#connections = connections;
    this.#waitMs = waitMs;
  }

  pool(key: WorkloadKey): AppPool | undefined {
    return this.#pools.get(key);
  }

  get quiet(): boolean {
    return [...this.#pools.values()].every((pool) => pool.openRequests === 0);
  }

  /** Follows a change of the route table; changes of functions are none of its business. */
  onChange(change: RouteChange): void {
    switch (change.change) {
      case 'workload': {
        const { workload } = change;
        const pool = this.#pools.get(workload.key);
        if (workload.kind !== 'app') this.#removePool(workload.key);
        else if (pool !== undefined) pool.setRoute(workload);
        else this.#pools.set(workload.key, new AppPool(workload, this.#waitMs));
        return;
      }
      case 'workloadGone':
        this.#removePool(change.key);
        return;
      case 'instance': {
        const { instance } = change;
        const pool = this.#pools.get(instance.workload);
        if (pool === undefined || this.#poolOfInstance.has(instance.id)) return;
        this.#poolOfInstance.set(instance.id, pool);
        pool.add(
          new AppInstance(
            instance,
            this.#lines.ofInstance(instance.id),
            this.#connections.of(pool.route.tenant),
            (reason) => {
              pool.remove(instance.id);
              this.#discard(instance.id, reason);
            },
            (counts) => this.#tunnels(instance.id, counts),
          ),
        );
        return;
      }
      case 'instanceGone':
        this.#poolOfInstance.get(change.id)?.remove(change.id);
        this.#poolOfInstance.delete(change.id);
        return;
      case 'tenant':
      case 'tenantGone':
    }
  }

  /** How many tunnels there are. */
  get tunnels(): number {
    let open = 0;
    for (const pool of this.#pools.values())
      for (const instance of pool.instances) open += instance.tunnels.open;
    return open;
  }

  /** A new agent knows of no tunnels. */
  tellTunnels(): void {
    for (const pool of this.#pools.values()) for (const instance of pool.instances) instance.tellTunnels();
  }

  retire(id: InstanceId): Promise<void> {
    return this.#poolOfInstance.get(id)?.retire(id) ?? Promise.resolve();
  }

  addGauges(gauges: Map<WorkloadKey, Gauges>): void {
    for (const [key, pool] of this.#pools) {
      let busyInstances = 0;
      for (const instance of pool.instances) if (instance.load > 0) busyInstances += 1;
      const { waiting, connections, openRequests } = pool;
      gauges.set(key, { busyInstances, waiting, connections, openRequests });
    }
  }

  #removePool(key: WorkloadKey): void {
    const pool = this.#pools.get(key);
    if (pool === undefined) return;
    this.#pools.delete(key);
    for (const [id, owner] of this.#poolOfInstance) if (owner === pool) this.#poolOfInstance.delete(id);
    pool.close();
  }
}
