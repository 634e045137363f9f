// The driver of virtual machines: makes, adopts, changes and ends units. Owns which there are in this process and that
// each has one core however many hold it. What a unit is made of and how is in the files beside.
import { rmSync } from 'node:fs';
import { BellowsError } from '../../base/errors.ts';
import type { UnitId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import type { UnitMeasure } from '../../protocol/unit.ts';
import type { GroupPath } from '../../agent/cgroup/port.ts';
import { layoutOf } from '../../sys/layout.ts';
import { defaultUnitCapabilities, type Unit, type UnitHandle } from '../port.ts';
import { endLeftovers, takeApart } from './construct.ts';
import type { UnitCore } from './core.ts';
import { findHost, madeWith, type VmHost } from './host.ts';
import { measureUnit } from './measure.ts';
import { clearUnfinishedMove, leaveFirst, moveToOtherSide } from './move.ts';
import { maxSlots } from './network/names.ts';
import type { MemoryClaim, MoveReport, ProvisionReport, VmDriver, VmDriverOptions, VmUnit } from './port.ts';
import { newRecord, provisionUnit } from './provision.ts';
import * as quantities from './quantities.ts';
import type { UnitRecord } from './record.ts';
import { RestingUnit } from './resting.ts';
import { putToRest, wakingOf } from './snapshot.ts';
import { adoptCore } from './start-core.ts';
import { takeUp } from './take-up.ts';
import { Templates } from './template/templates.ts';
import { driverName, handleOf, UnitView } from './view.ts';

/** In a path, a group's name and QEMU's arguments; templates being made begin with `t-`, which units may not. */
const idPattern = /^(?!t-)[a-z0-9][a-z0-9-]{0,30}$/;

/** A unit's core, and by how many it is held; without any, its machine is left to whoever adopts it. */
interface Held {
  readonly core: UnitCore;
  holders: number;
}

export class QemuDriver implements VmDriver {
  readonly name = driverName;
  readonly capabilities = {
    ...defaultUnitCapabilities,
    provision: true,
    resize: true,
    claim: true,
    snapshot: true,
    shared: true,
  };
  readonly #host: VmHost;
  readonly #templates: Templates;
  readonly #held = new Map<UnitId, Held>();
  readonly #adopting = new Map<UnitId, Promise<VmUnit>>();
  /** Numbers of units that are being made; those of the others are in their records. */
  readonly #slots = new Map<number, UnitId>();

  private constructor(host: VmHost) {
    this.#host = host;
    this.#templates = new Templates(host, {
      newRecord: (key, size) => this.#reserve(`t-${key}` as UnitId, size, null),
      forget: ({ slot }) => void this.#slots.delete(slot),
      clonePids: () =>
        this.#records().flatMap(({ processes }) => (processes === null ? [] : [processes.qemu.pid])),
    });
  }

  /** @throws BellowsError NotSupportedHere when QEMU, or what confines it, is missing. */
  static async create(options: VmDriverOptions): Promise<QemuDriver> {
    return new QemuDriver(await findHost(options));
  }

  async open(): Promise<UnitHandle[]> {
    const { network, records, templates } = this.#host;
    await network?.open();
    const living: UnitHandle[] = [];
    for (const id of records.ids()) {
      const record = records.read(id);
      if (record === undefined) {
        records.remove(id);
        continue;
      }
      this.#slots.set(record.slot, id);
      if (isUsable(this.#host, record)) {
        await clearUnfinishedMove(this.#host, record);
        living.push(handleOf(record));
      } else await this.#takeApart(record, null);
    }
    for (const place of (await network?.places()) ?? [])
      if (!this.#slots.has(place.slot)) {
        await network?.removeTap(place);
        await network?.disconnect(place);
      }
    const needed = this.#records().flatMap(({ resting, templateKey }) =>
      resting ? (templateKey ?? []) : [],
    );
    templates.sweep(madeWith(this.#host), new Set(needed));
    return living;
  }

  async prepareTemplate(size: Resources): Promise<void> {
    await this.#templates.get(size);
  }

  async provision(id: UnitId, size: Resources): Promise<VmUnit> {
    // Without a filter around it a clone's balloon would punch holes into the template.
    if (this.#host.confinement(0).kind === 'none') return this.boot(id, size);
    // Before a template is made for it; and once more when it is written down, for others may have come meanwhile.
    this.#refuseTaken(id);
    const template = await this.#templates.get(size);
    this.#refuseTaken(id);
    return this.#make(this.#reserve(id, size, template.stored.key), template);
  }

  async boot(id: UnitId, size: Resources): Promise<VmUnit> {
    this.#refuseTaken(id);
    return this.#make(this.#reserve(id, size, null), null);
  }

  async adopt(handle: UnitHandle): Promise<VmUnit> {
    const gone = new BellowsError('NotFound', `There is no unit ${handle.id} of driver ${handle.driver}.`);
    if (handle.driver !== driverName || !idPattern.test(handle.id)) throw gone;
    // Two that adopt at once get the same core: QEMU serves one connection.
    for (
      let other = this.#adopting.get(handle.id);
      other !== undefined;
      other = this.#adopting.get(handle.id)
    )
      await other.catch(() => undefined);
    const held = this.#held.get(handle.id);
    if (held !== undefined) {
      if (held.core.lostReason !== undefined) throw gone;
      return this.#view(held, undefined);
    }
    const record = this.#host.records.read(handle.id);
    if (record === undefined || !isUsable(this.#host, record)) throw gone;
    const adopting = this.#adoptRecord(record);
    this.#adopting.set(handle.id, adopting);
    try {
      return await adopting;
    } finally {
      this.#adopting.delete(handle.id);
    }
  }

  async resting(handle: UnitHandle): Promise<VmUnit | undefined> {
    if (handle.driver !== driverName || !idPattern.test(handle.id) || this.#held.has(handle.id))
      return undefined;
    const record = this.#host.records.read(handle.id);
    if (record === undefined || !record.resting || !isUsable(this.#host, record)) return undefined;
    // Of an owner that died while it put it to rest or woke it.
    await endLeftovers(this.#host, record);
    const rested = { ...record, processes: null };
    this.#host.records.write(rested);
    return new RestingUnit(rested);
  }

  provisionReport(unit: Unit): ProvisionReport | undefined {
    return this.#of(unit).report;
  }

  async resize(unit: Unit, size: Resources): Promise<void> {
    await quantities.resize(this, this.#of(unit), size);
  }

  async claim(unit: Unit, amount: Partial<Resources>): Promise<void> {
    const view = this.#of(unit);
    await quantities.resize(this, view, quantities.usableAfter(view, amount, -1));
  }

  async release(unit: Unit, amount: Partial<Resources>): Promise<void> {
    const view = this.#of(unit);
    await quantities.resize(this, view, quantities.usableAfter(view, amount, 1));
  }

  claimMemory(unit: Unit, bytes: number): Promise<MemoryClaim> {
    return quantities.claimMemory(this.#of(unit).core, bytes);
  }

  async releaseMemory(unit: Unit, bytes: number): Promise<void> {
    await this.#of(unit).core.balloon.release(bytes);
  }

  async setCpu(unit: Unit, millicores: number | null): Promise<void> {
    const { core } = this.#of(unit);
    await this.#host.options.cgroup.setLimits(core.record.group, { cpuMillicores: millicores });
    core.update({ cpuMillicores: millicores });
  }

  async setBandwidth(unit: Unit, bytesPerSecond: number | null): Promise<void> {
    const { core } = this.#of(unit);
    const { network } = this.#host;
    await Promise.all([
      network?.shape(core.record, bytesPerSecond),
      core.link.call('setBandwidth', { bytesPerSecond }),
    ]);
    core.update({ bytesPerSecond });
  }

  async setStorage(unit: Unit, usableBytes: number): Promise<{ usableBytes: number; trimmedBytes: number }> {
    const { core } = this.#of(unit);
    const answer = await core.link.call('setStorage', { usableBytes }, { timeoutMs: 60_000 });
    core.update({ usableStorageBytes: Math.min(answer.usableBytes, core.record.size.storage) });
    return answer;
  }

  async moveToGroup(unit: Unit, group: GroupPath): Promise<void> {
    const { core } = this.#of(unit);
    const { cgroup } = this.#host.options;
    const { group: old, processes, cpuMillicores } = core.record;
    if (old.join('/') === group.join('/')) return;
    cgroup.create(group);
    // First the record: what is in either group is ours.
    core.update({ group: [...group] });
    await cgroup.setLimits(group, { cpuMillicores });
    if (processes !== null)
      await cgroup.move(
        group,
        [processes.monitor, processes.qemu].flatMap((each) => (each === null ? [] : [each.pid])),
      );
    await cgroup.remove(old);
  }

  measure(unit: Unit): Omit<UnitMeasure, 'state' | 'tenant'> {
    return measureUnit(this.#host, unit instanceof RestingUnit ? unit : this.#of(unit));
  }

  async snapshot(unit: Unit, carriedPackets?: number): Promise<UnitHandle> {
    const { core } = this.#of(unit);
    await putToRest(this.#host, core, (key) => this.#templates.ofKey(key), carriedPackets);
    // It is told as lost to who watches it, and there is nothing to take apart.
    await core.end(() => Promise.resolve());
    this.#held.delete(core.record.id);
    core.lose('put to rest');
    await unit.close();
    return handleOf(core.record);
  }

  async move(unit: Unit): Promise<{ readonly unit: VmUnit } & MoveReport> {
    const { core } = this.#of(unit);
    const { core: second, ...report } = await moveToOtherSide(this.#host, core, (key) =>
      this.#templates.ofKey(key),
    );
    // The first is told as lost to who watches it, and what is taken apart of it is not the unit.
    await core.end(() => Promise.resolve());
    core.lose('moved');
    const moved = this.#hold(second, undefined);
    await unit.close();
    await leaveFirst(this.#host, core, second);
    return { unit: moved, ...report };
  }

  async destroy(unit: Unit): Promise<void> {
    if (unit instanceof RestingUnit) {
      await this.#removeResting(unit.handle.id);
      return;
    }
    const { core } = this.#of(unit);
    core.lose('destroyed');
    // One that rests has ended already, and is there all the same.
    if (core.record.resting && !this.#held.has(core.record.id)) await this.#removeResting(core.record.id);
    else await this.#end(core);
    await unit.close();
  }

  async close(): Promise<void> {
    await this.#templates.close();
    for (const { core } of this.#held.values()) core.detach();
    this.#held.clear();
    if (this.#host.records.ids().length > 0) return;
    await this.#host.network?.close();
    // Nothing is left to be found.
    rmSync(layoutOf(this.#host.options.dataDirectory).unitRuns, { recursive: true, force: true });
  }

  async #make(record: UnitRecord, template: Parameters<typeof provisionUnit>[2]): Promise<VmUnit> {
    try {
      const { core, report } = await provisionUnit(this.#host, record, template);
      return this.#hold(core, report);
    } catch (thrown) {
      this.#slots.delete(record.slot);
      throw thrown;
    }
  }

  async #adoptRecord(record: UnitRecord): Promise<VmUnit> {
    const host = this.#host;
    const { id } = record;
    const core = await takeUp({
      ...wakingOf(host, record, (key) => this.#templates.ofKey(key)),
      id,
      rests: () => record.resting,
      attach: () => adoptCore(host, record),
      remove: (lost) => {
        lost?.link.close();
        return this.#takeApart(host.records.read(id) ?? record, lost?.machine ?? null);
      },
    });
    await core.balloon.look();
    return this.#hold(core, undefined);
  }

  #hold(core: UnitCore, report: ProvisionReport | undefined): VmUnit {
    const held: Held = { core, holders: 0 };
    this.#held.set(core.record.id, held);
    // One that is gone leaves nothing, whether or not anybody asks for it.
    core.subscribe((event) => {
      if (event.type === 'lost') void this.#end(core);
    });
    if (core.lostReason !== undefined) void this.#end(core);
    return this.#view(held, report);
  }

  #view(held: Held, report: ProvisionReport | undefined): UnitView {
    held.holders += 1;
    return new UnitView(held.core, report, () => {
      held.holders -= 1;
      if (held.holders > 0 || held.core.lostReason !== undefined) return;
      held.core.detach();
      this.#held.delete(held.core.record.id);
    });
  }

  #end(core: UnitCore): Promise<void> {
    return core.end(async () => {
      await this.#takeApart(core.record, core.machine);
      this.#held.delete(core.record.id);
    });
  }

  /** By what is written down: of one that was lost when it woke nothing is left, and its number may be another's. */
  async #removeResting(id: UnitId): Promise<void> {
    const record = this.#host.records.read(id);
    if (record !== undefined) await this.#takeApart(record, null);
  }

  async #takeApart(record: UnitRecord, machine: UnitCore['machine'] | null): Promise<void> {
    await takeApart(this.#host, record, machine);
    this.#slots.delete(record.slot);
  }

  #of(unit: Unit): UnitView {
    if (unit instanceof UnitView) return unit;
    throw new BellowsError('NotFound', `The unit ${unit.handle.id} is not a virtual machine of this driver.`);
  }

  #records(): UnitRecord[] {
    const { records } = this.#host;
    return records.ids().flatMap((id) => records.read(id) ?? []);
  }

  #refuseTaken(id: UnitId): void {
    if (!idPattern.test(id))
      throw new BellowsError('InvalidName', `${JSON.stringify(id)} can not be a unit's name.`);
    if (this.#held.has(id) || this.#host.records.ids().includes(id))
      throw new BellowsError('Conflict', `The unit ${id} exists.`);
  }

  /** Takes a number and writes the unit down, before anything of it is made. */
  #reserve(id: UnitId, size: Resources, templateKey: string | null): UnitRecord {
    for (let slot = 0; slot < maxSlots; slot += 1) {
      if (this.#slots.has(slot)) continue;
      this.#slots.set(slot, id);
      const record = newRecord(this.#host, id, slot, size, templateKey);
      this.#host.records.write(record);
      return record;
    }
    throw new BellowsError('NoRoom', `There are ${maxSlots} units, and there can be no more.`);
  }
}

/** Made to the end, by this boot of the machine, and not a template that was being made. */
function isUsable(host: VmHost, { id, bootId, processes, door, resting }: UnitRecord): boolean {
  const isThere = processes !== null || resting;
  return !id.startsWith('t-') && bootId === host.bootId && isThere && door !== null;
}
