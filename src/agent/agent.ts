// The agent of one unit: puts its parts together and serves AgentProtocol with them. Owns the order of starting and of
// stopping. What each call does is in the parts.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { BellowsError } from '../base/errors.ts';
import type { Clock } from '../base/clock.ts';
import type { TenantId } from '../base/ids.ts';
import { defaultStorage } from '../model/workload.ts';
import { agentProtocolVersion, type AgentProtocol } from '../protocol/agent.ts';
import type { EventOf, Handlers } from '../protocol/rpc.ts';
import { keepDescriptorsFromChildren } from '../sys/descriptors.ts';
import { layoutOf, type Layout } from '../sys/layout.ts';
import type { Logger } from '../sys/log.ts';
import { capabilitiesOf, capacityOf } from './capabilities.ts';
import { detectCgroup, type Detected } from './cgroup/detect.ts';
import type { Cgroup } from './cgroup/port.ts';
import { checkDataDirectory, type AgentConfig } from './config.ts';
import { groupOfInstance, groupOfTenant, rootGroup, tenantsGroup } from './groups.ts';
import { adoptAll } from './instances/adopt.ts';
import { Cells } from './instances/cells.ts';
import { Handles } from './instances/handle.ts';
import { Instances, type Exit } from './instances/instances.ts';
import { instanceControl } from './instances/resize-control.ts';
import type { LendingSide } from './instances/instance.ts';
import { Starter } from './instances/starter.ts';
import { LogStore } from './logs/log-store.ts';
import { measure } from './measure.ts';
import { MoveWarmth } from './move-warmth.ts';
import { Pool } from './pool.ts';
import { wishOf } from './resize/loan.ts';
import { Resizer } from './resize/resizer.ts';
import { detectSandbox, type DetectedSandbox } from './sandbox/detect.ts';
import { removeStaleRuntimes, stageRuntime } from './stage-runtime.ts';
import { StorageSweep } from './storage-sweep.ts';
import { ensureTenantGroup } from './tenant-group.ts';

export type AgentEvent = EventOf<AgentProtocol>;

export interface AgentOptions {
  readonly config: AgentConfig;
  readonly clock: Clock;
  readonly log: Logger;
  readonly emit: (event: AgentEvent) => void;
  /** The runtime's files, staged ahead; default: made below the data directory. */
  readonly runtimeDirectory?: string;
  /** Trims the data directory's disk, where that is worth it to somebody else: after instances' scratch spaces were. */
  readonly trimDisk?: () => Promise<void>;
}

export class Agent {
  readonly handlers: Handlers<AgentProtocol>;
  readonly #options: AgentOptions;
  readonly #layout: Layout;
  readonly #cgroups: Detected;
  readonly #sandboxes: DetectedSandbox;
  readonly #handles: Handles;
  readonly #cells: Cells;
  readonly #pool: Pool;
  readonly #warmth: MoveWarmth;
  readonly #logs: LogStore;
  readonly #instances: Instances;
  readonly #resizer: Resizer;
  readonly #sweep: StorageSweep;
  readonly #runtimeDirectory: string;
  readonly #lending: LendingSide;
  /** Ends that nobody was told of yet: of instances that died while there was no agent. */
  #untold: Exit[] = [];
  #measurements = 0;
  #stopping: Promise<void> | undefined;

