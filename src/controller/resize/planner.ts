// Makes plans from what is known at this moment: the arithmetic is src/allocator, this gathers what it is told.
// Changes nothing.
import { findInfeasible } from '../../allocator/feasibility.ts';
import { planChange, type ChangePlan } from '../../allocator/plan-change.ts';
import type { PlanInput, ResourceLimits } from '../../allocator/plan-input.ts';
import type { Balances } from '../../allocator/credits/lend.ts';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import { resourceKinds, type ResourceKind, type Resources } from '../../model/resources.ts';
import type { Bytes } from '../../base/quantity.ts';
import type { Workload } from '../../model/workload.ts';
import { noResources } from '../../units/no-resources.ts';
import type { AgentLink } from '../agent-link.ts';
import type { Tuning } from '../config.ts';
import type { Measures } from '../measures.ts';
import { memoryRoom, type MemoryRoom } from '../memory-room.ts';
import type { SteadyDemands } from '../rebalance/steady-demand.ts';
import type { ActualState } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import { phantoms, planInput, type Wish } from './plan-input.ts';

export interface PlannerParts {
  readonly link: Pick<AgentLink, 'hello'>;
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly measures: Measures;
  readonly steadyDemands: Pick<SteadyDemands, 'of'>;
  /** Who has lent; undefined while that is not known. */
  readonly balances: () => Balances | undefined;
  readonly tuning: Tuning;
}

export class Planner {
  readonly #parts: PlannerParts;
  readonly #enforced: ReadonlyMap<TenantId, Partial<ResourceLimits>>;
  readonly #coming = new Set<InstanceId>();
  #withheldBytes = 0;

  /** @param enforced tenants' limits that the kernel holds where they are not yet the stored ones */
  constructor(parts: PlannerParts, enforced: ReadonlyMap<TenantId, Partial<ResourceLimits>>) {
    this.#parts = parts;
    this.#enforced = enforced;
  }

  plan(wish: Wish): ChangePlan {
    return planChange(this.#input(wish));
  }

  /** The plan with nothing wished for, and whether somebody gets less than is asked for it. */
  division(): { readonly plan: ChangePlan; readonly isShort: boolean } {
    const input = this.#input({});
    const plan = planChange(input);
    return { plan, isShort: isShort(input, plan, resourceKinds) };
  }

  /** Of what somebody would get less than is asked for it: of `space`, memory or storage, which who uses it can not be without, or of `time` alone. */
  shortage(wish: Wish): 'nothing' | 'time' | 'space' {
    const input = this.#input(wish);
    const plan = planChange(input);
    if (isShort(input, plan, ['memory', 'storage'])) return 'space';
    return isShort(input, plan, ['cpu', 'bandwidth']) ? 'time' : 'nothing';
  }

  /** From now on one that waits has a share in all that is divided, until it does not wait any more. */
  expect(id: InstanceId): void {
    this.#coming.add(id);
  }

  forget(id: InstanceId): void {
    this.#coming.delete(id);
  }

  /** Divides so much less memory than may be granted, 0 for all of it. */
  withhold(bytes: number): void {
    this.#withheldBytes = bytes;
  }

  /** What may be granted in all; Infinity where it is not known. */
  get grantableBytes(): number {
    const { capacityBytes, oversubscription } = this.#room;
    return capacityBytes === 0 ? Number.POSITIVE_INFINITY : Math.floor(capacityBytes * oversubscription);
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
    const { link, desired, actual, steadyDemands, balances } = this.#parts;
    const { capacityBytes, oversubscription } = this.#room;
    const withheldBytes = Math.min(this.#withheldBytes, capacityBytes * oversubscription);
    return planInput(
      {
        capacity: { ...(link.hello?.capacity ?? noResources), memory: capacityBytes as Bytes },
        memoryOversubscription:
          capacityBytes === 0 ? oversubscription : oversubscription - withheldBytes / capacityBytes,
        tenants: desired.tenants(),
        enforced: this.#enforced,
        instances: actual.all(),
        record: (key) => desired.record(key),
        workingSet: (id) => this.workingSet(id),
        stored: (id) => this.#parts.measures.storageOf(id),
        demandOf: steadyDemands.of.bind(steadyDemands),
        balances: balances(),
        coming: this.#coming,
      },
      wish,
    );
  }

  /** Nothing is taken as "not measured": while the unit was never reached, capacity stands against nothing. */
  get #room(): MemoryRoom {
    const { link, tuning } = this.#parts;
    return memoryRoom((link.hello?.capacity ?? noResources).memory, tuning);
  }
}

function isShort({ instances }: PlanInput, { grants }: ChangePlan, kinds: readonly ResourceKind[]): boolean {
  return instances.some(({ id, wanted }) => {
    const grant = grants.get(id);
    return kinds.some((kind) => (grant?.[kind] ?? 0) < wanted[kind]);
  });
}
