// What a caller holds of a unit: closing it ends this caller's calls and subscriptions and nobody else's.
// Owns that, and the unit's quantities as callers see them. What happens in the unit is core.ts.
import { BellowsError } from '../../base/errors.ts';
import type { Bytes, BytesPerSecond, Millicores } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { AgentProtocol } from '../../protocol/agent.ts';
import type { GuestProtocol } from '../../protocol/guest.ts';
import type { Caller, EventOf, Params, ResultOf } from '../../protocol/rpc.ts';
import type { UnitEvent, UnitHandle } from '../port.ts';
import type { UnitCore } from './core.ts';
import type { Door, ProvisionReport, VmUnit } from './port.ts';
import type { UnitRecord } from './record.ts';

export const driverName = 'vm';

type Methods = GuestProtocol['methods'];

/** What of a unit's identity no claim and no move changes. */
export function handleOf({ id, processes, bootId }: UnitRecord): UnitHandle {
  const data = { pid: processes?.qemu.pid ?? 0, startTicks: processes?.qemu.startTicks ?? 0, bootId };
  return { version: 1, driver: driverName, id, data };
}

export class UnitView implements VmUnit {
  readonly handle: UnitHandle;
  readonly provisioned: Resources;
  readonly pid: number;
  readonly guest: Caller<GuestProtocol>;
  readonly core: UnitCore;
  readonly report: ProvisionReport | undefined;
  readonly #closed = Promise.withResolvers<never>();
  readonly #subscriptions = new Set<() => void>();
  readonly #onClose: () => void;
  #isClosed = false;

  constructor(core: UnitCore, report: ProvisionReport | undefined, onClose: () => void) {
    this.core = core;
    this.report = report;
    this.handle = handleOf(core.record);
    this.provisioned = core.record.size;
    this.pid = core.machine.pid;
    this.#onClose = onClose;
    this.#closed.promise.catch(() => undefined);
    this.guest = { call: (name, params, options) => this.#call(name, params, options) };
  }

  get agent(): Caller<AgentProtocol> {
    return this.guest;
  }

  get outlivedByConnections(): boolean {
    return this.core.record.network === 'tap';
  }

  get door(): Door {
    const { door, id } = this.core.record;
    if (door === null) throw new BellowsError('NotReady', `The unit ${id} has no identity yet.`);
    return door;
  }

  get claimed(): Resources {
    const { size, cpuMillicores, usableStorageBytes, bytesPerSecond } = this.core.record;
    return {
      memory: this.core.balloon.claimedBytes as Bytes,
      cpu: Math.max(0, size.cpu - (cpuMillicores ?? size.cpu)) as Millicores,
      storage: Math.max(0, size.storage - (usableStorageBytes ?? size.storage)) as Bytes,
      bandwidth: Math.max(0, size.bandwidth - (bytesPerSecond ?? size.bandwidth)) as BytesPerSecond,
    };
  }

  subscribe(listener: (event: UnitEvent) => void): () => void {
    return this.#keep(this.core.subscribe(listener));
  }

  subscribeGuest(listener: (event: EventOf<GuestProtocol>) => void): () => void {
    return this.#keep(this.core.subscribeGuest(listener));
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const end of this.#subscriptions) end();
    this.#closed.reject(this.#closedError());
    this.#onClose();
  }

  #keep(end: () => void): () => void {
    this.#subscriptions.add(end);
    return () => {
      this.#subscriptions.delete(end);
      end();
    };
  }

  #closedError(): BellowsError {
    return new BellowsError('Unavailable', `The link to unit ${this.handle.id} was closed on this side.`);
  }

  async #call<M extends keyof Methods>(
    name: M,
    params: Params<Methods[M]>,
    options?: { readonly timeoutMs?: number },
  ): Promise<ResultOf<Methods[M]>> {
    if (this.#isClosed) throw this.#closedError();
    const { lostReason } = this.core;
    if (lostReason !== undefined)
      throw new BellowsError('Unavailable', `The unit ${this.handle.id} is lost: ${lostReason}.`);
    const answer = await Promise.race([this.core.link.call(name, params, options), this.#closed.promise]);
    // The agent sees its machine; the unit's quantity, without what machine and agent take, is what was provisioned.
    return name === 'hello' ? { ...answer, capacity: this.provisioned } : answer;
  }
}