  /** Makes directories; starts nothing. @throws BellowsError when this machine or configuration can not be served */
  constructor(options: AgentOptions) {
    const { config, clock, log, emit } = options;
    this.#options = options;
    checkDataDirectory(config.dataDirectory);
    keepDescriptorsFromChildren();
    this.#layout = layoutOf(config.dataDirectory);
    const slotsDirectory = join(this.#layout.run, 'i');
    // Nobody but root may look into the data directory, so nobody else reaches a socket in it.
    for (const directory of [this.#layout.root, this.#layout.run, slotsDirectory, this.#layout.runtime]) {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
    }
    this.#runtimeDirectory = options.runtimeDirectory ?? stageRuntime(this.#layout.runtime);
    this.#cgroups = detectCgroup(config.cgroupRoot);
    this.#sandboxes = detectSandbox({
      runDirectory: this.#layout.run,
      storageDirectory: this.#layout.scratch,
      runtimeDirectory: this.#runtimeDirectory,
    });
    const { cgroup } = this.#cgroups;
    const { sandbox } = this.#sandboxes;
    this.#handles = new Handles(this.#layout);
    this.#logs = new LogStore(this.#layout.logs, clock, (error) =>
      log.error({ err: error }, 'log lines can not be written'),
    );
    this.#cells = new Cells({ slotsDirectory, sandbox, cgroup, log });
    this.#pool = new Pool({
      cells: this.#cells,
      cgroup,
      network: config.network,
      storageBytes: defaultStorage,
      keepsSpare: config.spareSandbox,
      log,
      onChange: (ready) => emit({ event: 'poolChanged', data: { ready } }),
    });
    this.#warmth = new MoveWarmth({
      cgroup,
      clock,
      settledGroup: () =>
        this.#instances.all().find(({ state }) => state === 'idle' || state === 'frozen')?.cell.group,
    });
    const lending: LendingSide = {
      beforeRun: (id, why) => this.#resizer.beforeRun(id, why),
      stoodStill: (id) => this.#resizer.stoodStill(id),
    };
    this.#lending = lending;
    const starter = new Starter({
      cells: this.#cells,
      pool: this.#pool,
      warmth: this.#warmth,
      cgroup,
      sandbox,
      logs: this.#logs,
      clock,
      log,
      runtimeDirectory: this.#runtimeDirectory,
      handles: this.#handles,
      lending,
      onChange: (data) => emit({ event: 'instance', data }),
      onReachable: (instance, endpoint) => emit({ event: 'reachable', data: { instance, endpoint } }),
    });
    this.#instances = new Instances({
      cells: this.#cells,
      starter,
      handles: this.#handles,
      cgroup,
      clock,
      log,
      logs: this.#logs,
      onExit: (data) => {
        this.#resizer.forget(data.id);
        emit({ event: 'exited', data });
      },
    });
    this.#resizer = new Resizer({
      cgroup,
      clock,
      log,
      control: instanceControl({
        find: (id) => this.#instances.find(id),
        sandbox: this.#sandboxes.sandbox,
        onGivenBack: (data) => emit({ event: 'givenBack', data }),
        onStrained: (data) => emit({ event: 'strained', data }),
      }),
      groupOfTenant,
      groupOfInstance: (id) => groupOfInstance(this.#instances.get(id).spec.tenant, id),
      onApplied: (data) => emit({ event: 'applied', data }),
    });
    this.#sweep = new StorageSweep({
      sandbox,
      log,
      instances: () => this.#instances.all(),
      ...(options.trimDisk === undefined ? {} : { below: options.trimDisk }),
    });
    this.handlers = this.#handlers();
  }

  get cgroup(): Cgroup {
    return this.#cgroups.cgroup;
  }

  /** What runs now. */
  get instances(): Pick<Instances, 'all' | 'find'> {
    return this.#instances;
  }

  /** Takes over what an earlier agent left, and is then ready to serve. */
  async open(): Promise<void> {
    const { sandbox } = this.#sandboxes;
    const { cgroup } = this.#cgroups;
    sandbox.open();
    await this.#pool.open();
    const { exits, runtimes } = await adoptAll({
      layout: this.#layout,
      handles: this.#handles,
      cells: this.#cells,
      sandbox,
      cgroup,
      instances: this.#instances,
      logs: this.#logs,
      lending: this.#lending,
      log: this.#options.log,
      onChange: (data) => this.#options.emit({ event: 'instance', data }),
    });
    await this.#resizer.adopt(
      this.#instances.all().map((instance) => instance.id),
      cgroup.children(tenantsGroup).map((name) => name as TenantId),
    );
    this.#untold = exits;
    this.#sweep.open();
    this.#pool.begin();
    removeStaleRuntimes(this.#layout.runtime, runtimes.add(this.#runtimeDirectory));
  }

  /** Stops everything and leaves nothing: no process, group, mount, socket or handle. Safe to call again. */
  close(graceMs: number): Promise<void> {
    this.#stopping ??= this.#close(graceMs);
    return this.#stopping;
  }

  async #close(graceMs: number): Promise<void> {
    this.#warmth.close();
    await Promise.all([this.#pool.close(), this.#instances.close(graceMs), this.#sweep.close()]);
    this.#resizer.close();
    await this.#cgroups.cgroup.remove(rootGroup);
    this.#sandboxes.sandbox.close();
    rmSync(join(this.#layout.run, 'i'), { recursive: true, force: true });
  }

  #handlers(): Handlers<AgentProtocol> {
    const instances = this.#instances;
    const { cgroup } = this.#cgroups;
    const { clock, config } = this.#options;
    const done = {};
    const noMachines = async (): Promise<never> => {
      throw new BellowsError(
        'NotSupportedHere',
        'What runs here is in no virtual machine that could be put on disk or moved.',
        'Start Bellows with virtual machines: bellows up --unit vm.',
      );
    };
    return {
      hibernate: noMachines,
      wake: noMachines,
      move: noMachines,
      hello: async () => {
        this.#tellUntold();
        return {
          protocolVersion: agentProtocolVersion,
          pid: process.pid,
          capabilities: capabilitiesOf(this.#cgroups, this.#sandboxes),
          capacity: capacityOf(config.dataDirectory),
        };
      },
      ensureTenant: async (spec) => {
        await ensureTenantGroup(cgroup, spec);
        return done;
      },
      removeTenant: async ({ tenant }) => {
        if (instances.ofTenant(tenant).length > 0) {
          throw new BellowsError('Conflict', `Tenant ${tenant} still has instances.`, 'Stop them first.');
        }
        this.#resizer.forgetTenant(tenant);
        await cgroup.remove(groupOfTenant(tenant));
        return done;
      },
      setPool: async ({ size }) => {
        this.#pool.setSize(size);
        return done;
      },
      start: async (spec) => {
        const started = await instances.start(spec);
        if (spec.requested !== undefined) this.#resizer.started(spec.id, spec.requested.memory);
        return started;
      },
      stop: async ({ id, graceMs, reason }) => {
        await instances.stop(id, graceMs, reason);
        return done;
      },
      freeze: async ({ id }) => {
        await instances.get(id).freeze();
        return done;
      },
      thaw: async ({ id }) => {
        await instances.get(id).thaw();
        return done;
      },
      resize: async (request) => {
        for (const part of request.instances)
          instances.find(part.id)?.setDesired(wishOf(part, cgroup.capabilities.memoryLimit).grant);
        return this.#resizer.apply(request);
      },
      trim: async ({ id, cacheOnly = false }) => {
        const instance = instances.get(id);
        if (cacheOnly) return instance.dropCache();
        const figures = await instance.trim();
        await this.#sweep.trim(instance);
        return figures;
      },
      list: async () => ({
        instances: instances
          .all()
          .map((instance) => ({ info: instance.info(), endpoint: instance.endpoint, spec: instance.spec })),
        poolReady: this.#pool.ready,
      }),
      measure: async () => {
        this.#measurements += 1;
        return measure(
          cgroup,
          this.#sandboxes.sandbox,
          instances.all(),
          this.#pool.ready,
          clock.nowMs(),
          this.#measurements,
        );
      },
      readLogs: ({ workload, cursor, limit, waitMs }) => this.#logs.read(workload, cursor, limit, waitMs),
      logBroken: async ({ id, invocation }) => ({ tail: await instances.logBroken(id, invocation) }),
      tunnels: async ({ id, gateway, beside, counts }) => {
        instances.find(id)?.setTunnels(gateway, counts, beside);
        return done;
      },
      removeLogs: async ({ workload }) => {
        instances.forgetBroken(workload);
        await this.#logs.remove(workload);
        return done;
      },
      shutdown: async ({ graceMs }) => {
        await this.close(graceMs);
        return done;
      },
    };
  }

  #tellUntold(): void {
    const untold = this.#untold;
    this.#untold = [];
    for (const data of untold) this.#options.emit({ event: 'exited', data });
  }
}
