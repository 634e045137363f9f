// Puts the controller together and starts it: store, unit, reconciling, the gateways' socket. Owns the order of
// starting and stopping. HTTP is src/api's: it is given the control plane.
import { mkdir } from 'node:fs/promises';
import { systemClock, type Clock } from '../base/clock.ts';
import { BellowsError } from '../base/errors.ts';
import { defaultTenantId } from '../base/ids.ts';
import { openSqliteStore } from '../store/sqlite/sqlite-store.ts';
import type { Store } from '../store/port.ts';
import { layoutOf, type Layout } from '../sys/layout.ts';
import type { Logger } from '../sys/log.ts';
import { HostDriver } from '../units/host/host-driver.ts';
import type { UnitDriver } from '../units/port.ts';
import { AgentLink } from './agent-link.ts';
import { AsyncQueue } from './async/queue.ts';
import { AuditLog } from './audit.ts';
import { CodeStore } from './code-store.ts';
import { tuningOf, type ControllerConfig, type Tuning } from './config.ts';
import type { ControlPlane } from './control-plane.ts';
import { Controller } from './controller.ts';
import { newAdminToken, readAdminToken } from './credentials.ts';
import { Accounts } from './credits/accounts.ts';
import { CallTimes } from './demand/call-times.ts';
import { Demands } from './demand/demands.ts';
import { Memories } from './demand/memories.ts';
import { findUnit } from './find-unit.ts';
import { LedgerCheck } from './ledger/ledger-check.ts';
import { Measures } from './measures.ts';
import { Observer } from './observe.ts';
import { Reclaimer } from './reclaim/reclaimer.ts';
import { RecentUse } from './reclaim/recent-use.ts';
import { ReclaimLoop } from './reclaim/reclaim-loop.ts';
import { Rebalancer } from './rebalance/rebalancer.ts';
import { SteadyDemands } from './rebalance/steady-demand.ts';
import { OnDemand } from './reconcile/on-demand.ts';
import { Prewarmer } from './reconcile/prewarmer.ts';
import { Reconciler } from './reconcile/reconciler.ts';
import { ScaleIn } from './reconcile/scale-in.ts';
import { Starter } from './reconcile/starter.ts';
import { Stopper } from './reconcile/stopper.ts';
import { Resizer } from './resize/resizer.ts';
import { WorkloadSizes } from './resize/workload-sizes.ts';
import { Reservations } from './reservations.ts';
import { Gateways } from './routes/gateways.ts';
import { RoutePublisher } from './routes/publisher.ts';
import { GatewayServer } from './routes/server.ts';
import { ActualState } from './state/actual.ts';
import { DesiredState } from './state/desired.ts';
import { Tenants } from './tenants.ts';
import { WarmPool } from './warm-pool.ts';
import { unitAudit } from './unit-events.ts';
import { Workloads } from './workloads.ts';

/** What a test passes instead of the real thing. */
export interface ControllerOverrides {
  readonly store?: Store;
  readonly driver?: UnitDriver;
  readonly clock?: Clock;
  readonly tuning?: Partial<Tuning>;
}

export interface StartedController {
  readonly controlPlane: ControlPlane;
  /** What `Authorization: Bearer` must hold for /v1. */
  readonly adminToken: string;
  readonly layout: Layout;
  /** Orderly: instances stay, and are adopted by the next controller. */
  close(): Promise<void>;
}

