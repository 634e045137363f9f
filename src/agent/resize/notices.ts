// What instances are told of their grants (MISSION E5): before a change, and when it stands.
import { messageOf } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { Bytes, Millicores } from '../../base/quantity.ts';
import { sameResources, type Resources } from '../../model/resources.ts';
import type { Logger } from '../../sys/log.ts';
import type { Cgroup } from '../cgroup/port.ts';
import type { InstanceControl } from './control.ts';
import type { InstanceOwner, Owner } from './owners.ts';
import { cappedQuantities, judgeShrink, type Quantities, type Step } from './plan.ts';
import { within } from './within.ts';

/** An application that does not answer a notice within this is not waited for: the notice is a courtesy, not a veto. */
const noticeTimeoutMs = 100;

export interface NoticesOptions {
  readonly cgroup: Cgroup;
  readonly control: InstanceControl;
  readonly log: Logger;
  /** What an instance was last asked to be. */
  readonly desired: (id: InstanceId) => Resources | undefined;
  /** What it was promised of its memory while a part of that is lent. */
  readonly promised: (id: InstanceId) => number | null;
}

export class Notices {
  readonly #options: NoticesOptions;

  constructor(options: NoticesOptions) {
    this.#options = options;
  }

  /**
   * Tells every instance that changes, all at once; waited for is only who must free something: what fits already need
   * not be made to.
   * @param elsewhere who changes in what no group enforces
   */
  async announce(
    steps: readonly Step[],
    elsewhere: readonly InstanceOwner[],
    ownerOf: (key: string) => Owner | undefined,
  ): Promise<void> {
    const { cgroup, control, log } = this.#options;
    const heard: Promise<void>[] = [];
    for (const key of new Set([...steps, ...elsewhere].map((step) => step.key))) {
      const owner = ownerOf(key);
      if (owner?.kind !== 'instance') continue;
      const announced = this.#announced(owner);
      if (owner.promisedBytes !== null && sameResources(announced, owner.instance.grant)) continue;
      const notice = control
        .announce(owner.id, announced)
        .catch((error: unknown) =>
          log.debug(
            { instance: owner.id, error: messageOf(error) },
            'an instance was not told of its change',
          ),
        );
      if (this.#mustFree(owner, steps) && !cgroup.isFrozen(owner.group)) heard.push(notice);
    }
    if (heard.length > 0) await within(noticeTimeoutMs, Promise.all(heard));
  }

  /** Tells what the kernel enforces, as it was just read there; does not wait for it to be heard. */
  tellCurrent(id: InstanceId, enforced: Quantities): void {
    const { control, promised } = this.#options;
    const grant = this.grantOf(id, enforced);
    if (grant !== undefined) control.enforced(id, grant, promised(id) as Bytes | null);
  }

  /** A grant out of what the kernel enforces; undefined when the instance is gone. */
  grantOf(id: InstanceId, enforced: Quantities): Resources | undefined {
    const instance = this.#options.control.describe(id);
    return instance && this.#grantOf({ id, instance }, enforced);
  }

  #mustFree({ key, group }: InstanceOwner, steps: readonly Step[]): boolean {
    const { cgroup } = this.#options;
    return steps.some(({ key: of, direction, limits: { memoryBytes } }) => {
      if (of !== key || direction !== 'shrink' || memoryBytes === undefined || memoryBytes === null)
        return false;
      const verdict = judgeShrink(cgroup.usage(group), memoryBytes);
      return !verdict.safe || verdict.cacheInTheWay;
    });
  }

  #announced(owner: InstanceOwner): Resources {
    const limits = cappedQuantities(owner);
    // Of one whose tenant alone is changed, what is lent stays so.
    const promisedBytes = owner.asked === null ? this.#options.promised(owner.id) : owner.promisedBytes;
    const grant = this.#grantOf(owner, { ...limits, memoryBytes: promisedBytes ?? limits.memoryBytes });
    return owner.asked === null ? grant : { ...grant, storage: owner.asked.storage };
  }

  /** A grant with these limits; what has no limit here is what was asked for. */
  #grantOf(owner: Pick<InstanceOwner, 'id' | 'instance'>, limits: Quantities): Resources {
    const fallback = this.#options.desired(owner.id) ?? owner.instance.grant;
    const memory = (limits.memoryBytes ?? fallback.memory) as Bytes;
    const cpu = (limits.cpuMillicores ?? fallback.cpu) as Millicores;
    const storage = (this.#options.control.storageBytes(owner.id) ?? fallback.storage) as Bytes;
    return { memory, cpu, storage, bandwidth: fallback.bandwidth };
  }
}
