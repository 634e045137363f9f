// What the controller consists of, and who is given whom: all parts over one store and one unit. Does nothing but make them
// and let them hear of each other.
// Does not own what is opened, loaded and started in which order (./start.ts).
import type { Clock } from '../base/clock.ts';
import { ownAuthority } from '../base/own-authority.ts';
import { unitKindsOf } from '../model/unit-kind.ts';
import type { Store } from '../store/port.ts';
import type { Layout } from '../sys/layout.ts';
import type { Unit } from '../units/port.ts';
import type { Logger } from '../sys/log.ts';
import { AgentLink } from './agent-link.ts';
import { AsyncQueue } from './async/queue.ts';
import type { AuditLog } from './audit.ts';
import { CodeStore } from './code-store.ts';
import type { ControllerConfig, Tuning } from './config.ts';
import { Controller } from './controller.ts';
import { Accounts } from './credits/accounts.ts';
import { CallTimes } from './demand/call-times.ts';
import { Demands } from './demand/demands.ts';
import { Memories } from './demand/memories.ts';
import { LedgerCheck } from './ledger/ledger-check.ts';
import { Measures } from './measures.ts';
import { Observer } from './observe.ts';
import { Places } from './places.ts';
import { Reclaimer } from './reclaim/reclaimer.ts';
import { RecentUse } from './reclaim/recent-use.ts';
import { ReclaimLoop } from './reclaim/reclaim-loop.ts';
import { Rebalancer } from './rebalance/rebalancer.ts';
import { Strains } from './rebalance/strains.ts';
import { SteadyDemands } from './rebalance/steady-demand.ts';
import { OnDemand } from './reconcile/on-demand.ts';
import { Prewarmer } from './reconcile/prewarmer.ts';
import { Reconciler } from './reconcile/reconciler.ts';
import { ScaleIn } from './reconcile/scale-in.ts';
import { Starter } from './reconcile/starter.ts';
import { Stopper } from './reconcile/stopper.ts';
import { Successors } from './reconcile/successors.ts';
import { QuietMachines } from './rest/quiet-machines.ts';
import { Sleeper } from './rest/sleeper.ts';
import { Resizer } from './resize/resizer.ts';
import { WorkloadSizes } from './resize/workload-sizes.ts';
import { Reservations } from './reservations.ts';
import { Gateways } from './routes/gateways.ts';
import { RoutePublisher } from './routes/publisher.ts';
import { ActualState } from './state/actual.ts';
import type { DesiredState } from './state/desired.ts';
import { Tenants } from './tenants.ts';
import { WarmPool } from './warm-pool.ts';
import { unitAudit } from './unit-events.ts';
import { Workloads } from './workloads.ts';

/** What is opened before there are parts. */
interface Ground {
  readonly config: ControllerConfig;
  readonly layout: Layout;
  readonly clock: Clock;
  readonly tuning: Tuning;
  readonly log: Logger;
  readonly store: Store;
  /** Loaded, as the next. */
  readonly desired: DesiredState;
  readonly audit: AuditLog;
  readonly unit: Unit;
  readonly adminToken: string;
  /** Each time when the unit's agent has been looked at. */
  readonly onSynced: () => void;
}

