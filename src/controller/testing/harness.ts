// A whole controller over a mock unit, a real store and a gateway that records, in a directory of its own.
// For the tests beside it only; everything it makes is gone after `close`.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { systemClock, type Clock } from '../../base/clock.ts';
import {
  hostUnitId,
  parseTenantId,
  parseWorkloadName,
  type InstanceId,
  type TenantId,
  type UnitId,
} from '../../base/ids.ts';
import { gib, mib, type Bytes } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import {
  controllerProtocol,
  gatewayProtocol,
  type ControllerProtocol,
  type GatewayProtocol,
  type RouteChange,
} from '../../protocol/routes.ts';
import { RpcClient } from '../../protocol/rpc-client.ts';
import type { Handlers, Params } from '../../protocol/rpc.ts';
import { createLogger } from '../../sys/log.ts';
import type { MockAgent } from '../../units/mock/mock-agent.ts';
import { MockDriver, type MockUnit } from '../../units/mock/mock-driver.ts';
import type { Unit } from '../../units/port.ts';
import type { ControllerConfig, Tuning } from '../config.ts';
import type { AppDeployment, AuditEvent, ControlPlane, FunctionDeployment } from '../control-plane.ts';
import { startController, type StartedController } from '../start.ts';

export const defaultSize = { memory: 4 * gib, cpu: 4000, storage: 100 * gib, bandwidth: 1e9 } as Resources;
export const acme: TenantId = parseTenantId('acme');
export const mebibytes = (count: number): Bytes => (count * mib) as Bytes;

/** Pauses that a test need not wait for, in the same order of size as the real ones. */
export const fastTuning: Partial<Tuning> = {
  restartFirstMs: 20,
  restartLongestMs: 200,
  restartForgetMs: 10_000,
  appGraceMs: 20,
  functionGraceMs: 20,
  // Most tests have none.
  gatewayArrivalMs: 0,
  tickMs: 50,
  asyncRetryMs: [10, 20],
  asyncThrottleFirstMs: 10,
  asyncThrottleLongestMs: 50,
};

export function app(name: string, change: Partial<AppDeployment> = {}): AppDeployment {
  return {
    kind: 'app',
    name: parseWorkloadName(name),
    runtime: 'nodejs26.x',
    code: { sha256: 'a'.repeat(64), sizeBytes: 1 },
    request: {},
    env: {},
    start: 'node server.js',
    scale: 1,
    ...change,
  };
}

export function fn(name: string, change: Partial<FunctionDeployment> = {}): FunctionDeployment {
  return {
    kind: 'function',
    name: parseWorkloadName(name),
    runtime: 'nodejs26.x',
    code: { sha256: 'b'.repeat(64), sizeBytes: 1 },
    request: {},
    env: {},
    handler: 'index.handler',
    timeoutMs: 3_000,
    ...change,
  };
}

/** The controller asks for no size, since the host is as large as it is: here it is as large as the test says. */
class SizedDriver extends MockDriver {
  readonly #size: Resources;

  constructor(size: Resources) {
    super();
    this.#size = size;
  }

  override provision(id: UnitId): Promise<Unit> {
    return super.provision(id, this.#size);
  }
}

export class Harness {
  readonly directory: string;
  readonly driver: MockDriver;
  readonly tuning: Partial<Tuning>;
  readonly #clock: Clock;
  #started: StartedController;

  readonly #config: Partial<ControllerConfig>;

  private constructor(
    directory: string,
    driver: MockDriver,
    tuning: Partial<Tuning>,
    clock: Clock,
    config: Partial<ControllerConfig>,
    started: StartedController,
  ) {
    this.directory = directory;
    this.driver = driver;
    this.tuning = tuning;
    this.#clock = clock;
    this.#config = config;
    this.#started = started;
  }

  static async start(
    tuning: Partial<Tuning> = {},
    size = defaultSize,
    clock: Clock = systemClock,
    config: Partial<ControllerConfig> = {},
  ): Promise<Harness> {
    const directory = await mkdtemp(join(tmpdir(), 'bellows-controller-'));
    const driver = new SizedDriver(size);
    const all = { ...fastTuning, ...tuning };
    const started = await begin(directory, driver, all, clock, config);
    const harness = new Harness(directory, driver, all, clock, config, started);
    const put = harness.control.putTenant(acme, {});
    // Answered when a gateway knows of it: a test that has one come later does not wait for that.
    if (all.gatewayArrivalMs === 0) await put;
    // It is in the store before the agent knows of it, which what follows may need: the audit log has it last.
    else
      await eventually(async () => {
        const events = await harness.control.eventsSince(0, 100);
        expect(events).toContainEqual(expect.objectContaining({ type: 'tenant.created', tenant: acme }));
      });
    return harness;
  }

