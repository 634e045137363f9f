// Who is in which unit, and how one ends: its last lines are read, whoever asks is told once, and a unit that nobody is
// left in goes, for it is passed on to nobody. Owns the way out; the way in is starts.ts.
import type { BrokenInvocations } from '../../agent/instances/broken-invocations.ts';
import type { BellowsError } from '../../base/errors.ts';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import type { InstanceInfo } from '../../model/instance.ts';
import type { AgentProtocol } from '../../protocol/agent.ts';
import type { EventOf, ResultOf } from '../../protocol/rpc.ts';
import type { Layout } from '../../sys/layout.ts';
import type { Logger } from '../../sys/log.ts';
import { noResources } from '../no-resources.ts';
import type { FleetTuning } from './config.ts';
import type { GuestLogs } from './guest-logs.ts';
import type { Listed } from './roster.ts';
import type { FleetUnit, Placed } from './unit.ts';
import { outsideSpec } from './unit-code.ts';

export type Exit = Extract<EventOf<AgentProtocol>, { event: 'exited' }>['data'];
type GivenBack = Extract<EventOf<AgentProtocol>, { event: 'givenBack' }>['data'];
type ListedInstance = ResultOf<AgentProtocol['methods']['list']>['instances'][number];

export interface ResidentsParts {
  readonly units: () => readonly FleetUnit[];
  readonly layout: Layout;
  readonly logs: GuestLogs;
  readonly broken: BrokenInvocations;
  readonly tuning: FleetTuning;
  readonly isStarting: (id: InstanceId) => boolean;
  readonly destroy: (unit: FleetUnit) => Promise<void>;
  readonly emit: (event: EventOf<AgentProtocol>) => void;
  readonly log: Logger;
}

export interface Resident {
  readonly unit: FleetUnit;
  readonly placed: Placed;
}

export class Residents {
  readonly #parts: ResidentsParts;
  readonly #ending = new Map<InstanceId, Promise<void>>();

  constructor(parts: ResidentsParts) {
    this.#parts = parts;
  }

  find(id: InstanceId): Resident | undefined {
    for (const unit of this.#parts.units()) {
      const placed = unit.placed.get(id);
      if (placed !== undefined) return { unit, placed };
    }
    return undefined;
  }

  unitsOf(tenant: TenantId): FleetUnit[] {
    return this.#parts
      .units()
      .filter((unit) => [...unit.placed.values()].some(({ spec }) => spec.tenant === tenant));
  }

