// Reserved concurrency of functions: set one at a time for a tenant, so that together they leave what the others need.
// Owns that rule's effects; what a reservation is worth while it stands is src/allocator/scale.ts.
import { defaultTenantConcurrency, leastUnreserved } from '../allocator/scale.ts';
import { BellowsError } from '../base/errors.ts';
import { workloadKey, type TenantId, type WorkloadName } from '../base/ids.ts';
import type { FunctionWorkload } from '../model/workload.ts';
import { KeyedQueue } from './serial.ts';
import type { DesiredState } from './state/desired.ts';
import type { Workloads } from './workloads.ts';

export class Reservations {
  readonly #desired: DesiredState;
  readonly #workloads: Pick<Workloads, 'change' | 'requireFunction'>;
  readonly #turns = new KeyedQueue<TenantId>();

  constructor(parts: {
    readonly desired: DesiredState;
    readonly workloads: Pick<Workloads, 'change' | 'requireFunction'>;
  }) {
    this.#desired = parts.desired;
    this.#workloads = parts.workloads;
  }

  /** @throws BellowsError NotFound; Infeasible when it would leave too little of the tenant's limit to its other functions */
  set(tenant: TenantId, name: WorkloadName, reserved: number | null): Promise<FunctionWorkload> {
    return this.#turns.run(tenant, async () => {
      const present = this.#workloads.requireFunction(tenant, name);
      // Less than before takes from nobody, also where a limit was lowered below what is reserved.
      if (reserved !== null && reserved > (present.reservedConcurrency ?? 0))
        this.#refuseTooMuch(tenant, name, reserved);
      await this.#workloads.change(tenant, name, (now) =>
        now.kind === 'function' ? { ...now, reservedConcurrency: reserved } : now,
      );
      return this.#workloads.requireFunction(tenant, name);
    });
  }

  #refuseTooMuch(tenant: TenantId, name: WorkloadName, reserved: number): void {
    const limit = this.#desired.requireTenant(tenant).limits.concurrency ?? defaultTenantConcurrency;
    const own = workloadKey(tenant, name);
    const byOthers = this.#desired
      .workloads(tenant)
      .reduce(
        (sum, other) =>
          sum + (other.kind === 'function' && other.key !== own ? (other.reservedConcurrency ?? 0) : 0),
        0,
      );
    const least = leastUnreserved(limit);
    if (limit - byOthers - reserved >= least) return;
    throw new BellowsError(
      'Infeasible',
      `Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [${least}].`,
      `The tenant ${tenant} has a concurrency limit of ${limit}, and other functions have reserved ${byOthers}: reserve less, or raise the limit.`,
    );
  }
}
