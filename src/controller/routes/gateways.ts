// The gateways that are connected: who they are, what they are told and asked. Owns the order of route changes:
// everything that changed in one turn of the event loop goes out as one event, in the order in which it happened.
import { setTimeout as sleep } from 'node:timers/promises';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import type { Clock } from '../../base/clock.ts';
import type { CountedUse } from '../../model/tenant.ts';
import type { RpcPeer } from '../../protocol/rpc-link.ts';
import type { Params, ResultOf } from '../../protocol/rpc.ts';
import type { ControllerProtocol, GatewayProtocol, RouteChange } from '../../protocol/routes.ts';
import type { Logger } from '../../sys/log.ts';

export type GatewayPeer = RpcPeer<ControllerProtocol, GatewayProtocol>;

type Invoke = GatewayProtocol['methods']['invoke'];
/** An answer to a call with a deadline comes after it by the time of a round trip. */
const answerMarginMs = 2_000;
/** A round trip on a Unix socket; a gateway that is stuck for longer than this does not hold up a change. */
const syncTimeoutMs = 1_000;
/** Likewise: whoever looks at tenants is answered without. */
const usageTimeoutMs = 1_000;

export class Gateways {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #arrivalMs: number;
  /** In the order in which they came: the newest is the one that will stay when one takes over from another. */
  readonly #peers = new Set<GatewayPeer>();
  #changes: RouteChange[] = [];
  #scheduled: NodeJS.Immediate | undefined;
  #arrival = Promise.withResolvers<void>();

  /** @param arrivalMs how long a gateway that is to come is waited for */
  constructor(clock: Clock, log: Logger, arrivalMs: number) {
    this.#arrivalMs = arrivalMs;
    this.#clock = clock;
    this.#log = log;
  }

  /** From now on it gets changes; everything before must be in the table that it is answered. */
  add(peer: GatewayPeer): void {
    this.flush();
    this.#peers.delete(peer);
    this.#peers.add(peer);
    // In the next turn it has been answered its table.
    setImmediate(this.#arrival.resolve);
  }

  remove(peer: GatewayPeer): void {
    if (this.#peers.delete(peer) && !this.connected) this.#arrival = Promise.withResolvers<void>();
  }

  get connected(): boolean {
    return this.#peers.size > 0;
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
    for (const peer of this.#peers) peer.emit('routes', changes);
  }

  /**
   * Resolves when every gateway has applied what was pushed so far: whoever calls next meets the change. Where there is none
   * one is waited for: whoever changes something came through a gateway, which finds a controller that came back in a moment.
   */
  async sync(): Promise<void> {
    await this.#somebody();
    this.flush();
    await Promise.all(
      [...this.#peers].map((peer) =>
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
    await this.#somebody();
    this.flush();
    const timeoutMs = Math.max(0, deadlineMs - this.#clock.nowMs()) + answerMarginMs;
    await Promise.all(
      [...this.#peers].map((peer) =>
        peer
          .call('retire', { ids: [...ids], deadlineMs }, { timeoutMs })
          .catch((thrown: unknown) =>
            this.#log.warn({ err: thrown, ids }, 'a gateway did not retire instances'),
          ),
      ),
    );
  }

  /** Resolves when a gateway is connected, or late. */
  async #somebody(): Promise<void> {
    if (this.connected) return;
    await Promise.race([this.#arrival.promise, sleep(this.#arrivalMs, undefined, { ref: false })]);
  }

  /**
   * What each tenant has of what gateways count, by the newest: the one before it only ends what it has. Null when none says so
   * in time.
   */
  async usage(): Promise<ReadonlyMap<TenantId, CountedUse> | null> {
    const peer = [...this.#peers].at(-1);
    if (peer === undefined) return null;
    try {
      const lines = await peer.call('usage', {}, { timeoutMs: usageTimeoutMs });
      return new Map(lines.map(({ tenant, ...use }) => [tenant, use]));
    } catch (thrown) {
      this.#log.warn({ err: thrown }, 'a gateway did not say what is in use');
      return null;
    }
  }

  /** Runs an event through the newest gateway. @throws BellowsError Unavailable when there is none */
  async invoke(params: Params<Invoke>, timeoutMs: number): Promise<ResultOf<Invoke>> {
    const peer = [...this.#peers].at(-1);
    if (peer === undefined)
      throw new BellowsError(
        'Unavailable',
        'No gateway is connected.',
        'It is restarted by itself; try again.',
      );
    this.flush();
    return peer.call('invoke', params, { timeoutMs });
  }

  close(): void {
    clearImmediate(this.#scheduled);
    for (const peer of this.#peers) peer.close();
    this.#peers.clear();
  }
}