  /** As the controller is told: by its host's names, with what only the unit knows. */
  list(): Listed {
    return this.#parts.units().flatMap((unit) =>
      [...unit.placed.values()].flatMap(({ spec, info, endpoint, reserved }): ListedInstance[] => {
        if (info === null || endpoint === null) return [];
        return [{ info: outsideInfo(info, unit, reserved), endpoint, spec }];
      }),
    );
  }

  /** It serves, or its state, grant or connections changed. */
  changed(unit: FleetUnit, info: InstanceInfo): void {
    const placed = unit.placed.get(info.id);
    if (placed === undefined) return;
    // Until its start is answered nobody knows it.
    if (placed.info !== null) placed.info = info;
    this.#parts.emit({
      event: 'instance',
      data: toJson(outsideInfo(info, unit, placed.reserved)),
    });
  }

  /** Inside, what was lent is an instance's own again: the machine follows, and whoever lent it is told. */
  givenBack(unit: FleetUnit, { id, grant, why }: GivenBack): void {
    const { log, emit } = this.#parts;
    const placed = unit.placed.get(id);
    if (placed === undefined) return;
    unit
      .givenBack(id, grant.memory)
      .catch((thrown: unknown) =>
        log.error({ err: thrown, unit: unit.id, instance: id }, 'what was lent could not be released'),
      );
    const { storage, bandwidth } = placed.reserved;
    emit({ event: 'givenBack', data: { id, grant: { ...grant, storage, bandwidth }, why } });
  }

  /** The unit's agent is there, for the first time or again: what it has counts. */
  listed(unit: FleetUnit, listed: Listed): void {
    const { layout, logs, isStarting } = this.#parts;
    const known = new Set(listed.map(({ info }) => info.id));
    for (const { info, endpoint, spec } of listed) {
      const placed = unit.placed.get(info.id) ?? {
        spec: outsideSpec(spec, layout),
        info,
        endpoint: null,
        reserved: info.grant,
        usage: null,
      };
      unit.placed.set(info.id, placed);
      placed.info = info;
      // The agent before it may have lent what this one has given back.
      if (info.grant.memory > placed.reserved.memory)
        placed.reserved = { ...placed.reserved, memory: info.grant.memory };
      placed.endpoint = { ...endpoint, door: unit.vm.door };
      logs.follow(unit, spec.workload);
      this.changed(unit, info);
    }
    for (const [id, { spec }] of unit.placed) {
      if (known.has(id) || isStarting(id)) continue;
      const reason = 'it was gone when the agent in its unit came back';
      void this.ended(unit, {
        id,
        workload: spec.workload,
        code: null,
        signal: null,
        oomKilled: false,
        reason,
      });
    }
  }

  /** It has ended inside. Resolves when nothing of it is left; asking again joins. */
  ended(unit: FleetUnit, exit: Exit): Promise<void> {
    const known = this.#ending.get(exit.id);
    if (known !== undefined) return known;
    const ending = this.#end(unit, exit).finally(() => this.#ending.delete(exit.id));
    this.#ending.set(exit.id, ending);
    return ending;
  }

  /** The unit is gone with all of them. */
  async lost(unit: FleetUnit, { message: reason }: BellowsError): Promise<void> {
    for (const [id, { spec }] of [...unit.placed]) {
      const exit = { id, workload: spec.workload, code: null, signal: null, oomKilled: false };
      this.#forget(unit, { ...exit, reason: `its unit ${unit.id} was lost: ${reason}` });
    }
  }

  /** One that was placed did not come to serve. */
  async startFailed(unit: FleetUnit, id: InstanceId): Promise<void> {
    const placed = unit.placed.get(id);
    if (placed === undefined) return;
    await this.#parts.logs.drain(unit, placed.spec.workload, this.#parts.tuning.lastLogsMs);
    unit.placed.delete(id);
    await this.#tidy(unit);
  }

  async #end(unit: FleetUnit, exit: Exit): Promise<void> {
    if (!unit.placed.has(exit.id)) return;
    await this.#parts.logs.drain(unit, exit.workload, this.#parts.tuning.lastLogsMs);
    this.#forget(unit, exit);
    await this.#tidy(unit);
  }

  #forget(unit: FleetUnit, exit: Exit): void {
    const placed = unit.placed.get(exit.id);
    if (placed === undefined) return;
    unit.placed.delete(exit.id);
    this.#parts.broken.ended(placed.spec, placed.reserved.memory, placed.usage?.memoryPeakBytes ?? 0);
    // A start that is still being answered tells its caller itself.
    if (placed.info !== null) this.#parts.emit({ event: 'exited', data: exit });
  }

  async #tidy(unit: FleetUnit): Promise<void> {
    if (unit.stopping) return;
    if (unit.placed.size === 0) await this.#parts.destroy(unit);
    else await unit.settle();
  }
}

/** The guest knows neither its unit's name nor what the unit alone enforces. */
function outsideInfo(info: InstanceInfo, unit: FleetUnit, reserved: Placed['reserved']): InstanceInfo {
  const { storage, bandwidth } = reserved;
  if (unit.state === 'hibernated') {
    // All but its disk is others' until it wakes, and it is to have it then.
    const { promised: _promised, ...still } = info;
    const grant = { ...noResources, storage };
    return {
      ...still,
      unit: unit.id,
      state: 'hibernated',
      grant,
      desired: { ...info.grant, storage, bandwidth },
    };
  }
  return {
    ...info,
    unit: unit.id,
    grant: { ...info.grant, storage, bandwidth },
    desired: { ...info.desired, bandwidth },
  };
}

/** The protocol's type is of mutable values. */
function toJson(info: InstanceInfo): Extract<EventOf<AgentProtocol>, { event: 'instance' }>['data'] {
  return { ...info, connections: { ...info.connections } };
}
