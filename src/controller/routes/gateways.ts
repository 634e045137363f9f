// The gateways that are connected: who they are, what they are told and asked. Owns the order of route changes:
// everything that changed in one turn of the event loop goes out as one event, in the order in which it happened.
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import type { Clock } from '../../base/clock.ts';
import type { CountedUse } from '../../model/tenant.ts';
import type { GatewayView } from '../control-plane.ts';
import type { RpcPeer } from '../../protocol/rpc-link.ts';
import type { Params, ResultOf } from '../../protocol/rpc.ts';
import type { ControllerProtocol, GatewayProtocol, RouteChange } from '../../protocol/routes.ts';
import type { Logger } from '../../sys/log.ts';
import { Arrivals } from './arrivals.ts';

export type GatewayPeer = RpcPeer<ControllerProtocol, GatewayProtocol>;

/** What a gateway says of itself and of the others. */
export interface GatewayName {
  readonly pid: number;
  readonly place: number;
  readonly beside: readonly number[];
}

type Invoke = GatewayProtocol['methods']['invoke'];
/** An answer to a call with a deadline comes after it by the time of a round trip. */
const answerMarginMs = 2_000;
/** A round trip on a Unix socket; a gateway that is stuck for longer than this does not hold up a change. */
const syncTimeoutMs = 1_000;
/** Likewise: whoever looks at tenants or gateways is answered without. */
const usageTimeoutMs = 1_000;

export class Gateways {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #arrivals: Arrivals;
  /** In the order in which they came: of those in one place the newest is the one that will stay. */
  readonly #gateways = new Map<GatewayPeer, GatewayName>();
  #changes: RouteChange[] = [];
  #scheduled: NodeJS.Immediate | undefined;
  #lastPlace = 0;

  /** @param arrivalMs how long a gateway that is to come is waited for */
  constructor(clock: Clock, log: Logger, arrivalMs: number) {
    this.#arrivals = new Arrivals(arrivalMs);
    this.#clock = clock;
    this.#log = log;
  }

  /** From now on it gets changes; everything before must be in the table that it is answered. */
  add(peer: GatewayPeer, name: GatewayName): void {
    this.flush();
    this.#gateways.delete(peer);
    this.#gateways.set(peer, name);
    const present = new Set([...this.#gateways.values()].map(({ pid }) => pid));
    this.#arrivals.arrived(
      name.pid,
      name.beside.filter((pid) => !present.has(pid)),
    );
  }

  remove(peer: GatewayPeer): void {
    if (this.#gateways.delete(peer) && !this.connected) this.#arrivals.allGone();
  }

  get connected(): boolean {
    return this.#gateways.size > 0;
  }

  push(change: RouteChange): void {
    this.#changes.push(change);
    this.#scheduled ??= setImmediate(() => this.flush());
  }

  /** Sends what is gathered now: an answer that rests on it may follow. */
  flush(): void {
    clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
    if (this.#changes.length === 0) return;
    const changes = this.#changes;
    this.#changes = [];
    for (const peer of this.#gateways.keys()) peer.emit('routes', changes);
  }

  /**
   * Resolves when every gateway has applied what was pushed so far: whoever calls next meets the change. Those that are to come
   * are waited for: whoever changes something came through a gateway, which finds a controller that came back in a moment.
   */
  async sync(): Promise<void> {
    await this.#arrivals.complete();
    this.flush();
    await Promise.all(
      [...this.#gateways.keys()].map((peer) =>
        peer
          .call('sync', {}, { timeoutMs: syncTimeoutMs })
          .catch((thrown: unknown) => this.#log.warn({ err: thrown }, 'a gateway is late with its routes')),
      ),
    );
  }

  /**
   * Resolves when no gateway has anything in flight for these instances, or at the deadline; a gateway that is gone has nothing.
   * One that has not found this controller yet, which just started, may well have.
   */
  async retire(ids: readonly InstanceId[], deadlineMs: number): Promise<void> {
    await this.#arrivals.complete();
    this.flush();
    const timeoutMs = Math.max(0, deadlineMs - this.#clock.nowMs()) + answerMarginMs;
    await Promise.all(
      [...this.#gateways.keys()].map((peer) =>
        peer
          .call('retire', { ids: [...ids], deadlineMs }, { timeoutMs })
          .catch((thrown: unknown) =>
            this.#log.warn({ err: thrown, ids }, 'a gateway did not retire instances'),
          ),
      ),
    );
  }

  /**
   * What each tenant has of what gateways count; null when one does not say so in time. Each knows what the others carry, so one
   * is believed; what was let in within a second each has counted for itself.
   */
  async usage(): Promise<ReadonlyMap<TenantId, CountedUse> | null> {
    const serving = this.#serving();
    if (serving.length === 0) return null;
    try {
      const told = await Promise.all(
        serving.map((peer) => peer.call('usage', {}, { timeoutMs: usageTimeoutMs })),
      );
      const sum = new Map<TenantId, CountedUse>();
      for (const { tenant, ...use } of told.flat()) {
        const before = sum.get(tenant) ?? { connections: 0, concurrency: 0, requests: 0 };
        sum.set(tenant, {
          connections: Math.max(before.connections, use.connections),
          concurrency: Math.max(before.concurrency, use.concurrency),
          requests: before.requests + use.requests,
        });
      }
      return sum;
    } catch (thrown) {
      this.#log.warn({ err: thrown }, 'a gateway did not say what is in use');
      return null;
    }
  }

  /** All that are connected, by place; of those in one place who came first is first. */
  async look(): Promise<GatewayView[]> {
    const seen = await Promise.all(
      [...this.#gateways].map(async ([peer, { pid, place }]): Promise<GatewayView> => {
        try {
          return { pid, place, ...(await peer.call('look', {}, { timeoutMs: usageTimeoutMs })) };
        } catch (thrown) {
          this.#log.warn({ err: thrown, gateway: pid }, 'a gateway did not say what it is doing');
          return { pid, place, state: 'silent', connections: null };
        }
      }),
    );
    return seen.toSorted((left, right) => left.place - right.place);
  }

  /** Runs an event through a gateway that serves, in turn. @throws BellowsError Unavailable when there is none */
  async invoke(params: Params<Invoke>, timeoutMs: number): Promise<ResultOf<Invoke>> {
    const serving = this.#serving();
    this.#lastPlace += 1;
    const peer = serving[this.#lastPlace % serving.length];
    if (peer === undefined)
      throw new BellowsError(
        'Unavailable',
        'No gateway is connected.',
        'It is restarted by itself; try again.',
      );
    this.flush();
    return peer.call('invoke', params, { timeoutMs });
  }

  /** The newest in each place: one before it only ends what it has. */
  #serving(): GatewayPeer[] {
    const newest = new Map<number, GatewayPeer>();
    for (const [peer, { place }] of this.#gateways) newest.set(place, peer);
    return [...newest.values()];
  }

  close(): void {
    clearImmediate(this.#scheduled);
    for (const peer of this.#gateways.keys()) peer.close();
    this.#gateways.clear();
  }
}
