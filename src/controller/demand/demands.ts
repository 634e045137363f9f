// What every instance demands: what it would use now and soon. Owns gathering what the allocator's rule needs
// (src/allocator/demand): what is measured, what its workload asks for, and whether it works.
// Does not own grants: what follows from demand is the planner's matter.
import { demandOf } from '../../allocator/demand/demand.ts';
import type { ResourceKind, Resources } from '../../model/resources.ts';
import type { Measures } from '../measures.ts';
import { requestOf } from '../resize/plan-input.ts';
import { knownOf, type Tracked } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import { resourcesOf } from '../views.ts';
import { activityOf } from './activity.ts';

export interface DemandsParts {
  readonly desired: DesiredState;
  readonly measures: Measures;
}

export class Demands {
  readonly #parts: DemandsParts;

  constructor(parts: DemandsParts) {
    this.#parts = parts;
  }

  /**
   * What it would use now and soon, in base units; never more than its request. One that nothing was measured of, as
   * it has yet to serve, demands its request.
   */
  demandOf(tracked: Tracked): Resources {
    const { desired, measures } = this.#parts;
    const { id, workload } = tracked.spec;
    const request = requestOf(desired.record(workload), tracked);
    const usage = measures.usageOf(id);
    if (knownOf(tracked) === null || usage === undefined) return request;
    const storage = measures.storageOf(id) ?? 0;
    const used = resourcesOf(usage.workingSetBytes, measures.cpuRateOf(id), storage);
    // What it holds can not be taken from it; time and bandwidth can.
    const floor = resourcesOf(usage.workingSetBytes, 0, storage);
    const activity = activityOf(tracked);
    const demand = (resource: ResourceKind): number =>
      demandOf({
        resource,
        used: used[resource],
        predicted: request[resource],
        request: request[resource],
        floor: floor[resource],
        activity,
      });
    return resourcesOf(demand('memory'), demand('cpu'), demand('storage'), demand('bandwidth'));
  }
}
