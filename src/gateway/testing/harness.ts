// A gateway with everything around it that it talks to: a scripted controller and agent on their sockets, and real
// runtimes as instances. For tests and the benchmark. Owns all of it and its clean-up; asserts nothing.
import { createServer as createHttpServer, type RequestListener, type Server as HttpServer } from 'node:http';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, type Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId, TenantId, WorkloadKey, WorkloadName } from '../../base/ids.ts';
import { defaultRequest } from '../../model/workload.ts';
import { agentProtocol, type AgentProtocol, type Endpoint } from '../../protocol/agent.ts';
import {
  controllerProtocol,
  gatewayProtocol,
  type InstanceRoute,
  type RouteChange,
  type TenantRoute,
  type WorkloadRoute,
} from '../../protocol/routes.ts';
import type { Handlers, Params, ResultOf } from '../../protocol/rpc.ts';
import { RpcPeer } from '../../protocol/rpc-link.ts';
import { plan } from '../../runtime/node/testing/plan.ts';
import { TestInstance } from '../../runtime/testing/instance-client.ts';
import { layoutOf, type Layout } from '../../sys/layout.ts';
import { createLogger } from '../../sys/log.ts';
import { defaultInvokeTuning, type GatewayConfig, type InvokeTuning } from '../config.ts';
import { Gateway } from '../gateway.ts';
import type { TrafficLine } from '../meter.ts';

type GatewayMethods = (typeof gatewayProtocol)['methods'];
type ControllerPeer = RpcPeer<typeof controllerProtocol, typeof gatewayProtocol>;

export const testTenant: TenantRoute = {
  id: 'acme' as TenantId,
  accountId: '123456789012',
  accessKeyId: 'AKIATEST',
  secretAccessKey: 'secret',
  connectionLimit: null,
  bandwidthLimit: null,
  concurrencyLimit: null,
  requestLimit: null,
};

export function workloadOf(name: string, more: Partial<WorkloadRoute> = {}): WorkloadRoute {
  return {
    key: `acme/${name}` as WorkloadKey,
    tenant: testTenant.id,
    name: name as WorkloadName,
    kind: 'function',
    generation: 'g1',
    timeoutMs: 3000,
    memoryBytes: 128 * 1024 * 1024,
    url: true,
    websocket: null,
    reservedConcurrency: null,
    ...more,
  };
}

