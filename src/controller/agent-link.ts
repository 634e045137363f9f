// The controller's view of one unit's agent: who runs there is taken over on every new link, and events are copied
// into the actual state. Owns adoption. Does not own what is done about what it finds (./reconcile).
import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import type { z } from 'zod';
import type { agentHello, AgentProtocol, Endpoint, Shortage, TenantSpec } from '../protocol/agent.ts';
import type { UnitEvent } from '../protocol/unit.ts';
import type { Caller, EventOf, ResultOf } from '../protocol/rpc.ts';
import type { InstanceInfo } from '../model/instance.ts';
import type { Tenant } from '../model/tenant.ts';
import type { Logger } from '../sys/log.ts';
import type { Unit } from '../units/port.ts';
import { isUsable, type ActualState, type Tracked } from './state/actual.ts';
import type { DesiredState } from './state/desired.ts';

export type AgentHello = z.infer<typeof agentHello>;
type Listed = ResultOf<AgentProtocol['methods']['list']>['instances'][number];

type DataOf<Name extends EventOf<AgentProtocol>['event']> = Extract<
  EventOf<AgentProtocol>,
  { event: Name }
>['data'];

/** Before a look at the agent that failed is tried again. */
const syncRetryMs = 200;

export interface AgentLinkParts {
  readonly unit: Unit;
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly clock: Clock;
  readonly log: Logger;
  /** The actual state is what the agent has: compare it with what is wanted. */
  readonly onSynced: () => void;
  /** Something happened to a virtual machine. */
  readonly onUnit: (event: UnitEvent) => void;
  /** Memory has become short on the host. */
  readonly onHostPressure: (shortage: Shortage) => void;
  /** Deferred parts of a change were applied after all. */
  readonly onApplied: (result: DataOf<'applied'>) => void;
  /** A lent grant was given back: what is known of the instance says so already. */
  readonly onGivenBack: (given: DataOf<'givenBack'>) => void;
  readonly onStrained: (strained: DataOf<'strained'>) => void;
}

export class AgentLink {
  readonly #parts: AgentLinkParts;
  readonly #unsubscribe: () => void;
  #hello: AgentHello | null = null;
  #connected = false;
  #closed = false;
  #syncWanted = false;
  #syncing: Promise<void> | undefined;

