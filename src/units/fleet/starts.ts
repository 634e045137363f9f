// How an instance comes into a unit: a unit is found or made, becomes the tenant's, gets the code and exactly the size
// that was asked for, and only then the guest's agent starts user code. Owns that order and its way back.
import type { Cgroup } from '../../agent/cgroup/port.ts';
import { groupOfTenant } from '../../agent/groups.ts';
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import type { AgentProtocol, InstanceSpec, TenantSpec } from '../../protocol/agent.ts';
import type { ResultOf } from '../../protocol/rpc.ts';
import type { Logger } from '../../sys/log.ts';
import type { VmDriver } from '../vm/port.ts';
import type { FleetTuning, Sharing } from './config.ts';
import { place } from './placement.ts';
import type { UnitRecords } from './records.ts';
import type { FleetUnit, Placed } from './unit.ts';
import type { Turns } from './turns.ts';
import type { UnitCode } from './unit-code.ts';
import type { WarmPool } from './warm-pool.ts';

export type StartResult = ResultOf<AgentProtocol['methods']['start']>;

/** Notes how long after the beginning a part of a start was done. */
type Step = <T>(name: string, work: Promise<T>) => Promise<T>;

export interface StartsParts {
  readonly driver: VmDriver;
  readonly cgroup: Cgroup;
  readonly units: () => readonly FleetUnit[];
  readonly pool: WarmPool;
  readonly code: UnitCode;
  readonly records: UnitRecords;
  readonly sharing: Sharing;
  readonly size: Resources;
  readonly tenant: (id: TenantId) => TenantSpec | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: FleetTuning;
  /** It serves. */
  readonly onStarted: (unit: FleetUnit, placed: Placed) => void;
  readonly turns: Turns;
  /** No start is under way any more. */
  readonly onIdle: () => void;
  /** It did not come to serve: the unit is to be looked at, for it may have nobody left. */
  readonly onFailed: (unit: FleetUnit, spec: InstanceSpec) => Promise<void>;
}

export class Starts {
  readonly #parts: StartsParts;
  readonly #underWay = new Map<InstanceId, Promise<StartResult>>();

  constructor(parts: StartsParts) {
    this.#parts = parts;
  }

  /** The start of an id that is under way is joined. */
  start(spec: InstanceSpec): Promise<StartResult> {
    const known = this.#underWay.get(spec.id);
    if (known !== undefined) return known;
    const deadlineMs = this.#parts.clock.monotonicMs() + this.#parts.tuning.acquireTimeoutMs;
    const patience = {
      waitMs: this.#parts.tuning.acquireTimeoutMs,
      giveUp: (taken: number) =>
        new BellowsError(
          'NoRoom',
          `It was not this start's turn in time: ${taken} others are under way in virtual machines.`,
          'Try again in a moment, or keep instances running (scale.min) instead of starting many at once.',
        ),
    };
    const begun = this.#parts.turns.during(spec.tenant, patience, () => this.#start(spec, deadlineMs));
    const result = begun.finally(() => {
      this.#underWay.delete(spec.id);
      if (!this.busy) this.#parts.onIdle();
    });
    this.#underWay.set(spec.id, result);
    return result;
  }

  /** Whether any is: what can wait should not take the processor from it. */
  get busy(): boolean {
    return this.#underWay.size > 0;
  }

  isUnderWay(id: InstanceId): boolean {
    return this.#underWay.has(id);
  }

