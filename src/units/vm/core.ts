// One running unit within this process: its machine, the link to its agent, its balloon and who listens. Owns joining
// them and telling what happens; views (view.ts) are what callers hold of it, several of one core.
//
//   connected ◀──▶ disconnected
//        └──── lost ────┘   (told once, then the core is of no use)
import { BellowsError } from '../../base/errors.ts';
import { agentProtocolVersion, agentProtocol, type AgentProtocol } from '../../protocol/agent.ts';
import type { GuestProtocol } from '../../protocol/guest.ts';
import type { EventOf } from '../../protocol/rpc.ts';
import { join } from 'node:path';
import { Balloon } from './balloon.ts';
import type { VmHost } from './host.ts';
import { openGuestLink, type GuestLink } from './link.ts';
import { socketNames } from './machine/arguments.ts';
import type { Machine } from './machine/machine.ts';
import type { UnitRecord } from './record.ts';
import type { UnitEvent } from '../port.ts';

/** A mark may have been lost with what a dying agent had not read; an emulated agent takes half a second to answer one. */
const markLostMs = 3_000;

type GuestEvent = EventOf<GuestProtocol>;

export class UnitCore {
  readonly machine: Machine;
  readonly balloon: Balloon;
  readonly link: GuestLink;
  readonly #host: VmHost;
  readonly #listeners = new Set<(event: UnitEvent) => void>();
  readonly #guestListeners = new Set<(event: GuestEvent) => void>();
  readonly #answered = Promise.withResolvers<void>();
  #record: UnitRecord;
  #lostReason: string | undefined;
  #markTimer: NodeJS.Timeout | undefined;
  /** What its end is waited for by: every caller of `destroy` gets the same. */
  #ending: Promise<void> | undefined;

  constructor(host: VmHost, record: UnitRecord, machine: Machine) {
    this.#host = host;
    this.#record = record;
    this.machine = machine;
    this.balloon = new Balloon(machine, record.ramBytes);
    this.#answered.promise.catch(() => undefined);
    this.link = openGuestLink({
      socketPath: join(host.runDirectory(record), socketNames.agent),
      onConnect: async (peer) => {
        const { protocolVersion } = await peer.call('hello', {});
        if (protocolVersion !== agentProtocolVersion) throw this.#refuse(protocolVersion);
        this.#answered.resolve();
        this.tell({ type: 'connected' });
      },
      onDisconnect: () => this.tell({ type: 'disconnected' }),
      onEvent: (event) => this.#heed(event),
      onDefect: (error, context) => host.options.onDefect(error, `unit ${record.id}: ${context}`),
    });
  }

  get record(): UnitRecord {
    return this.#record;
  }

  get lostReason(): string | undefined {
    return this.#lostReason;
  }

  /** Writes down what changed, before it counts. */
  update(change: Partial<UnitRecord>): void {
    this.#record = { ...this.#record, ...change };
    this.#host.records.write(this.#record);
  }

  /** @throws BellowsError Unavailable when the agent has not answered in time, or the machine is gone before. */
  async answered(timeoutMs: number): Promise<void> {
    const timer = setTimeout(() => {
      this.#answered.reject(
        new BellowsError(
          'Unavailable',
          `The agent of unit ${this.#record.id} has not answered within ${timeoutMs} ms.`,
        ),
      );
    }, timeoutMs);
    try {
      await this.#answered.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * The agent opened or closed its end: the stream begins anew with the next. A link that is being made has sent its mark, which
   * QEMU keeps until somebody reads: another would have the agent begin twice.
   */
  serialPortChanged(open: boolean): void {
    clearTimeout(this.#markTimer);
    if (!open && this.link.connected) this.link.renew();
    if (!open || this.link.connected) return;
    this.#markTimer = setTimeout(() => {
      if (!this.link.connected) this.link.renew();
    }, markLostMs).unref();
  }

  /** Tells once, and no more after. */
  lose(reason: string): void {
    if (this.#lostReason !== undefined) return;
    this.#lostReason = reason;
    this.#answered.reject(new BellowsError('Unavailable', `The unit ${this.#record.id} is lost: ${reason}.`));
    for (const listener of [...this.#listeners]) listener({ type: 'lost', reason });
    this.#listeners.clear();
    this.#guestListeners.clear();
    clearTimeout(this.#markTimer);
    this.link.close();
  }

  /** The same end for all who ask for it. */
  end(takeApart: () => Promise<void>): Promise<void> {
    this.#ending ??= takeApart();
    return this.#ending;
  }

  /** Leaves the machine to another owner. */
  detach(): void {
    clearTimeout(this.#markTimer);
    this.link.close();
    this.machine.detach();
  }

  subscribe(listener: (event: UnitEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  subscribeGuest(listener: (event: GuestEvent) => void): () => void {
    this.#guestListeners.add(listener);
    return () => this.#guestListeners.delete(listener);
  }

  tell(event: UnitEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  #heed(event: GuestEvent): void {
    for (const listener of [...this.#guestListeners]) listener(event);
    if (event.event in agentProtocol.events)
      this.tell({ type: 'agent', event: event as EventOf<AgentProtocol> });
  }

  #refuse(version: number): BellowsError {
    const error = new BellowsError(
      'NotSupportedHere',
      `The agent in unit ${this.#record.id} speaks version ${version} of its protocol, this process version ${agentProtocolVersion}.`,
      'End the unit; new ones have an agent of this version.',
    );
    this.#answered.reject(error);
    return error;
  }
}
