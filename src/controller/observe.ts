// What is shown of instances, units and the ledger, from one measurement. Owns gathering; the arithmetic is ./views.ts and
// ./ledger, where the ledger is compared with the kernel, too. While the agent is away the last figures stand.
import type { InstanceId, UnitId } from '../base/ids.ts';
import type { Bytes } from '../base/quantity.ts';
import type { AgentLink } from './agent-link.ts';
import type { Tuning } from './config.ts';
import type { InstanceView, LedgerLine, UnitView } from './control-plane.ts';
import type { Demands } from './demand/demands.ts';
import { ledgerOf } from './ledger/ledger.ts';
import type { Measures } from './measures.ts';
import { memoryRoom } from './memory-room.ts';
import type { Places } from './places.ts';
import type { Strains } from './rebalance/strains.ts';
import type { Reclaimer } from './reclaim/reclaimer.ts';
import { knownOf, type ActualState } from './state/actual.ts';
import type { DesiredState } from './state/desired.ts';
import { unitViews } from './unit-views.ts';
import { instanceView } from './views.ts';

export interface ObserverParts {
  readonly link: AgentLink;
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly measures: Measures;
  readonly demands: Demands;
  readonly reclaimer: Reclaimer;
  readonly strains: Pick<Strains, 'of'>;
  readonly tuning: Tuning;
  readonly places: Places;
}

export class Observer {
  readonly #parts: ObserverParts;

  constructor(parts: ObserverParts) {
    this.#parts = parts;
  }

  async instances(): Promise<InstanceView[]> {
    const { actual, measures, demands, reclaimer, strains } = this.#parts;
    await this.#sample();
    const figures = {
      usage: measures.usageOf.bind(measures),
      cpuRate: measures.cpuRateOf.bind(measures),
      storageBytes: (id: InstanceId) => measures.storageOf(id) ?? 0,
      demand: demands.demandOf.bind(demands),
      claimedBytes: reclaimer.claimedBytes.bind(reclaimer),
      strain: strains.of.bind(strains),
      unitPid: (id: UnitId) => measures.last?.units.find((unit) => unit.id === id)?.pid ?? null,
    };
    return actual.all().flatMap((tracked) => instanceView(tracked, figures) ?? []);
  }

  async units(): Promise<UnitView[]> {
    return this.#units(await this.instances());
  }

  async ledger(): Promise<LedgerLine[]> {
    const { link, desired, tuning } = this.#parts;
    const instances = await this.instances();
    const unit = link.hello?.capacity ?? link.unit.provisioned;
    const { capacityBytes } = memoryRoom(unit.memory, tuning);
    const capacity = { ...unit, memory: capacityBytes as Bytes };
    return ledgerOf(capacity, this.#units(instances), desired.tenants(), instances);
  }

  /** From the sample that `instances` has just taken, where the agent answered. */
  #units(instances: readonly InstanceView[]): UnitView[] {
    const { link, measures, places } = this.#parts;
    const { connected, hello, unit } = link;
    return unitViews({
      virtual: measures.last?.units ?? [],
      isUnit: places.has('host'),
      agent: { connected, hello, unit },
      poolReady: measures.last?.pool.ready ?? 0,
      instances,
    });
  }

  async #sample(): Promise<void> {
    const { actual, measures } = this.#parts;
    await measures.sample().catch(() => undefined);
    // One that came since the sample was taken would be shown as using nothing.
    const isMissing = actual
      .all()
      .some((tracked) => knownOf(tracked) !== null && measures.usageOf(tracked.spec.id) === undefined);
    if (isMissing) await measures.sample(0).catch(() => undefined);
  }
}
