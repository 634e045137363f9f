// What every instance demands: what it would use now and soon. Owns gathering what the allocator's rule needs
// (src/allocator/demand): what is measured, what its workload is expected to need, and whether it works.
// Does not own grants: what follows from demand is the planner's matter.
import { demandOf } from '../../allocator/demand/demand.ts';
import type { Clock } from '../../base/clock.ts';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import { resourceKinds, type ResourceKind, type Resources } from '../../model/resources.ts';
import type { Measures, Sample } from '../measures.ts';
import { requestOf } from '../resize/plan-input.ts';
import type { Traffic } from '../routes/traffic.ts';
import { knownOf, seenOf, standsStill, type ActualState, type Tracked } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import { resourcesOf } from '../views.ts';
import { activityOf } from './activity.ts';
import type { Memories } from './memories.ts';
import { UsageMeter } from './usage-meter.ts';

export interface DemandsParts {
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly measures: Measures;
  readonly memories: Memories;
  readonly clock: Clock;
}

export class Demands {
  readonly #parts: DemandsParts;
  readonly #meter = new UsageMeter();

  constructor(parts: DemandsParts) {
    this.#parts = parts;
  }

  /** For how long it hardly ran, and nothing went through it. */
  quietMs(id: InstanceId): number {
    return this.#meter.quietMs(id);
  }

  /**
   * What it would use now and soon, in base units; never more than its request. Of one that has yet to serve it is what
   * its workload is expected to need, which is the request while that is not known.
   */
  demandOf(tracked: Tracked): Resources {
    const { desired, measures, memories, clock } = this.#parts;
    const { id, workload } = tracked.spec;
    const request = requestOf(desired.record(workload), tracked);
    const prediction = memories.find(workload)?.prediction;
    const nowMs = clock.nowMs();
    const predicted = (resource: ResourceKind): number =>
      prediction?.predict(resource, request[resource], nowMs) ?? request[resource];
    const usage = measures.usageOf(id);
    if (knownOf(tracked) === null || usage === undefined) return forEach(predicted);
    const rates = this.#meter.of(id)?.used;
    const used = resourcesOf(
      usage.workingSetBytes,
      rates?.cpu ?? 0,
      measures.storageOf(id) ?? 0,
      rates?.bandwidth ?? 0,
    );
    // What it holds can not be taken from it; time and bandwidth can.
    const floor = resourcesOf(used.memory, 0, used.storage);
    const activity = activityOf(tracked, this.#meter.quietMs(id));
    return forEach((resource) =>
      demandOf({
        resource,
        used: used[resource],
        predicted: predicted(resource),
        request: request[resource],
        floor: floor[resource],
        activity,
      }),
    );
  }

  /** Learns from what the kernel says. */
  onSample(sample: Sample): void {
    const { actual, memories, clock } = this.#parts;
    const nowMs = clock.nowMs();
    for (const [id, { used }] of this.#meter.measured(sample)) {
      const tracked = actual.get(id);
      // What stands still says nothing new, and is not worth a write a minute.
      const seen = tracked === undefined ? undefined : seenOf(tracked);
      if (tracked === undefined || (seen !== undefined && standsStill(seen))) continue;
      const prediction = memories.change(tracked.spec.workload)?.prediction;
      if (prediction === undefined) continue;
      for (const resource of resourceKinds) prediction.observe(resource, used[resource], nowMs);
    }
  }

  /** Gateways know bytes by workload: they count for its instances that work, each with as much. */
  onTraffic(traffic: Traffic): void {
    const working = this.#working();
    for (const { workload, bytesIn, bytesOut } of traffic) {
      const instances = working.get(workload) ?? [];
      const bytes = Math.max(bytesIn, bytesOut) / Math.max(1, instances.length);
      if (bytes > 0) for (const { spec } of instances) this.#meter.carried(spec.id, bytes);
    }
  }

  #working(): Map<WorkloadKey, Tracked[]> {
    const byWorkload = new Map<WorkloadKey, Tracked[]>();
    for (const tracked of this.#parts.actual.all()) {
      if (knownOf(tracked) === null || (tracked.spec.kind === 'function' && tracked.idle)) continue;
      const { workload } = tracked.spec;
      const known = byWorkload.get(workload);
      if (known === undefined) byWorkload.set(workload, [tracked]);
      else known.push(tracked);
    }
    return byWorkload;
  }
}

function forEach(amountOf: (resource: ResourceKind) => number): Resources {
  return resourcesOf(amountOf('memory'), amountOf('cpu'), amountOf('storage'), amountOf('bandwidth'));
}
