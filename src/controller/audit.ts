// The audit log: what happened, numbered without gaps, kept in the store, bounded, told to subscribers in order.
// Owns numbering and keeping. What is worth an event is decided where it happens.
import type { Clock } from '../base/clock.ts';
import type { InstanceId, TenantId, WorkloadKey } from '../base/ids.ts';
import type { Store } from '../store/port.ts';
import type { Logger } from '../sys/log.ts';
import type { AuditEvent } from './control-plane.ts';
import { keys } from './state/records.ts';

/** About 5 MB of store; more history is for systems that read the event stream. */
const keptEvents = 10_000;

export interface AuditInput {
  readonly type: string;
  readonly tenant?: TenantId;
  readonly workload?: WorkloadKey;
  readonly instance?: InstanceId;
  readonly message: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

export class AuditLog {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #listeners = new Set<(event: AuditEvent) => void>();
  #next = 1;
  #oldest = 1;
  /** Writes go one after another: a reader that saw number n will not find n − 1 later. */
  #tail: Promise<void> = Promise.resolve();

  constructor(store: Store, clock: Clock, log: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  async load(): Promise<void> {
    const events = await this.#store.list<AuditEvent>(keys.events);
    this.#oldest = events[0]?.value.sequence ?? 1;
    this.#next = (events.at(-1)?.value.sequence ?? 0) + 1;
  }

  /** Notes an event; it is durable and told to subscribers a moment later. Never fails the caller: losing a note is logged. */
  note(input: AuditInput): void {
    const event: AuditEvent = {
      sequence: this.#next,
      timeMs: this.#clock.nowMs(),
      type: input.type,
      tenant: input.tenant ?? null,
      workload: input.workload ?? null,
      instance: input.instance ?? null,
      message: input.message,
      data: input.data ?? {},
    };
    this.#next += 1;
    this.#tail = this.#tail
      .then(() => this.#write(event))
      .catch((thrown: unknown) => {
        this.#log.error({ err: thrown, event }, 'an audit event could not be stored');
      });
  }

  async since(sequence: number, limit: number): Promise<AuditEvent[]> {
    await this.#tail;
    const entries = await this.#store.list<AuditEvent>(keys.events, {
      after: keys.event(Math.max(0, sequence)),
      limit,
    });
    return entries.map((entry) => entry.value);
  }

  subscribe(listener: (event: AuditEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when everything noted so far is stored. */
  flush(): Promise<void> {
    return this.#tail;
  }

  async #write(event: AuditEvent): Promise<void> {
    await this.#store.put(keys.event(event.sequence), event, { expect: 0 });
    while (event.sequence - this.#oldest >= keptEvents) {
      await this.#store.delete(keys.event(this.#oldest));
      this.#oldest += 1;
    }
    for (const listener of this.#listeners) listener(event);
  }
}
