// The gateway as a whole: puts its parts together, keeps its clocks going, starts and stops it in order.
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock, type Clock } from '../base/clock.ts';
import { toErrorRecord } from '../base/errors.ts';
import { within } from '../base/within.ts';
import { ownAuthority } from '../base/own-authority.ts';
import type { InstanceId, TenantId, WorkloadKey } from '../base/ids.ts';
import type { GatewayProtocol, TenantRoute } from '../protocol/routes.ts';
import type { ResultOf } from '../protocol/rpc.ts';
import { SignatureVerifier } from '../protocol/sigv4.ts';
import { layoutOf } from '../sys/layout.ts';
import type { Logger } from '../sys/log.ts';
import { Apps } from './apps/apps.ts';
import { Together } from './beside/together.ts';
import { Lines } from './bandwidth/lines.ts';
import {
  besideTiming,
  bodyLimits,
  defaultAgentPatience,
  defaultInvokeTuning,
  virtualAgentPatience,
  virtualInvokeTuning,
  stopGraceMs,
  type GatewayConfig,
  type InvokeTuning,
} from './config.ts';
import { ControllerProxy } from './controller-proxy.ts';
import { BodyReader } from './body.ts';
import { Dispatcher } from './dispatch.ts';
import { Front, type FrontPorts } from './front.ts';
import { Held } from './held/held.ts';
import { invokeEvent } from './invoke/event-invoke.ts';
import { Functions } from './invoke/functions.ts';
import { bodyMemoryBytes } from './limits/body-memory.ts';
import { RequestRates } from './limits/request-rate.ts';
import { Connections } from './limits/tenant-connections.ts';
import { AgentLink } from './links/agent-link.ts';
import { ControllerLink } from './links/controller-link.ts';
import { InstanceLink } from './links/instance-link.ts';
import { TrustedProxies } from './hop.ts';
import { Meter, type Gauges } from './meter.ts';
import { PortsDoor, type ListeningPort } from './ports-door.ts';
import { RouteTable } from './table.ts';

/** The controller scales and bills by these; the protocol says "every second". */
const reportMs = 1_000;