export class Harness {
  readonly root = mkdtempSync(join(tmpdir(), 'bellows-gw-'));
  readonly layout: Layout = layoutOf(this.root);
  readonly instances = new Map<string, TestInstance>();
  readonly discarded: { id: string; reason: string }[] = [];
  readonly enqueued: { workload: string; event: string; clientContext: string }[] = [];
  readonly traffic: TrafficLine[] = [];
  /** What the agent was asked, in order: `freeze ID`, `thaw ID`. */
  readonly agentCalls: string[] = [];
  /** What `acquire` does; refuses unless a test says otherwise. */
  onAcquire: (workload: string) => Promise<string> = () =>
    Promise.reject(new BellowsError('NoRoom', 'No room.'));
  /** Of held connections. */
  clock: Clock = systemClock;
  gateway!: Gateway;
  port = 0;
  /** Where `config` asks for TLS. */
  tlsPort = 0;
  /** What the gateway's configuration has besides; to be set before the start. */
  config: Pick<GatewayConfig, 'tls' | 'trustedProxies' | 'bodyFloor'> = {};
  readonly #tenants: TenantRoute[] = [testTenant];
  readonly #workloads = new Map<string, WorkloadRoute>();
  readonly #routes = new Map<string, InstanceRoute>();
  #controller: Server | undefined;
  #agent: Server | undefined;
  #controllerHttp: HttpServer | undefined;
  #peers = new Set<ControllerPeer>();
  #lastInstance = 0;

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(tuning: Partial<InvokeTuning> = {}, http?: RequestListener): Promise<this> {
    mkdirSync(this.layout.run, { recursive: true });
    await this.startController();
    this.#agent = createServer((socket) => {
      new RpcPeer<AgentProtocol, { methods: Record<string, never>; events: Record<string, never> }>(socket, {
        local: agentProtocol,
        remote: { methods: {}, events: {} },
        handlers: this.#agentHandlers(),
        onDefect: (error) => console.error('agent defect', error),
      });
    });
    await listen(this.#agent, this.layout.agentSocket);
    if (http !== undefined) {
      this.#controllerHttp = createHttpServer(http);
      await listen(this.#controllerHttp, this.layout.controllerHttpSocket);
    }
    await this.#startGateway(tuning);
    return this;
  }

  /** As if the gateway was killed: the next one knows nothing of the connections that the first has handed over. */
  async restartGateway(): Promise<void> {
    await this.gateway.stop(0);
    await this.#startGateway({});
  }

  async #startGateway(tuning: Partial<InvokeTuning>): Promise<void> {
    const log = createLogger('gateway', process.env['BELLOWS_LOG'] ?? 'silent');
    const config = { dataDirectory: this.root, host: '127.0.0.1', port: 0, ...this.config };
    this.gateway = new Gateway(config, log, { ...defaultInvokeTuning, ...tuning }, this.clock);
    const { port, tlsPort } = await this.gateway.start();
    this.port = port;
    this.tlsPort = tlsPort ?? 0;
    const deadlineMs = Date.now() + 5000;
    while ((await fetch(`${this.url}/healthz`)).status !== 200 && Date.now() < deadlineMs)
      await new Promise((wake) => setTimeout(wake, 5));
  }

  async startController(): Promise<void> {
    this.#controller = createServer((socket) => {
      const peer: ControllerPeer = new RpcPeer<typeof controllerProtocol, typeof gatewayProtocol>(socket, {
        local: controllerProtocol,
        remote: gatewayProtocol,
        handlers: {
          hello: async () => ({
            tenants: this.#tenants,
            workloads: [...this.#workloads.values()],
            instances: [...this.#routes.values()],
          }),
          acquire: async ({ workload }) => ({ id: (await this.onAcquire(workload)) as InstanceId }),
          discard: async ({ id, reason }) => {
            this.discarded.push({ id, reason });
            return {};
          },
          enqueue: async ({ workload, event, clientContext }) => {
            this.enqueued.push({ workload, event, clientContext });
            return {};
          },
        },
        onEvent: (event) => {
          if (event.event === 'traffic') this.traffic.push(...event.data);
        },
        onClose: () => this.#peers.delete(peer),
        onDefect: (error) => console.error('controller defect', error),
      });
      this.#peers.add(peer);
    });
    await listen(this.#controller, this.layout.controllerSocket);
  }

  /** As if the controller was killed. */
  async stopController(): Promise<void> {
    const closed = new Promise((resolve) => this.#controller?.close(resolve));
    for (const peer of this.#peers) peer.destroy();
    await closed;
  }

  call<M extends keyof GatewayMethods>(
    name: M,
    params: Params<GatewayMethods[M]>,
  ): Promise<ResultOf<GatewayMethods[M]>> {
    const [peer] = this.#peers;
    if (peer === undefined) throw new Error('no gateway is connected');
    return peer.call(name, params);
  }

  change(...changes: RouteChange[]): void {
    for (const change of changes) {
      if (change.change === 'workload') this.#workloads.set(change.workload.key, change.workload);
      if (change.change === 'workloadGone') this.#workloads.delete(change.key);
      if (change.change === 'instance') this.#routes.set(change.instance.id, change.instance);
      if (change.change === 'instanceGone') this.#routes.delete(change.id);
    }
    for (const peer of this.#peers) peer.emit('routes', changes);
  }

  deploy(workload: WorkloadRoute): void {
    this.change({ change: 'workload', workload });
  }

  setTenant(tenant: Partial<TenantRoute>): void {
    this.#tenants[0] = { ...testTenant, ...tenant };
    this.change({ change: 'tenant', tenant: this.#tenants[0] });
  }

  /** Starts a real runtime with this code and announces it. */
  async startInstance(
    name: string,
    files: Record<string, string>,
    options: { argv?: string[]; generation?: string; tenant?: string } = {},
  ): Promise<string> {
    const instance = new TestInstance(plan, files);
    this.#lastInstance += 1;
    const id = `i-${this.#lastInstance}`;
    this.instances.set(id, instance);
    const app = options.argv !== undefined;
    const bound = await instance.bind(
      await instance.client(),
      app ? { kind: 'app', handler: null, argv: options.argv ?? [], function: null } : {},
    );
    if (bound.is === 'failed') throw new BellowsError('StartFailed', JSON.stringify(bound.error));
    this.announce(
      id,
      name,
      { runDirectory: instance.runDirectory, mode: 'frames', port: null },
      options.generation,
      options.tenant,
    );
    return id;
  }

  announce(id: string, name: string, endpoint: Endpoint, generation = 'g1', tenant = 'acme'): void {
    const workload = `${tenant}/${name}` as WorkloadKey;
    this.change({
      change: 'instance',
      instance: {
        id: id as InstanceId,
        workload,
        generation,
        endpoint,
        starting: false,
        frozen: false,
        grant: defaultRequest,
      },
    });
  }

  gone(id: string, name: string, reason: string, oomKilled = false): void {
    this.change({
      change: 'instanceGone',
      id: id as InstanceId,
      workload: `acme/${name}` as WorkloadKey,
      reason,
      oomKilled,
    });
  }

  async dispose(): Promise<void> {
    await this.gateway.stop(0);
    await this.stopController();
    await Promise.all(
      [this.#agent, this.#controllerHttp].map(
        (server) => new Promise((resolve) => (server === undefined ? resolve(0) : server.close(resolve))),
      ),
    );
    await Promise.all([...this.instances.values()].map((instance) => instance.dispose()));
    rmSync(this.root, { recursive: true, force: true });
  }

  #agentHandlers(): Handlers<AgentProtocol> {
    const refuse = (): Promise<never> =>
      Promise.reject(new BellowsError('NotSupportedHere', 'Not in this test.'));
    const note = async (what: string): Promise<Record<string, never>> => {
      this.agentCalls.push(what);
      return {};
    };
    return {
      ensureTenant: refuse,
      removeTenant: refuse,
      setPool: refuse,
      start: refuse,
      stop: refuse,
      resize: refuse,
      trim: refuse,
      list: refuse,
      measure: refuse,
      readLogs: refuse,
      removeLogs: refuse,
      hibernate: refuse,
      wake: refuse,
      move: refuse,
      shutdown: refuse,
      hello: async () => ({
        protocolVersion: 1,
        pid: process.pid,
        capabilities: {
          cgroup: 'none',
          sandbox: 'none',
          memoryLimit: false,
          cpuLimit: false,
          freeze: true,
          separateUsers: false,
          warmPool: false,
          notEnforced: [],
        },
        capacity: defaultRequest,
      }),
      freeze: ({ id }) => note(`freeze ${id}`),
      thaw: ({ id }) => note(`thaw ${id}`),
      tunnels: ({ id, counts }) =>
        note(`tunnels ${id} ${counts.open} ${counts.closedByClient} ${counts.closedByServer}`),
      logBroken: async ({ id, invocation }) => {
        await note(`logBroken ${id} ${invocation.cause.kind}`);
        return { tail: `START RequestId: ${invocation.requestId}\n` };
      },
    };
  }
}

function listen(server: Server | HttpServer, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
}
