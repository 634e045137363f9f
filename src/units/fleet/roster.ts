// Which units there are: made, adopted after a restart, watched, lost, destroyed. Owns their lives and the deadlines by which
// a fault is noticed. What is in them, and what follows for that, is its listener's matter.
import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../../base/clock.ts';
import { BellowsError, messageOf, type ErrorCode } from '../../base/errors.ts';
import { newUnitId, type TenantId, type UnitId } from '../../base/ids.ts';
import { humanBytes } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { AgentProtocol } from '../../protocol/agent.ts';
import type { UnitEvent } from '../../protocol/unit.ts';
import type { GuestProtocol } from '../../protocol/guest.ts';
import type { EventOf, ResultOf } from '../../protocol/rpc.ts';
import type { Logger } from '../../sys/log.ts';
import type { ProcessActivity } from '../../sys/process-activity.ts';
import type { UnitEvent as DriverEvent, UnitHandle } from '../port.ts';
import type { VmDriver, VmUnit } from '../vm/port.ts';
import type { ClaimNote } from './claim-notes.ts';
import type { FleetTuning } from './config.ts';
import type { Hibernation } from './hibernation.ts';
import { takePulse } from './pulse.ts';
import type { UnitRecords } from './records.ts';
import { FleetUnit } from './unit.ts';

export type Listed = ResultOf<AgentProtocol['methods']['list']>['instances'];

export interface RosterListener {
  readonly onGuestEvent: (unit: FleetUnit, event: EventOf<GuestProtocol>) => void;
  /** Its agent is there, at first or again: this is what it has. */
  readonly onListed: (unit: FleetUnit, listed: Listed) => void;
  /** It is gone with all that was in it, or is about to be; said once. */
  readonly onLost: (unit: FleetUnit, loss: BellowsError) => Promise<void>;
}

export interface RosterParts {
  readonly driver: VmDriver;
  readonly size: Resources;
  readonly records: UnitRecords;
  /** In millicores; null for a tenant without one. */
  readonly cpuLimitOf: (tenant: TenantId) => number | null;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: FleetTuning;
  readonly listener: RosterListener;
  readonly hibernation: () => Pick<Hibernation, 'wake' | 'found' | 'settled' | 'forget'>;
  /** What the kernel knows of a unit's process. */
  readonly activityOf: (pid: number) => ProcessActivity | undefined;
  readonly tell: (event: UnitEvent) => void;
}

/** A link that is back is listed in seconds; an emulated guest on a loaded machine takes longer than its owner thinks. */
const listTimeoutMs = 30_000;

export class Roster {
  readonly #parts: RosterParts;
  readonly #units = new Map<UnitId, FleetUnit>();
  readonly #ending = new Map<UnitId, Promise<void>>();
  readonly #disconnections = new Map<UnitId, NodeJS.Timeout>();

  constructor(parts: RosterParts) {
    this.#parts = parts;
  }

