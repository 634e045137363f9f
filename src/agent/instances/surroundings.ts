// What an instance finds when its code begins: a group with its limits, its code, its memory figures, its user's name,
// its log, its grant and its environment. Owns what these are. When each is put in place is starter.ts.
import { BellowsError } from '../../base/errors.ts';
import type { InstanceSpec } from '../../protocol/agent.ts';
import type { Cgroup, GroupPath } from '../cgroup/port.ts';
import { instancePids } from '../config.ts';
import { GrantBook } from '../grants.ts';
import { groupOfTenant } from '../groups.ts';
import type { LogStore } from '../logs/log-store.ts';
import type { Sandbox } from '../sandbox/port.ts';
import { giveLog, nameUser, type Slot } from '../slot.ts';
import type { Instance } from './instance.ts';
import { baseEnvironment } from './places.ts';

export interface SurroundingsOptions {
  readonly cgroup: Cgroup;
  readonly sandbox: Sandbox;
  readonly logs: LogStore;
}

export class Surroundings {
  readonly #options: SurroundingsOptions;

  constructor(options: SurroundingsOptions) {
    this.#options = options;
  }

  /** Who the instance becomes; 0 is "stay who you are". */
  identity(spec: InstanceSpec): { uid: number; gid: number } {
    return this.#options.sandbox.separateUsers ? { uid: spec.uid, gid: spec.uid } : { uid: 0, gid: 0 };
  }

  /** Whom its processes and sockets belong to. */
  ownerUid(spec: InstanceSpec): number {
    return this.#options.sandbox.separateUsers ? spec.uid : (process.getuid?.() ?? 0);
  }

  /** @param apiPort of its Runtime API @param port that an app is to listen on */
  environment(
    spec: InstanceSpec,
    slot: Slot,
    apiPort: number | null,
    port: number | null,
  ): Record<string, string> {
    const inside = this.#options.sandbox.inside(slot, spec.codeDirectory);
    return {
      ...baseEnvironment(inside),
      ...spec.env,
      ...(apiPort === null ? {} : { AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${apiPort}` }),
      BELLOWS_GRANT_FILE: `${inside.run}/grant.json`,
      BELLOWS_INSTANCE_ID: spec.id,
      ...(port === null ? {} : { PORT: String(port) }),
    };
  }

  /** Makes the instance's group. On failure there is none. */
  async makeGroup(spec: InstanceSpec, group: GroupPath): Promise<void> {
    const { cgroup } = this.#options;
    cgroup.create(group);
    // Cgroup v1 refuses a CPU quota above the tenant's; under it the effect is the same.
    const tenantCpu = cgroup.limits(groupOfTenant(spec.tenant)).cpuMillicores;
    try {
      await cgroup.setLimits(group, {
        memoryBytes: spec.grant.memory,
        cpuMillicores: tenantCpu === null ? spec.grant.cpu : Math.min(spec.grant.cpu, tenantCpu),
        pids: instancePids,
      });
      // Looked after when it has started; until then its start's own time is the bound.
      if (spec.requested !== undefined && spec.requested.memory > spec.grant.memory)
        cgroup.holdOutOfMemory(group, true);
    } catch (thrown) {
      await cgroup.remove(group);
      throw thrown;
    }
  }

  /** For a command, which finds everything as soon as it runs. */
  furnishCommand(spec: InstanceSpec, slot: Slot, group: GroupPath): void {
    this.#show(spec, slot, group);
    new GrantBook(slot.runDirectory, spec.grant, 1).write();
  }

  /** For a process that is being bound: before its user code loads. */
  furnishBound(instance: Instance, group: GroupPath): void {
    const { sandbox, logs } = this.#options;
    const { spec, cell } = instance;
    cell.log.sink = logs.sinkOf(spec.workload, spec.id);
    this.#show(spec, cell.slot, group);
    if (spec.grant.storage !== cell.storageBytes) {
      const outcome = sandbox.resizeStorage(cell.slot, spec.grant.storage);
      if (outcome.is !== 'applied')
        throw new BellowsError('NotSupportedHere', `Its scratch space can not be made: ${outcome.reason}.`);
    }
    cell.api?.serve({ uid: this.ownerUid(spec), grants: instance.grants });
    instance.grants.write();
    instance.save();
  }

  #show(spec: InstanceSpec, slot: Slot, group: GroupPath): void {
    const { sandbox, cgroup } = this.#options;
    sandbox.showCode(slot, spec.codeDirectory);
    sandbox.showMemory(slot, cgroup.memoryDirectory(group));
    const { uid } = this.identity(spec);
    if (uid === 0) return;
    nameUser(slot, uid);
    giveLog(slot, uid);
  }
}