/** @returns what is to be loaded, kept going and closed; what only other parts know is not among it */
export function wire(ground: Ground) {
  const { config, layout, clock, tuning, log, store, desired, audit, unit, adminToken, onSynced } = ground;
  const places = new Places(unitKindsOf(config));
  const gateways = new Gateways(clock, log, tuning.gatewayArrivalMs);
  const actual = new ActualState();
  const publisher = new RoutePublisher(gateways, desired, actual, places);
  const link = new AgentLink({
    unit,
    desired,
    actual,
    clock,
    log,
    onSynced: () => {
      pool.forget();
      reconciler.kickAll();
      resizer.divider
        .reassert()
        .catch((thrown: unknown) => log.warn({ err: thrown }, 'grants could not be asserted again'));
      onSynced();
    },
    onApplied: (outcome) => resizer.onApplied(outcome),
    onGivenBack: ({ id, why }) => rebalancer.givenBack(id, why),
    onStrained: (strained) => strains.onStrained(strained),
    onUnit: (event) => audit.note(unitAudit(event)),
    onHostPressure: (shortage) => reclaimLoop.onPressure(shortage),
  });
  const measures = new Measures(() => link.agent, clock);
  const memories = new Memories({ store, desired, clock, log });
  const accounts = new Accounts({
    store,
    desired,
    actual,
    grantableBytes: () => resizer.divider.grantableBytes,
    clock,
    log,
  });
  const demands = new Demands({ desired, actual, measures, memories, clock });
  const callTimes = new CallTimes(memories, clock);
  const steadyDemands = new SteadyDemands(demands, desired, clock);
  const stopper = new Stopper({ link, actual, gateways, clock, log, tuning });
  const starter = new Starter({
    link,
    desired,
    actual,
    measures,
    stopper,
    lending: {
      keptBytes: (id) => rebalancer.keptBytes(id),
      roomFor: (id, leastBytes) => resizer.divider.roomFor(id, leastBytes),
    },
    layout,
    places,
    clock,
    log,
    tuning,
    roomWanted: (bytes, why, how) => reclaimLoop.roomWanted(bytes, why, how),
    ownUrl: `http://${ownAuthority(config.host, config.port)}`,
  });
  const resizer = new Resizer({
    link,
    desired,
    actual,
    measures,
    steadyDemands,
    balances: () => accounts.balances,
    audit,
    clock,
    log,
    tuning,
    syncGateways: () => gateways.sync(),
  });
  const rebalancer = new Rebalancer({ divider: resizer.divider, actual, steadyDemands, clock, log });
  const pool = new WarmPool({ link, actual, clock, log, maximum: config.poolMaximum });
  const onDemand = new OnDemand({ desired, actual, starter, clock });
  const successors = new Successors({ desired, actual, onDemand, clock, log });
  const reconciler = new Reconciler({
    link,
    desired,
    actual,
    starter,
    stopper,
    successors,
    audit,
    clock,
    log,
    tuning,
    onPromoted: (workload) => publisher.workload(workload),
  });
  const scaleIn = new ScaleIn({ desired, actual, stopper, callTimes, clock, log, tuning });
  const prewarmer = new Prewarmer({ desired, places, actual, onDemand, callTimes, clock, log, tuning });
  const code = new CodeStore({ store, desired, actual, layout, clock, log });
  const queue = new AsyncQueue({ store, desired, gateways, audit, clock, log, tuning });
  const recent = new RecentUse();
  const machines = new QuietMachines({ actual, quietMs: (id) => demands.quietMs(id), clock });
  measures.onSample((sample) => machines.note(sample));
  const sleeper = new Sleeper({ link, machines, clock, log, tuning });
  const reclaimer = new Reclaimer({
    link,
    actual,
    measures,
    stopper,
    recent,
    audit,
    clock,
    log,
    lenders: () => accounts.lenders,
    idleThresholdMs: tuning.reclaimIdleMs,
    machines,
    restThresholdMs: tuning.hibernateIdleMs,
  });
  const reclaimLoop = new ReclaimLoop({
    link,
    actual,
    measures,
    demandOf: (tracked) => demands.demandOf(tracked),
    reclaimer,
    rebalancer,
    recent,
    audit,
    clock,
    log,
    tuning,
  });
  const strains = new Strains({
    rebalancer,
    actual,
    desired,
    audit,
    clock,
    log,
    growthWaits: (bytes, why) => reclaimLoop.growthWaits(bytes, why),
  });
  const observer = new Observer({
    link,
    desired,
    actual,
    measures,
    demands,
    reclaimer,
    strains,
    tuning,
    places,
  });
  const ledgerCheck = new LedgerCheck({
    link,
    actual,
    audit,
    virtual: !places.has('host'),
    tenantLimits: {
      of: (tenant) => resizer.heldLimits(tenant),
      take: (tenant, resource, held) => resizer.takeHeldLimit(tenant, resource, held),
    },
  });
  measures.onSample((sample) => ledgerCheck.check(sample));
  const sizes = new WorkloadSizes({ desired, actual, reconciler, resizer, publisher, audit, clock });
  const workloads = new Workloads({
    desired,
    places,
    actual,
    link,
    reconciler,
    stopper,
    successors,
    resizer,
    rebalancer,
    sizes,
    publisher,
    code,
    audit,
    clock,
    log,
    network: config.network,
  });
  const tenants = new Tenants({
    desired,
    link,
    resizer,
    rebalancer,
    publisher,
    workloads,
    audit,
    clock,
    log,
    credentialsPath: layout.credentials,
    adminToken,
  });
  const controlPlane = new Controller({
    desired,
    places,
    accounts,
    tenants,
    workloads,
    reservations: new Reservations({ desired, workloads }),
    sizes,
    code,
    observer,
    reclaimer,
    queue,
    reconciler,
    gateways,
    link,
    audit,
    startedAtMs: clock.nowMs(),
  });
  return {
    controlPlane,
    gateways,
    publisher,
    link,
    measures,
    memories,
    accounts,
    demands,
    callTimes,
    stopper,
    resizer,
    rebalancer,
    pool,
    reconciler,
    onDemand,
    scaleIn,
    prewarmer,
    code,
    queue,
    reclaimLoop,
    machines,
    sleeper,
    tenants,
  };
}