  all(): FleetUnit[] {
    return [...this.#units.values()];
  }

  /** Takes over the units that an earlier fleet left. One that does not answer is destroyed. */
  async adopt(handles: readonly UnitHandle[]): Promise<void> {
    this.#parts.records.removeAllBut(new Set(handles.map(({ id }) => id)));
    await Promise.all(handles.map((handle) => this.#adopt(handle)));
  }

  /** One more, warm. @throws BellowsError NoRoom, StartFailed, NotSupportedHere */
  async provision(): Promise<FleetUnit> {
    const { driver, size, log, clock } = this.#parts;
    const startedMs = clock.monotonicMs();
    const vm = await driver.provision(newUnitId(), size);
    const unit = this.#enter(vm);
    const { from, firstAnswerMs } = driver.provisionReport(vm) ?? {};
    const durationMs = clock.monotonicMs() - startedMs;
    log.info({ unit: unit.id, pid: vm.pid, from, firstAnswerMs, durationMs }, 'a unit is warm');
    this.tell(unit, { what: 'provisioned', pid: vm.pid, from: from ?? null, durationMs });
    return unit;
  }

  /** Ends the unit and removes all that was made for it. Resolves when nothing is left; asking again joins. */
  destroy(unit: FleetUnit, reason: string): Promise<void> {
    const known = this.#ending.get(unit.id);
    if (known !== undefined) return known;
    if (unit.loss === undefined) this.tell(unit, { what: 'stopped', reason });
    const ending = this.#destroy(unit).finally(() => this.#ending.delete(unit.id));
    this.#ending.set(unit.id, ending);
    return ending;
  }

  /** It was hibernated or has moved, or was to, and is this machine now. */
  async rejoin(unit: FleetUnit, vm: VmUnit): Promise<void> {
    const isOther = vm !== unit.vm;
    unit.replace(vm);
    if (isOther) this.#watch(unit);
    await this.#connected(unit);
  }

  /** A fault: whoever was in it is told, and the unit is destroyed. */
  async lose(unit: FleetUnit, loss: BellowsError): Promise<void> {
    if (unit.stopping) return;
    unit.loss = loss;
    unit.close();
    const { log, listener } = this.#parts;
    const instances = [...unit.placed.keys()];
    const { code, message: reason } = loss;
    log.error({ unit: unit.id, pid: unit.vm.pid, instances, code, reason }, 'a unit was lost');
    this.tell(unit, { what: 'lost', instances, code, reason });
    await listener.onLost(unit, loss);
    await this.destroy(unit, reason);
  }

  /** The same, for whoever can not wait for it. */
  loseSoon(unit: FleetUnit, loss: BellowsError): void {
    this.lose(unit, loss).catch((thrown: unknown) =>
      this.#parts.log.error({ err: thrown, unit: unit.id }, 'a lost unit could not be cleaned up'),
    );
  }

  /** Leaves every unit as it is, for the next fleet. */
  async close(): Promise<void> {
    for (const timer of this.#disconnections.values()) clearTimeout(timer);
    for (const unit of this.all()) unit.close();
    await Promise.all(this.#ending.values());
  }

  async #adopt(handle: UnitHandle): Promise<void> {
    const { driver, records, log, listener } = this.#parts;
    if (await this.#adoptAsleep(handle)) return;
    let vm: VmUnit;
    try {
      vm = await driver.adopt(handle);
    } catch (thrown) {
      log.warn({ err: thrown, unit: handle.id }, 'a unit of an earlier fleet is gone');
      records.remove(handle.id);
      return;
    }
    const unit = this.#enter(vm);
    unit.forgetApplied();
    const record = records.read(unit.id);
    try {
      if (record === 'unreadable') throw new Error('what is on record of it can not be read');
      for (const tenant of record?.served ?? []) unit.served.add(tenant);
      const { instances } = await vm.guest.call('list', {}, { timeoutMs: listTimeoutMs });
      listener.onListed(unit, instances);
      log.info({ unit: unit.id, pid: vm.pid, instances: instances.length }, 'unit adopted');
      // Whom it served is gone, and it is passed on to nobody.
      if (unit.served.size > 0 && unit.placed.size === 0)
        await this.destroy(unit, 'what ran in it had ended when it was found');
    } catch (thrown) {
      await this.lose(unit, new BellowsError('UnitLost', `it could not be adopted: ${messageOf(thrown)}`));
    }
  }

  /** One that is on disk stays there, as long as it is known who is in it. @returns false for any other */
  async #adoptAsleep(handle: UnitHandle): Promise<boolean> {
    const { driver, records, log, listener, hibernation } = this.#parts;
    const record = records.read(handle.id);
    if (record === undefined || record === 'unreadable' || record.asleep === null) return false;
    const vm = await driver.resting(handle);
    if (vm === undefined) return false;
    const { listed, neededBytes } = record.asleep;
    const unit = this.#enter(vm);
    unit.forgetApplied();
    hibernation().found(unit, neededBytes);
    for (const tenant of record.served) unit.served.add(tenant);
    listener.onListed(unit, listed);
    log.info({ unit: unit.id, instances: listed.length }, 'unit adopted, hibernated');
    return true;
  }

  #enter(vm: VmUnit): FleetUnit {
    const { driver, cpuLimitOf, clock, log, tuning, hibernation } = this.#parts;
    const onClaim = (note: ClaimNote): void => this.tell(unit, note);
    const wake = (): Promise<unknown> => hibernation().wake(unit, 'it was asked something');
    const unit: FleetUnit = new FleetUnit({ driver, vm, cpuLimitOf, clock, log, tuning, wake, onClaim });
    this.#units.set(unit.id, unit);
    this.#watch(unit);
    void this.#ping(unit);
    return unit;
  }

  #watch(unit: FleetUnit): void {
    const { listener } = this.#parts;
    const { vm } = unit;
    vm.subscribe((event) => this.#onEvent(unit, event));
    vm.subscribeGuest((event) => {
      unit.guest.heard();
      if (!unit.stopping) listener.onGuestEvent(unit, event);
    });
  }

  #onEvent(unit: FleetUnit, event: DriverEvent): void {
    // To be put to rest, or to leave a machine for another, is told as a loss.
    if (unit.stopping || unit.away !== null) return;
    switch (event.type) {
      case 'agent':
        return;
      case 'lost':
        this.#loseSoon(unit, `its virtual machine ended: ${event.reason}`);
        return;
      case 'disconnected':
        this.#disconnected(unit);
        return;
      case 'connected':
        void this.#connected(unit);
        return;
    }
  }

  #disconnected(unit: FleetUnit): void {
    const { log, tuning } = this.#parts;
    unit.connected = false;
    log.warn({ unit: unit.id }, 'the agent of a unit can not be reached');
    clearTimeout(this.#disconnections.get(unit.id));
    const timer = setTimeout(
      () => this.#loseSoon(unit, `its agent did not come back within ${tuning.reconnectMs / 1000} s`),
      tuning.reconnectMs,
    ).unref();
    this.#disconnections.set(unit.id, timer);
  }

  async #connected(unit: FleetUnit): Promise<void> {
    const { listener, log } = this.#parts;
    clearTimeout(this.#disconnections.get(unit.id));
    try {
      const { instances } = await unit.guest.call('list', {}, { timeoutMs: listTimeoutMs });
      if (unit.stopping) return;
      unit.connected = true;
      unit.forgetApplied();
      listener.onListed(unit, instances);
      log.info({ unit: unit.id, instances: instances.length }, 'the agent of a unit is back');
      await unit.settle();
    } catch (thrown) {
      this.#loseSoon(unit, `its agent came back and does not say what runs: ${messageOf(thrown)}`);
    }
  }

  /** Whether it still answers; and its clock is set on the way. */
  async #ping(unit: FleetUnit): Promise<void> {
    const { tuning, clock, activityOf } = this.#parts;
    const activity = (): ProcessActivity | undefined => activityOf(unit.vm.pid);
    for (;;) {
      await pause(tuning.pingMs, undefined, { ref: false });
      if (unit.stopping) return;
      // While it is away, its coming back has a deadline of its own.
      if (!unit.connected) continue;
      const hung = await takePulse({ guest: unit.guest, activity, clock, tuning });
      if (hung === undefined || unit.stopping || !unit.connected) continue;
      this.#loseSoon(unit, hung, 'GuestHung');
      return;
    }
  }

  #loseSoon(unit: FleetUnit, reason: string, code: ErrorCode = 'UnitLost'): void {
    this.loseSoon(unit, new BellowsError(code, reason));
  }

  tell({ id, tenant }: FleetUnit, happened: UnitEvent['happened']): void {
    this.#parts.tell({ unit: id, tenant, happened });
  }

  async #destroy(unit: FleetUnit): Promise<void> {
    const { driver, records, log } = this.#parts;
    unit.close();
    clearTimeout(this.#disconnections.get(unit.id));
    this.#disconnections.delete(unit.id);
    const hibernation = this.#parts.hibernation();
    await hibernation.settled(unit);
    hibernation.forget(unit);
    try {
      const { hostPrivateBytes } = driver.measure(unit.vm);
      log.info({ unit: unit.id, heldBytes: humanBytes(hostPrivateBytes) }, 'a unit goes');
    } catch {
      // It is gone already.
    }
    try {
      await driver.destroy(unit.vm);
    } finally {
      records.remove(unit.id);
      this.#units.delete(unit.id);
    }
  }
}
