// Starts the controller: store, unit, reconciling, the gateways' socket. Owns the order of starting and stopping, what is done
// at each tick, and who hears what gateways say. What it consists of is ./wiring.ts. HTTP is src/api's: it is given the control plane.
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
import { AuditLog } from './audit.ts';
import { tuningOf, type ControllerConfig, type Tuning } from './config.ts';
import type { ControlPlane } from './control-plane.ts';
import { newAdminToken, readAdminToken, unlessDiskIsFull } from './credentials.ts';
import { findUnit } from './find-unit.ts';
import { GatewayServer } from './routes/server.ts';
import { DesiredState } from './state/desired.ts';
import { wire } from './wiring.ts';

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

  const driver =
    overrides.driver ??
    new HostDriver({
      agentSocket: layout.agentSocket,
      onDefect: (err, context) => log.error({ err, context }, 'the agent link went wrong'),
    });
  const unit = await findUnit(store, driver, log);
  const synced = Promise.withResolvers<void>();
  const parts = wire({
    config,
    layout,
    clock,
    tuning,
    log,
    store,
    desired,
    audit,
    unit,
    adminToken,
    onSynced: () => synced.resolve(),
  });
  const {
    link,
    gateways,
    publisher,
    memories,
    accounts,
    measures,
    demands,
    callTimes,
    queue,
    code,
    tenants,
  } = parts;
  const {
    onDemand,
    scaleIn,
    prewarmer,
    stopper,
    reconciler,
    resizer,
    rebalancer,
    reclaimLoop,
    machines,
    sleeper,
    pool,
  } = parts;
  await memories.load();
  await accounts.load();

  if (desired.tenant(defaultTenantId) === undefined) await tenants.put(defaultTenantId, {});
  else await unlessDiskIsFull(() => tenants.writeFile(), log);
  void link.requestSync();
  await synced.promise;
  await code.sweep();
  await queue.load();
  const server = await GatewayServer.listen({
    socketPath: layout.controllerSocket,
    gateways,
    publisher,
    clock,
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
      machines.onTraffic(traffic);
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
        sleeper.tick();
        return pool.adjust(sample.host.memoryAvailableBytes);
      })
      .catch((thrown: unknown) => log.warn({ err: thrown }, 'the agent could not be measured'));
  }, tuning.tickMs);

  return {
    controlPlane: parts.controlPlane,
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