export class Gateway {
  readonly #log: Logger;
  readonly #table = new RouteTable();
  readonly #meter = new Meter();
  readonly #connections = new Connections(
    () => this.#together.counted(),
    () => this.#together.hear(),
  );
  readonly #rates = new RequestRates(
    () => performance.now(),
    () => this.#together.counted(),
  );
  readonly #functions: Functions;
  readonly #apps: Apps;
  readonly #held: Held;
  readonly #bodies: BodyReader;
  readonly #controller: ControllerLink;
  readonly #agent: AgentLink;
  readonly #proxy: ControllerProxy;
  readonly #front: Front;
  readonly #together: Together;
  readonly #portsDoor: PortsDoor;
  readonly #portsPath: string;
  readonly #tuning: InvokeTuning;
  readonly #whenReady: boolean;
  readonly #leavingMs: number | undefined;
  readonly #timers: NodeJS.Timeout[] = [];
  #accepts = false;
  #leaving: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #port: number;

  /** @param clock for held connections, which last as long as they are let */
  constructor(
    config: GatewayConfig,
    log: Logger,
    tuning: InvokeTuning = tuningFor(config),
    clock: Clock = systemClock,
  ) {
    this.#port = config.port;
    this.#log = log;
    this.#tuning = tuning;
    this.#whenReady = config.whenReady === true;
    this.#leavingMs = config.leavingMs;
    const layout = layoutOf(config.dataDirectory);
    const discard = (id: InstanceId, reason: string): void => this.#controller.discard(id, reason);
    const lines = new Lines(() => performance.now());
    const bodyFloor = config.bodyFloor ?? bodyLimits.floor;
    this.#bodies = new BodyReader(bodyMemoryBytes(), bodyFloor, () => performance.now());
    this.#apps = new Apps(
      discard,
      (id, counts) =>
        this.#agent.tunnels(id, counts, this.#leaving === undefined ? this.#together.pids : null),
      lines,
      this.#connections,
      tuning.appWaitMs,
    );
    const place = config.place ?? { index: 0, of: 1 };
    this.#portsPath = layout.gatewayPortsSocket(process.pid);
    // Once it leaves they are closed here.
    this.#portsDoor = new PortsDoor(() =>
      this.#leaving === undefined && this.#stopping === undefined ? inheritedPorts(config) : [],
    );
    this.#together = new Together({
      layout,
      place,
      others: config.beside ?? [],
      log,
      connections: this.#connections,
      rates: this.#rates,
      lines,
      functions: () => this.#functions,
      // Each message of a held connection may be an invocation.
      asking: () => this.#front.asking + this.#held.size,
      manage: (params) => this.#held.manage(params),
      moves: () => this.#held.moves,
      onGone: () => this.#apps.tellTunnels(),
    });
    this.#functions = new Functions(
      {
        clock: systemClock,
        openLink: (id, endpoint, handlers) => new InstanceLink(id, endpoint, handlers),
        acquire: (workload, generation, waiting) => this.#controller.acquire(workload, generation, waiting),
        spare: (workload, waiting) => this.#controller.reportSpare(workload, waiting),
        discard,
        freeze: (id) => this.#agent.freeze(id),
        thaw: (id) => this.#agent.thaw(id),
        logBroken: (id, invocation) => this.#agent.logBroken(id, invocation),
        idle: (id, sinceMs) => this.#controller.reportIdle(id, sinceMs),
        lending: (workload) => this.#together.lendingOf(workload),
        counted: () => this.#together.counted(),
        hearOthers: () => this.#together.hear(),
      },
      tuning,
    );
    this.#held = new Held({
      clock,
      functions: this.#functions,
      meter: this.#meter,
      lines,
      rates: this.#rates,
      connections: this.#connections,
      layout,
      log,
      place,
      others: (config.beside ?? []).map(({ pid }) => pid),
      authority: () => ownAuthority(config.host, this.#port),
    });
    this.#agent = new AgentLink(
      layout.agentSocket,
      log,
      config.units === undefined ? defaultAgentPatience : virtualAgentPatience,
      () => this.#apps.tellTunnels(),
    );
    this.#controller = new ControllerLink({
      socketPath: layout.controllerSocket,
      table: this.#table,
      acquireTimeoutMs: tuning.acquireTimeoutMs,
      log,
      name: () => ({ place: place.index, beside: this.#together.pids }),
      onChange: (change) => {
        lines.onChange(change);
        this.#connections.onChange(change);
        this.#rates.onChange(change);
        this.#bodies.memory.onChange(change);
        // Before the functions: whoever is told that one is gone is to hand nothing to it.
        this.#held.onChange(change);
        this.#functions.onChange(change);
        this.#apps.onChange(change);
      },
      handlers: {
        // Changes are applied as they arrive, and the link keeps the order.
        sync: async () => ({}),
        usage: async () => this.#usage(),
        look: async () => this.#look(),
        retire: async ({ ids, deadlineMs }) => {
          await this.#retire(ids, deadlineMs);
          return {};
        },
        invoke: (params) => invokeEvent(this.#functions.pool(params.workload), this.#meter, params),
        drain: async ({ deadlineMs }) => {
          await this.stop(deadlineMs - Date.now());
          return {};
        },
      },
    });
    this.#proxy = new ControllerProxy(layout.controllerHttpSocket);
    const onDefect = (error: unknown): void => log.error({ err: error }, 'defect');
    const proxies = new TrustedProxies(config.trustedProxies ?? []);
    const dispatcher = new Dispatcher({
      proxies,
      bodies: this.#bodies,
      table: this.#table,
      functions: this.#functions,
      apps: this.#apps,
      connections: this.#connections,
      rates: this.#rates,
      controller: this.#proxy,
      meter: this.#meter,
      lines,
      log,
      held: this.#held,
      verifier: this.#verifierOf('lambda'),
      managementVerifier: this.#verifierOf('execute-api'),
      manageElsewhere: (params) => this.#together.manage(params),
      enqueue: (workload, requestId, event, clientContext) =>
        this.#controller.enqueue(workload, requestId, event, clientContext),
      onDefect,
      health: () => ({
        status: this.#controller.hasTable ? 'ok' : 'starting',
        controller: this.#controller.connected ? 'connected' : 'away',
        agent: this.#agent.connected ? 'connected' : 'away',
        ...(place.of === 1 ? {} : { gateway: `${place.index + 1} of ${place.of}` }),
      }),
    });
    const knowsTenant = (tenant: string): boolean => this.#table.tenant(tenant as TenantId) !== undefined;
    this.#front = new Front(config, dispatcher, proxies, knowsTenant, log);
  }

  /** Resolves with the ports it listens on. @throws BellowsError when another serves until then, and this one could not do all that it does */
  async start(): Promise<FrontPorts> {
    await this.#together.listen();
    await this.#held.moves.listen();
    await this.#portsDoor.listen(this.#portsPath);
    if (this.#whenReady) {
      await this.#front.check();
      await this.#untilReady();
    }
    this.#timers.push(
      setInterval(() => this.#sweep(), this.#tuning.sweepMs),
      setInterval(() => this.#report(), reportMs),
    );
    const ports = await this.#front.start();
    this.#port = ports.port;
    this.#accepts = true;
    return ports;
  }

  /**
   * Another gateway serves from now on: takes no new connections, and finishes what is carried here. Resolves when that has
   * ended, or the time that the operator gave is up.
   */
  leave(): Promise<void> {
    this.#leaving ??= this.#leave();
    return this.#leaving;
  }

  async #leave(): Promise<void> {
    const leavingMs = this.#leavingMs;
    this.#log.info({ leavingMs }, 'leaving: another gateway serves');
    this.#together.leave();
    this.#functions.leave();
    const closed = Promise.all([this.#front.leave(), this.#held.leave()]);
    await (leavingMs === undefined ? closed : within(leavingMs, closed));
    // What nobody waits for over a connection: events that were accepted before, whose caller has its answer.
    const untilMs = performance.now() + stopGraceMs;
    while (!this.#functions.quiet && performance.now() < untilMs) await sleep(besideTiming.tellEveryMs);
    await this.stop(stopGraceMs);
  }

  /** The routes are there, whoever runs has been heard, and so have the gateways before, as far as they answer in time. */
  async #untilReady(): Promise<void> {
    let patienceEndsMs = Infinity;
    for (;;) {
      if (!this.#controller.connected || !this.#agent.connected) patienceEndsMs = Infinity;
      else if (patienceEndsMs === Infinity) patienceEndsMs = performance.now() + besideTiming.patienceMs;
      const heard = this.#functions.unheard + this.#together.unheard === 0;
      const nowMs = performance.now();
      if (patienceEndsMs !== Infinity && (heard || nowMs >= patienceEndsMs)) return;
      await sleep(besideTiming.lookEveryMs);
    }
  }

  #sweep(): void {
    this.#held.sweep();
    this.#bodies.sweep();
    // Who idles, and who is frozen for it, is the next one's to say.
    if (this.#leaving === undefined) this.#functions.sweep(!this.#together.othersMayInvoke);
  }

  /** Takes nothing new, lets what runs end within `graceMs`, closes everything. */
  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#stop(graceMs);
    return this.#stopping;
  }

  async #stop(graceMs: number): Promise<void> {
    this.#log.info({ graceMs }, 'stopping');
    const closed = Promise.all([this.#front.stopAccepting(), this.#held.stop()]);
    await within(graceMs, closed);
    this.#front.closeAll();
    this.#held.terminateAll();
    for (const timer of this.#timers) clearInterval(timer);
    this.#report();
    // What was not ended is not a death of its instances: they go on, and the next gateway finds them.
    this.#agent.close();
    this.#together.close();
    this.#portsDoor.close();
    this.#proxy.close();
    // An answer to `drain` still has to go out over this link.
    setImmediate(() => this.#controller.close());
  }

  #verifierOf(service: string): SignatureVerifier<TenantRoute> {
    return new SignatureVerifier<TenantRoute>({
      credentialOf: (accessKeyId) => this.#table.tenantByAccessKey(accessKeyId),
      nowMs: () => Date.now(),
      service,
    });
  }

  async #retire(ids: readonly InstanceId[], deadlineMs: number): Promise<void> {
    const done = ids.flatMap((id) => [this.#functions.retire(id), this.#apps.retire(id)]);
    await within(deadlineMs - Date.now(), Promise.all(done));
  }

  #look(): ResultOf<GatewayProtocol['methods']['look']> {
    const leaves = this.#leaving !== undefined || this.#stopping !== undefined;
    return {
      state: leaves ? 'leaving' : this.#accepts ? 'serving' : 'starting',
      connections: this.#front.asking + this.#held.size + this.#apps.tunnels,
    };
  }

  #usage(): ResultOf<GatewayProtocol['methods']['usage']> {
    return this.#table.tenantIds().map((tenant) => ({
      tenant,
      connections: this.#connections.of(tenant).open,
      concurrency: this.#functions.activeOf(tenant),
      requests: this.#rates.of(tenant).perSecond,
    }));
  }

  #report(): void {
    this.#rates.countSecond();
    try {
      const gauges = new Map<WorkloadKey, Gauges>();
      // What is in use is the next one's to say: it has both gateways' word.
      if (this.#leaving === undefined) {
        this.#functions.addGauges(gauges);
        this.#apps.addGauges(gauges);
        this.#held.addGauges(gauges);
      }
      const lines = this.#meter.take(gauges);
      if (lines.length > 0) this.#controller.reportTraffic(lines);
    } catch (thrown) {
      this.#log.error({ err: thrown, ...toErrorRecord(thrown) }, 'traffic report');
    }
  }
}

/** Those that were made by whoever has started this. */
function inheritedPorts({ port, listenDescriptor, tls }: GatewayConfig): ListeningPort[] {
  return [
    { port, fd: listenDescriptor },
    ...(tls === undefined ? [] : [{ port: tls.port, fd: tls.listenDescriptor }]),
  ].flatMap((each) => (each.fd === undefined ? [] : [{ port: each.port, fd: each.fd }]));
}

function tuningFor({ units }: GatewayConfig): InvokeTuning {
  return units === undefined ? defaultInvokeTuning : virtualInvokeTuning;
}