  get control(): ControlPlane {
    return this.#started.controlPlane;
  }

  get started(): StartedController {
    return this.#started;
  }

  get unit(): MockUnit {
    return this.driver.unit(hostUnitId);
  }

  get agent(): MockAgent {
    return this.unit.agent;
  }

  /** A new controller over the same store and the same running instances. */
  async restart(): Promise<void> {
    await this.restartWith(this.#config);
  }

  /** The same of a Bellows that was started otherwise. */
  async restartWith(config: Partial<ControllerConfig>): Promise<void> {
    await this.#started.close();
    this.#started = await begin(this.directory, this.driver, this.tuning, this.#clock, config);
  }

  async close(): Promise<void> {
    await this.#started.close();
    await rm(this.directory, { recursive: true, force: true });
  }

  /** Ids of what the agent runs. */
  async running(): Promise<InstanceId[]> {
    const { instances } = await this.agent.handlers.list({});
    return instances.map(({ info }) => info.id);
  }

  /** How often the agent was asked to start something. */
  get starts(): number {
    return this.agent.calls.filter(({ method }) => method === 'start').length;
  }

  events(type: string): Promise<AuditEvent[]> {
    return this.control.eventsSince(0, 1_000).then((events) => events.filter((event) => event.type === type));
  }

  /** A gateway at the controller's socket. */
  gateway(
    handlers: Partial<Handlers<GatewayProtocol>> = {},
    name: Partial<Hello> = {},
  ): Promise<TestGateway> {
    return TestGateway.connect(this.#started.layout.controllerSocket, handlers, name);
  }
}

function begin(
  dataDirectory: string,
  driver: MockDriver,
  tuning: Partial<Tuning>,
  clock: Clock,
  more: Partial<ControllerConfig>,
): Promise<StartedController> {
  const config = {
    dataDirectory,
    port: 8080,
    host: '127.0.0.1',
    network: 'host',
    cgroupRoot: 'bellows-test',
    hostToo: false,
    ...more,
  } as const;
  return startController(config, createLogger('controller', process.env['BELLOWS_LOG'] ?? 'silent'), {
    driver,
    tuning,
    clock,
  });
}

/**
 * Asks again until it holds: what a controller does after an event has no moment of its own. As long as `expect.poll`
 * looks (vitest.config.ts): what comes at once comes late on a busy machine.
 */
export async function eventually(check: () => Promise<void> | void): Promise<void> {
  await vi.waitFor(check, { timeout: 20_000, interval: 5 });
}

type Hello = Params<ControllerProtocol['methods']['hello']>;

export class TestGateway {
  readonly changes: RouteChange[] = [];
  readonly retired: InstanceId[] = [];
  table: Awaited<ReturnType<TestGateway['hello']>> = { tenants: [], workloads: [], instances: [] };
  readonly client: RpcClient<GatewayProtocol, ControllerProtocol>;

  readonly #name: Hello;

  private constructor(
    socketPath: string,
    handlers: Partial<Handlers<GatewayProtocol>>,
    name: Partial<Hello>,
    onReady: () => void,
  ) {
    this.#name = { pid: process.pid, ...name };
    this.client = new RpcClient<GatewayProtocol, ControllerProtocol>({
      socketPath,
      local: gatewayProtocol,
      remote: controllerProtocol,
      handlers: {
        retire: async ({ ids }) => {
          this.retired.push(...ids);
          return {};
        },
        invoke: async () => ({ outcome: 'ok', payload: '' }),
        usage: async () => [],
        look: async () => ({ state: 'serving', connections: 0 }),
        sync: async () => ({}),
        drain: async () => ({}),
        ...handlers,
      },
      onConnect: async (peer) => {
        this.table = await peer.call('hello', this.#name);
        onReady();
      },
      onEvent: ({ data }) => this.changes.push(...data),
      onDefect: (error) => {
        throw error;
      },
    });
  }

  static connect(
    socketPath: string,
    handlers: Partial<Handlers<GatewayProtocol>>,
    name: Partial<Hello>,
  ): Promise<TestGateway> {
    return new Promise((resolve) => {
      const gateway: TestGateway = new TestGateway(socketPath, handlers, name, () => resolve(gateway));
    });
  }

  hello() {
    return this.client.call('hello', this.#name);
  }

  /** @throws Error when the start was given up */
  acquire(
    workload: { readonly key: string; readonly generation: string },
    waiting = 1,
    deadlineMs = Date.now() + 5_000,
  ): Promise<InstanceId> {
    const need = { workload: workload.key as never, generation: workload.generation, waiting, deadlineMs };
    return this.client.call('acquire', need).then(({ id }) => {
      if (id === null) throw new Error(`the start of ${workload.key} was given up`);
      return id;
    });
  }
}