/** Resolves when it serves gateways. @throws BellowsError when the store can not be opened */
export async function startController(
  config: ControllerConfig,
  log: Logger,
  overrides: ControllerOverrides = {},
): Promise<StartedController> {
  const layout = layoutOf(config.dataDirectory);
  const clock = overrides.clock ?? systemClock;
  const tuning = tuningOf(config, overrides.tuning);
  await mkdir(layout.run, { recursive: true, mode: 0o700 });
  const store =
    overrides.store ??
    (await openSqliteStore({ databasePath: layout.database, blobDirectory: layout.blobs }));
  const desired = new DesiredState(store);
  await desired.load();
  const audit = new AuditLog(store, clock, log);
  await audit.load();
  const adminToken = (await readAdminToken(layout.credentials)) ?? newAdminToken();

  const actual = new ActualState();
  const driver =
    overrides.driver ??
    new HostDriver({
      agentSocket: layout.agentSocket,
      onDefect: (err, context) => log.error({ err, context }, 'the agent link went wrong'),
    });
  const unit = await findUnit(store, driver, log);
  const gateways = new Gateways(clock, log, tuning.gatewayArrivalMs);
  const publisher = new RoutePublisher(gateways, desired, actual);
  const synced = Promise.withResolvers<void>();
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
      synced.resolve();
    },
    onApplied: (outcome) => resizer.onApplied(outcome),
    onGivenBack: ({ id, why }) => rebalancer.givenBack(id, why),
    onUnit: (event) => audit.note(unitAudit(event)),
    onHostPressure: (shortage) => reclaimLoop.onPressure(shortage),
  });
  const measures = new Measures(() => link.agent, clock);
  const memories = new Memories({ store, desired, clock, log });
  await memories.load();
  const accounts = new Accounts({
    store,
    desired,
    actual,
    grantableBytes: () => resizer.divider.grantableBytes,
    clock,
    log,
  });
  await accounts.load();
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
    clock,
    log,
    tuning,
    roomWanted: (bytes, why, how) => reclaimLoop.roomWanted(bytes, why, how),
    ownUrl: ownUrl(config),
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
  const reconciler = new Reconciler({
    link,
    desired,
    actual,
    starter,
    stopper,
    audit,
    clock,
    log,
    tuning,
    onPromoted: (workload) => publisher.workload(workload),
  });
  const onDemand = new OnDemand({ desired, actual, starter, clock });
  const scaleIn = new ScaleIn({ desired, actual, stopper, callTimes, clock, log, tuning });
  const prewarmer = new Prewarmer({ desired, actual, onDemand, callTimes, clock, log, tuning });
  const code = new CodeStore({ store, desired, actual, layout, clock, log });
  const queue = new AsyncQueue({ store, desired, gateways, audit, clock, log, tuning });
  const recent = new RecentUse();
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
  const observer = new Observer({
    link,
    desired,
    actual,
    measures,
    demands,
    reclaimer,
    tuning,
    virtual: config.units !== undefined,
  });
  const ledgerCheck = new LedgerCheck({
    link,
    actual,
    audit,
    virtual: config.units !== undefined,
    tenantLimits: {
      of: (tenant) => resizer.heldLimits(tenant),
      take: (tenant, resource, held) => resizer.takeHeldLimit(tenant, resource, held),
    },
  });
  measures.onSample((sample) => ledgerCheck.check(sample));
  const sizes = new WorkloadSizes({ desired, actual, reconciler, resizer, publisher, audit, clock });
  const workloads = new Workloads({
    desired,
    actual,
    link,
    reconciler,
    stopper,
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

  if (desired.tenant(defaultTenantId) === undefined) await tenants.put(defaultTenantId, {});
  else await tenants.writeFile();
  void link.requestSync();
  await synced.promise;
  await code.sweep();
  await queue.load();
  const server = await GatewayServer.listen({
    socketPath: layout.controllerSocket,
    gateways,
    publisher,
    log,
    acquire: (need) => onDemand.acquire(need),
    onSpare: (workload, waiting) => onDemand.spare(workload, waiting),
    discard: (id, reason) => stopper.stop(id, reason, 0),
    enqueue: async ({ workload, requestId, event, clientContext }) => {
      const found = desired.workload(workload);
      if (found?.kind !== 'function') throw new BellowsError('NotFound', `There is no function ${workload}.`);
      await queue.enqueue(found, requestId, event, clientContext);
    },
    onGateway: () => {
      scaleIn.onGateway();
      callTimes.onGateway();
      queue.dispatch();
    },
    onTraffic: (traffic) => {
      scaleIn.onTraffic(traffic);
      callTimes.onTraffic(traffic);
      demands.onTraffic(traffic);
    },
    onIdle: (id, sinceMs) => scaleIn.onIdle(id, sinceMs),
  });
  queue.dispatch();

  const tick = setInterval(() => {
    memories.tick();
    if (link.connected) accounts.tick();
    scaleIn.tick();
    reconciler.tick();
    if (!link.connected) return;
    prewarmer.tick();
    measures
      .sample(tuning.tickMs)
      .then((sample) => {
        demands.onSample(sample);
        rebalancer.tick();
        reclaimLoop.tick(sample);
        return pool.adjust(sample.host.memoryAvailableBytes);
      })
      .catch((thrown: unknown) => log.warn({ err: thrown }, 'the agent could not be measured'));
  }, tuning.tickMs);

  return {
    controlPlane: new Controller({
      desired,
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
    }),
    adminToken,
    layout,
    close: async () => {
      clearInterval(tick);
      queue.close();
      rebalancer.close();
      reclaimLoop.close();
      resizer.close();
      link.close();
      await reconciler.close();
      await server.close();
      await memories.close();
      await accounts.close();
      await unit.close();
      await audit.flush();
      await store.close();
    },
  };
}

/** Instances reach Bellows over the machine's loopback device, unless it listens on one address only. */
function ownUrl({ host, port }: ControllerConfig): string {
  const wildcard = host === '0.0.0.0' || host === '::' || host === 'localhost';
  const address = wildcard ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
  return `http://${address}:${port}`;
}
