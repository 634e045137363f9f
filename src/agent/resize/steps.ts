// The writes of a resize to one group: growth wholly or not at all, a memory shrink only after room was made and seen.
// Knows nothing of requests, turns or retries.
import { BellowsError, messageOf } from '../../base/errors.ts';
import { humanBytes } from '../../base/quantity.ts';
import type { Logger } from '../../sys/log.ts';
import type { Cgroup } from '../cgroup/port.ts';
import type { InstanceControl } from './control.ts';
import { instancesOf, type Groups, type Owner } from './owners.ts';
import { judgeShrink, type Quantities, type Step } from './plan.ts';
import type { ShrinkWatch } from './watch.ts';
import { within } from './within.ts';

/** A collection of 10 GiB; an application that is stuck in a loop does not collect at all. */
const trimTimeoutMs = 2000;

export interface StepsOptions extends Groups {
  readonly cgroup: Cgroup;
  readonly control: InstanceControl;
  readonly log: Logger;
}

export class Steps {
  readonly #options: StepsOptions;
  readonly #watch: ShrinkWatch;

  constructor(options: StepsOptions, watch: ShrinkWatch) {
    this.#options = options;
    this.#watch = watch;
  }

  /** Writes everything of a step but a memory shrink: wholly or not at all. Returns why not, or nothing. */
  async write(step: Step, owner: Owner): Promise<string> {
    const { cgroup, log } = this.#options;
    const limits = step.direction === 'grow' ? step.limits : cpuOnly(step.limits);
    if (Object.keys(limits).length === 0) return '';
    try {
      if ((await cgroup.setLimits(owner.group, limits)) === 'busy')
        return 'the kernel could not make room below the limit';
      if (limits.memoryBytes !== undefined) this.#watch.raised(owner.key, limits.memoryBytes);
      return '';
    } catch (error) {
      // The kernel may have taken one of two amounts: put back what stood before, as far as it lets us.
      const { memoryBytes, cpuMillicores } = owner.held;
      await cgroup.setLimits(owner.group, { cpuMillicores, memoryBytes }).catch((again: unknown) => {
        log.error({ key: owner.key, error: messageOf(again) }, 'a failed change could not be undone');
      });
      if (!(error instanceof BellowsError))
        log.warn({ key: owner.key, error: messageOf(error) }, 'the kernel refused a limit');
      return messageOf(error);
    }
  }

  /**
   * Frees, verifies, lowers. Returns what stands in the way, or nothing when it is applied.
   * @param options.promisedBytes what it could count on so far, where that is more than its limit
   */
  async shrink(
    owner: Owner,
    wantedBytes: number,
    { mayTrim, promisedBytes }: { mayTrim: boolean; promisedBytes: number | null },
  ): Promise<string> {
    const { cgroup } = this.#options;
    let verdict = judgeShrink(cgroup.usage(owner.group), wantedBytes);
    if (!verdict.safe && mayTrim) {
      await this.#trim(owner);
      verdict = judgeShrink(cgroup.usage(owner.group), wantedBytes);
    }
    if (!verdict.safe) return verdict.reason;
    if (verdict.cacheInTheWay) {
      await cgroup.dropCache(owner.group);
      verdict = judgeShrink(cgroup.usage(owner.group), wantedBytes);
      if (!verdict.safe) return verdict.reason;
    }
    const before = promisedBytes ?? cgroup.limits(owner.group).memoryBytes;
    const outcome = await this.#watch.lower(owner.key, owner.group, before, wantedBytes);
    return outcome === 'applied' ? '' : `the kernel could not bring its use below ${humanBytes(wantedBytes)}`;
  }

  async #trim(owner: Owner): Promise<void> {
    const { cgroup, control, log } = this.#options;
    const ids =
      owner.kind === 'instance' ? [owner.id] : instancesOf(owner.tenant, cgroup, control, this.#options);
    const trims = ids.map((id) =>
      control
        .trim(id)
        .catch((error: unknown) =>
          log.debug({ instance: id, error: messageOf(error) }, 'an instance was not trimmed'),
        ),
    );
    await within(trimTimeoutMs, Promise.all(trims));
  }
}

function cpuOnly({ cpuMillicores }: Partial<Quantities>): Partial<Quantities> {
  return cpuMillicores === undefined ? {} : { cpuMillicores };
}
