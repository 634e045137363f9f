// Makes plans from what is known at this moment: the arithmetic is src/allocator, this gathers what it is told.
// Changes nothing.
import { findInfeasible } from '../../allocator/feasibility.ts';
import { planChange, type ChangePlan } from '../../allocator/plan-change.ts';
import type { PlanInput, ResourceLimits } from '../../allocator/plan-input.ts';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import type { Workload } from '../../model/workload.ts';
import type { AgentLink } from '../agent-link.ts';
import type { Tuning } from '../config.ts';
import type { Measures } from '../measures.ts';
import type { ActualState } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import { phantoms, planInput, type Wish } from './plan-input.ts';

export interface PlannerParts {
  readonly link: Pick<AgentLink, 'hello'>;
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly measures: Measures;
  readonly tuning: Tuning;
}

export class Planner {
  readonly #parts: PlannerParts;
  readonly #enforced: ReadonlyMap<TenantId, Partial<ResourceLimits>>;

  /** @param enforced tenants' limits that the kernel holds where they are not yet the stored ones */
  constructor(parts: PlannerParts, enforced: ReadonlyMap<TenantId, Partial<ResourceLimits>>) {
    this.#parts = parts;
    this.#enforced = enforced;
  }

  plan(wish: Wish): ChangePlan {
    return planChange(this.#input(wish));
  }

  /** Whether somebody would get less than is asked for it, of what can not be taken from who uses it. */
  isScarce(wish: Wish): boolean {
    const input = this.#input(wish);
    const { grants } = planChange(input);
    return input.instances.some(({ id, wanted }) =>
      (['memory', 'storage'] as const).some((kind) => (grants.get(id)?.[kind] ?? 0) < wanted[kind]),
    );
  }

  /**
   * Why `count` instances of a workload could never be given `wanted`, whether they run or not; empty when they could.
   * @param previous what was asked for before, which is not judged again; null for a new workload or a larger scale
   */
  infeasibleReason(workload: Workload, previous: Resources | null, wanted: Resources, count: number): string {
    const input = this.#input({});
    const others = input.instances.filter((instance) => instance.workload !== workload.key);
    const own = phantoms(workload, previous, wanted, Math.max(1, count));
    return findInfeasible({ ...input, instances: [...others, ...own] }).reason;
  }

  workingSet(id: InstanceId): number | undefined {
    return this.#parts.measures.usageOf(id)?.workingSetBytes;
  }

  #input(wish: Wish): PlanInput {
    const { link, desired, actual, tuning } = this.#parts;
    return planInput(
      {
        capacity: link.hello?.capacity ?? unknownCapacity,
        memoryOversubscription: tuning.oversubscription,
        tenants: desired.tenants(),
        enforced: this.#enforced,
        instances: actual.all(),
        record: (key) => desired.record(key),
        workingSet: (id) => this.workingSet(id),
        stored: (id) => this.#parts.measures.storageOf(id),
      },
      wish,
    );
  }
}

/** Zeros are taken as "not measured": while the unit was never reached, capacity stands against nothing. */
const unknownCapacity = { memory: 0, cpu: 0, storage: 0, bandwidth: 0 } as Resources;
