// The audit log: what happened, numbered without gaps, kept in the store, bounded, told to subscribers in order.
// Owns numbering and keeping. What is worth an event is decided where it happens.
import type { Clock } from '../base/clock.ts';
import type { InstanceId, TenantId, WorkloadKey } from '../base/ids.ts';
import type { Store } from '../store/port.ts';
import type { Logger } from '../sys/log.ts';
import type { AuditEvent } from './control-plane.ts';
import { keys } from './state/records.ts';

/**
 * How long events gather before they are written, all of them for one sync of the disk: a change's answer does not wait for
 * its own, and who reads the stream is told this much later.
 */
const gatherMs = 50;

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
  readonly #storage: Store;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #listeners = new Set<(event: AuditEvent) => void>();
  #next = 1;
  #oldest = 1;
  #gathered: AuditEvent[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** Groups go one after another: a reader that saw number n will not find n − 1 later. */
  #tail: Promise<void> = Promise.resolve();

  constructor(store: Store, clock: Clock, log: Logger) {
    this.#storage = store;
    this.#clock = clock;
    this.#log = log;
  }

  async load(): Promise<void> {
    const events = await this.#storage.list<AuditEvent>(keys.events);
    this.#oldest = events[0]?.value.sequence ?? 1;
    this.#next = (events.at(-1)?.value.sequence ?? 0) + 1;
  }

  /** Notes an event; it is durable and told to subscribers a moment later, with others. Never fails the caller: losing a note is logged. */
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
    this.#gathered.push(event);
    this.#timer ??= setTimeout(() => void this.flush(), gatherMs);
  }

  async since(sequence: number, limit: number): Promise<AuditEvent[]> {
    await this.flush();
    const entries = await this.#storage.list<AuditEvent>(keys.events, {
      after: keys.event(Math.max(0, sequence)),
      limit,
    });
    return entries.map((entry) => entry.value);
  }

  /** Tells of events that are noted from now on. */
  subscribe(listener: (event: AuditEvent) => void): () => void {
    const first = this.#next;
    const tell = (event: AuditEvent): void => {
      if (event.sequence >= first) listener(event);
    };
    this.#listeners.add(tell);
    return () => this.#listeners.delete(tell);
  }

  /** Writes what is gathered; resolves when everything noted so far is stored. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const events = this.#gathered;
    this.#gathered = [];
    if (events.length > 0) this.#tail = this.#tail.then(() => this.#write(events));
    return this.#tail;
  }

  async #write(events: readonly AuditEvent[]): Promise<void> {
    // All at once: the store syncs the disk once for writes that wait together.
    const stored = await Promise.all(events.map((event) => this.#store(event)));
    for (const [index, event] of events.entries()) {
      if (stored[index] === true) for (const listener of this.#listeners) listener(event);
    }
    await this.#forgetOld(events.at(-1)?.sequence ?? 0);
  }

  async #store(event: AuditEvent): Promise<boolean> {
    try {
      await this.#storage.put(keys.event(event.sequence), event, { expect: 0 });
      return true;
    } catch (thrown) {
      this.#log.error({ err: thrown, event }, 'an audit event could not be stored');
      return false;
    }
  }

  async #forgetOld(newest: number): Promise<void> {
    const old: Promise<boolean>[] = [];
    for (; newest - this.#oldest >= keptEvents; this.#oldest += 1)
      old.push(this.#storage.delete(keys.event(this.#oldest)));
    await Promise.all(old).catch((thrown: unknown) =>
      this.#log.error({ err: thrown }, 'old audit events could not be removed'),
    );
  }
}