  constructor(parts: AgentLinkParts) {
    this.#parts = parts;
    this.#unsubscribe = parts.unit.subscribe((event) => {
      switch (event.type) {
        case 'agent':
          this.#onEvent(event.event);
          return;
        case 'connected':
          void this.requestSync();
          return;
        case 'disconnected':
        case 'lost':
          this.#connected = false;
          parts.log.warn({ unit: parts.unit.handle.id, event: event.type }, 'the agent can not be reached');
          return;
      }
    });
  }

  get unit(): Unit {
    return this.#parts.unit;
  }

  get agent(): Caller<AgentProtocol> {
    return this.#parts.unit.agent;
  }

  /** What the agent said of itself last; null until it was reached for the first time. */
  get hello(): AgentHello | null {
    return this.#hello;
  }

  get connected(): boolean {
    return this.#connected;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Looks at the agent again, once more if a look is under way. Resolves when that has succeeded. */
  requestSync(): Promise<void> {
    this.#syncWanted = true;
    this.#syncing ??= this.#syncLoop().finally(() => {
      this.#syncing = undefined;
    });
    return this.#syncing;
  }

  close(): void {
    this.#closed = true;
    this.#unsubscribe();
  }

  async #syncLoop(): Promise<void> {
    while (this.#syncWanted && !this.#closed) {
      this.#syncWanted = false;
      try {
        await this.#sync();
      } catch (thrown) {
        if (this.#closed) return;
        this.#parts.log.warn({ err: thrown }, 'the agent could not be looked at; trying again');
        this.#syncWanted = true;
        await pause(syncRetryMs, undefined, { ref: false });
      }
    }
  }

  async #sync(): Promise<void> {
    const { actual, desired, onSynced } = this.#parts;
    const hello = await this.agent.call('hello', {});
    for (const tenant of desired.tenants()) await this.agent.call('ensureTenant', tenantSpecOf(tenant));
    // What the agent must know of by now. Starts whose call is still open are not among it: they answer for themselves.
    const expected = actual
      .all()
      .filter(({ life }) => life.phase !== 'waiting' && !(life.phase === 'starting' && !life.unanswered));
    const { instances } = await this.agent.call('list', {});
    const listed = new Set(instances.map(({ info }) => info.id));
    for (const instance of instances) this.#adopt(instance);
    for (const { spec } of expected) {
      if (!listed.has(spec.id)) actual.remove(spec.id, 'it was gone when the agent came back');
    }
    this.#hello = hello;
    this.#connected = true;
    onSynced();
  }

  #adopt({ info, endpoint, spec }: Listed): void {
    const { actual, clock, log } = this.#parts;
    if (info.state === 'gone') return;
    const known = { info, endpoint };
    const tracked = actual.get(info.id);
    if (tracked === undefined) {
      // Nothing is known of its use: it counts as used just now, so that it is not ended before its time.
      const nowMs = clock.nowMs();
      const usable = isUsable(info);
      log.info({ instance: info.id, workload: info.workload, state: info.state }, 'instance adopted');
      actual.set({
        spec,
        life: usable
          ? { phase: 'serving', known }
          : info.state === 'stopping'
            ? { phase: 'stopping', known, why: 'it was being stopped' }
            : {
                phase: 'starting',
                known,
                unanswered: true,
                // As the agent has told, perhaps an earlier controller.
                reachable: spec.kind === 'function' && endpoint.door === undefined ? known : null,
              },
        idle: usable,
        lastUsedMs: nowMs,
        servingSinceMs: usable ? info.startedAtMs : null,
      });
      return;
    }
    const { life } = tracked;
    if (life.phase === 'waiting') return;
    if (life.phase === 'starting' && life.unanswered && isUsable(info)) {
      actual.set({ ...tracked, life: { phase: 'serving', known }, servingSinceMs: clock.nowMs() });
      return;
    }
    actual.set({ ...tracked, life: { ...life, known } });
  }

  #onEvent(event: EventOf<AgentProtocol>): void {
    const { actual, onApplied } = this.#parts;
    switch (event.event) {
      case 'instance':
        this.#onInstance(event.data);
        return;
      case 'exited':
        actual.remove(event.data.id, event.data.reason, event.data.oomKilled);
        return;
      case 'reachable':
        this.#onReachable(event.data.instance, event.data.endpoint);
        return;
      case 'applied':
        onApplied(event.data);
        return;
      case 'givenBack':
        this.#parts.onGivenBack(event.data);
        return;
      case 'strained':
        this.#parts.onStrained(event.data);
        return;
      case 'unit':
        this.#parts.onUnit(event.data);
        return;
      case 'hostPressure':
        this.#parts.onHostPressure(event.data);
        return;
      case 'poolChanged':
        return;
    }
  }

  #onReachable(info: InstanceInfo, endpoint: Endpoint): void {
    const tracked = this.#parts.actual.get(info.id);
    if (tracked?.life.phase !== 'starting') return;
    this.#parts.actual.set({ ...tracked, life: { ...tracked.life, reachable: { info, endpoint } } });
  }

  #onInstance(info: InstanceInfo): void {
    const { actual, clock } = this.#parts;
    if (info.state === 'gone' || info.state === 'warm') return;
    const tracked = actual.get(info.id);
    if (tracked === undefined) {
      // Started for a call of ours that got no answer, perhaps for an earlier controller: the list says how to reach it.
      if (info.state !== 'stopping') this.#resyncFor(info);
      return;
    }
    const present = tracked.life.known;
    if (present === null) return;
    const known = { info, endpoint: present.endpoint };
    const next: Tracked = { ...tracked, idle: info.state === 'busy' ? false : tracked.idle };
    switch (next.life.phase) {
      case 'waiting':
        return;
      case 'starting':
        if (next.life.unanswered && isUsable(info))
          actual.set({ ...next, life: { phase: 'serving', known }, servingSinceMs: clock.nowMs() });
        else actual.set({ ...next, life: { ...next.life, known } });
        return;
      default:
        actual.set({ ...next, life: { ...next.life, known } });
    }
  }

  #resyncFor(info: InstanceInfo): void {
    this.#parts.log.info(
      { instance: info.id },
      'an instance that is not known is running; looking at the agent',
    );
    void this.requestSync();
  }
}

export function tenantSpecOf(tenant: Tenant): TenantSpec {
  return {
    tenant: tenant.id,
    uid: tenant.uid,
    memoryBytes: tenant.limits.memory,
    cpuMillicores: tenant.limits.cpu,
    weight: tenant.weight,
  };
}