  /** @param deadlineMs until when it may wait for a unit */
  async #start(spec: InstanceSpec, deadlineMs: number): Promise<StartResult> {
    const { clock, pool, tuning, log, onStarted, onFailed } = this.#parts;
    const startedMs = clock.monotonicMs();
    const steps: Record<string, number> = {};
    const step = async <T>(name: string, work: Promise<T>): Promise<T> => {
      const result = await work;
      steps[name] = Math.round(clock.monotonicMs() - startedMs);
      return result;
    };
    const found = pool.take(() => this.#find(spec), deadlineMs);
    const unit = await step('foundMs', found);
    const placed = unit.placed.get(spec.id);
    if (placed === undefined) throw lost(unit);
    try {
      const pooled = await this.#prepare(unit, spec, step);
      const starting = unit.guest.call('start', spec, { timeoutMs: tuning.guestStartTimeoutMs });
      const result = await step('startedMs', starting);
      if (result.outcome === 'failed') {
        log.info({ unit: unit.id, instance: spec.id, ...steps }, 'user code did not come to serve in a unit');
        await onFailed(unit, spec);
        return result;
      }
      if (unit.stopping) throw lost(unit);
      placed.info = result.instance;
      placed.endpoint = { ...result.endpoint, door: unit.vm.door };
      onStarted(unit, placed);
      unit.settleSoon();
      const durationMs = clock.monotonicMs() - startedMs;
      const inside = { pooledInside: result.pooled, insideMs: Math.round(result.durationMs) };
      log.info({ unit: unit.id, instance: spec.id, ...steps, ...inside }, 'instance started in a unit');
      return {
        ...result,
        instance: { ...result.instance, unit: unit.id },
        pooled,
        durationMs,
        endpoint: placed.endpoint,
      };
    } catch (thrown) {
      log.warn({ err: thrown, unit: unit.id, instance: spec.id, ...steps }, 'an instance could not start');
      await onFailed(unit, spec);
      // Every call into a unit that is lost fails with that; why it was is the cause.
      throw unit.loss === undefined ? thrown : lost(unit);
    }
  }

  /** A unit for it, with its place taken. */
  #find(spec: InstanceSpec): FleetUnit | undefined {
    const { units, sharing, size } = this.#parts;
    const usable = units().filter((unit) => unit.connected && !unit.stopping);
    const candidates = usable.map((unit) => ({
      id: unit.id,
      provisioned: unit.vm.provisioned,
      granted: unit.granted,
      claimed: unit.vm.claimed,
      instances: unit.placed.size,
      served: unit.served,
    }));
    const found = place(spec, candidates, sharing, size);
    if (found.is === 'never')
      throw new BellowsError(
        'NoRoom',
        `The instance can not be started: ${found.reason}.`,
        'Ask for less, or start Bellows with larger units: bellows up --unit vm --unit-memory SIZE.',
      );
    if (found.is === 'none') return undefined;
    const unit = usable.find(({ id }) => id === found.unit);
    unit?.placed.set(spec.id, { spec, info: null, endpoint: null, reserved: spec.grant, usage: null });
    return unit;
  }

  /** Makes the unit the tenant's, and the instance's size. @returns whether it was warm and nobody's before */
  async #prepare(unit: FleetUnit, spec: InstanceSpec, step: Step): Promise<boolean> {
    const { driver, cgroup, code, records, tenant } = this.#parts;
    const known = tenant(spec.tenant);
    if (known === undefined)
      throw new BellowsError('NotFound', `Tenant ${spec.tenant} is not known to this unit's agent.`);
    const fresh = unit.served.size === 0;
    if (!unit.served.has(spec.tenant)) {
      unit.served.add(spec.tenant);
      // On record before anything of the tenant's is inside: after a crash nobody else is given this unit.
      records.update(unit.id, { served: [...unit.served] });
    }
    const group = unit.tenant === null ? ['shared', unit.id] : [...groupOfTenant(unit.tenant), unit.id];
    cgroup.create(group.slice(0, -1));
    await Promise.all([
      fresh || unit.tenant === null ? step('movedMs', driver.moveToGroup(unit.vm, group)) : Promise.resolve(),
      step('codeMs', code.ensure(unit.vm, spec)),
      step('tenantMs', unit.tenants.ensure(known)),
      // What is claimed is not to be had inside: the size is right before user code runs.
      step(
        'sizedMs',
        unit.awake(spec.id).then(() => unit.settle('free')),
      ),
    ]);
    return fresh;
  }
}

/** With the code of the loss: for whoever asked for the start there is no instance. */
function lost({ id, loss }: FleetUnit): BellowsError {
  return new BellowsError(
    loss?.code ?? 'UnitLost',
    `The virtual machine ${id} was lost during the start: ${loss?.message ?? 'it was ended'}.`,
    'Try again: the next start gets another machine.',
  );
}
