// An agent without processes: it keeps instances, tenants and grants in memory and answers as a real one would, or as
// its script says. For testing what stands above an agent; no cgroup, no socket, no clock but the one passed in.
//
// What would not be safe is deferred as by a real agent: `setInUse` says how much memory an instance can not give up.
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import type { ResourceChange } from '../../model/change.ts';
import type { ConnectionCounts, InstanceInfo } from '../../model/instance.ts';
import { resourceKinds, type Resources } from '../../model/resources.ts';
import type { AgentProtocol, InstanceSpec, TenantSpec } from '../../protocol/agent.ts';
import type { EventOf, Handlers, Params, ResultOf } from '../../protocol/rpc.ts';
import {
  change,
  firstPid,
  helloOf,
  inUseOf,
  madeOf,
  measured,
  type HeldLimits,
  type MockInstance,
} from './answers.ts';
import { Script, type AgentMethod } from './script.ts';

type Methods = AgentProtocol['methods'];
type AgentEvent = EventOf<AgentProtocol>;
type ResizeResult = ResultOf<Methods['resize']>;

/** What any file-less, process-less instance costs, so that usage is never zero. */
const initialInUseBytes = 20 * 1024 * 1024;

export class MockAgent {
  readonly script = new Script();
  /** Every call in the order it came, for tests to look at. */
  readonly calls: { readonly method: AgentMethod; readonly params: unknown }[] = [];
  readonly handlers: Handlers<AgentProtocol>;
  readonly #capacity: Resources;
  readonly #nowMs: () => number;
  readonly #instances = new Map<InstanceId, MockInstance>();
  readonly #tenants = new Map<TenantId, TenantSpec>();
  /** Wanted limits that were below what is in use. */
  readonly #deferredTenants = new Map<TenantId, TenantSpec>();
  readonly #listeners = new Set<(event: AgentEvent) => void>();
  readonly #heldLimits = new Map<InstanceId, HeldLimits>();
  #poolSize = 0;
  #lastPid = firstPid;

  constructor(capacity: Resources, nowMs: () => number = Date.now) {
    this.#capacity = capacity;
    this.#nowMs = nowMs;
    this.handlers = this.#scripted({
      hello: async () => helloOf(this.#capacity),
      ensureTenant: async (spec) => {
        this.#tenants.set(spec.tenant, spec);
        return {};
      },
      removeTenant: async ({ tenant }) => this.#removeTenant(tenant),
      setPool: async ({ size }) => {
        this.#poolSize = size;
        this.emit({ event: 'poolChanged', data: { ready: size } });
        return {};
      },
      start: async (spec) => this.#start(spec),
      stop: async ({ id, reason }) => {
        this.exit(id, { reason });
        return {};
      },
      freeze: async ({ id }) => this.#setState(id, 'frozen'),
      thaw: async ({ id }) => {
        if (this.#instance(id).info.state === 'frozen') this.giveBack(id, 'thaw');
        return this.#setState(id, 'idle');
      },
      resize: async (request) => this.#resize(request),
      trim: async ({ id }) => {
        const { inUseBytes } = this.#instance(id);
        return { beforeBytes: inUseBytes, afterBytes: inUseBytes };
      },
      list: async () => ({
        instances: [...this.#instances.values()].map(({ info, endpoint, spec }) => ({
          info,
          endpoint,
          spec,
        })),
        poolReady: this.#poolSize,
      }),
      measure: async () =>
        measured({
          atMs: this.#nowMs(),
          capacity: this.#capacity,
          instances: [...this.#instances.values()],
          tenants: [...this.#tenants.values()],
          heldLimits: this.#heldLimits,
          poolSize: this.#poolSize,
        }),
      readLogs: async ({ cursor }) => ({ entries: [], cursor: cursor ?? '0' }),
      logBroken: async () => ({ tail: '' }),
      tunnels: async () => ({}),
      removeLogs: async () => ({}),
      hibernate: async () => ({ beforeBytes: 2, afterBytes: 0, storedBytes: 1, durationMs: 0 }),
      wake: async () => ({ durationMs: 0 }),
      move: async () => ({ pid: 2, pauseMs: 1, copiedBytes: 2, durationMs: 3 }),
      shutdown: async () => {
        for (const id of this.#instances.keys()) this.exit(id, { reason: 'shutdown' });
        this.#tenants.clear();
        return {};
      },
    });
  }

  listen(listener: (event: AgentEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(event: AgentEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** One that is being started listens already. */
  sayReachable(spec: InstanceSpec): void {
    const { info: instance, endpoint } = this.#madeOf(spec, 'bound');
    this.emit({ event: 'reachable', data: { instance, endpoint } });
  }

  /** The instance ends by itself. */
  exit(id: InstanceId, how: { reason: string; code?: number; oomKilled?: boolean }): void {
    const { info } = this.#instance(id);
    this.#instances.delete(id);
    const { reason, code = null, oomKilled = false } = how;
    this.emit({
      event: 'exited',
      data: { id, workload: info.workload, code, signal: null, oomKilled, reason },
    });
  }

  /**
   * How much memory the instance can not give up; what was deferred because of it is applied once it fits. More than what was
   * left to it has what was lent given back.
   */
  setInUse(id: InstanceId, bytes: number): void {
    const instance = this.#instance(id);
    instance.inUseBytes = bytes;
    if (bytes > instance.info.grant.memory) this.giveBack(id, 'strain');
    const { promised } = instance;
    const { grant, desired, tenant } = instance.info;
    const instanceFits = grant.memory !== desired.memory && desired.memory >= bytes;
    const instances = instanceFits ? [this.#resizeInstance(instance, desired, promised)] : [];
    const wanted = this.#deferredTenants.get(tenant);
    const tenantFits = wanted !== undefined && (wanted.memoryBytes ?? Infinity) >= this.#inUseOf(tenant);
    const tenants = tenantFits ? [this.#resizeTenant(wanted)] : [];
    if (instanceFits || tenantFits) this.emit({ event: 'applied', data: { tenants, instances } });
  }

  /** What is lent of the instance's memory is its own again, as by a real agent; nothing when nothing is. */
  giveBack(id: InstanceId, why: 'thaw' | 'strain'): void {
    const instance = this.#instance(id);
    const { promised, grant: lent } = instance.info;
    if (promised === undefined) return;
    const grant = { ...lent, ...promised };
    instance.promised = undefined;
    this.#update(instance, { grant, desired: grant, promised: undefined });
    this.emit({ event: 'givenBack', data: { id, grant, why } });
  }

  /** The kernel holds an instance to something else than the agent believes: somebody else wrote there. */
  holdTo(id: InstanceId, limits: HeldLimits): void {
    this.#heldLimits.set(id, limits);
  }

  setConnections(id: InstanceId, connections: ConnectionCounts): void {
    this.#update(this.#instance(id), { connections });
  }

  instance(id: InstanceId): InstanceInfo {
    return this.#instance(id).info;
  }

  /** Puts recording and the script in front of every method. */
  #scripted(handlers: Handlers<AgentProtocol>): Handlers<AgentProtocol> {
    const wrap = <M extends AgentMethod>(method: M): [M, unknown] => [
      method,
      async (params: Params<Methods[M]>): Promise<unknown> => {
        this.calls.push({ method, params });
        const behaviour = this.script.take(method);
        if (behaviour?.do === 'fail') throw behaviour.error;
        if (behaviour?.do === 'answer') return behaviour.result;
        if (behaviour?.do === 'hang') return new Promise(() => undefined);
        if (behaviour?.do === 'wait') await behaviour.until;
        if (behaviour?.do === 'delay') await new Promise((resolve) => setTimeout(resolve, behaviour.ms));
        const handler = handlers[method] as (params: Params<Methods[M]>) => Promise<unknown>;
        return handler(params);
      },
    ];
    return Object.fromEntries((Object.keys(handlers) as AgentMethod[]).map(wrap)) as Handlers<AgentProtocol>;
  }

  #removeTenant(tenant: TenantId): Record<string, never> {
    if ([...this.#instances.values()].some(({ spec }) => spec.tenant === tenant)) {
      throw new BellowsError('Conflict', `Tenant ${tenant} still has instances.`);
    }
    this.#tenants.delete(tenant);
    return {};
  }

  #start(spec: InstanceSpec): ResultOf<Methods['start']> {
    if (this.#instances.has(spec.id))
      throw new BellowsError('Conflict', `Instance ${spec.id} was started before.`);
    if (!this.#tenants.has(spec.tenant))
      throw new BellowsError('NotFound', `Tenant ${spec.tenant} is not known here.`);
    const { info, endpoint } = this.#madeOf(spec, 'idle');
    this.#lastPid += 1;
    this.#instances.set(spec.id, {
      spec,
      endpoint,
      info,
      promised: undefined,
      inUseBytes: initialInUseBytes,
    });
    this.emit({ event: 'instance', data: info });
    return { outcome: 'started', instance: info, pooled: false, durationMs: 0, endpoint };
  }

  #madeOf(spec: InstanceSpec, state: InstanceInfo['state']): Pick<MockInstance, 'info' | 'endpoint'> {
    return madeOf(spec, state, this.#lastPid, this.#nowMs());
  }

  #setState(id: InstanceId, state: InstanceInfo['state']): Record<string, never> {
    this.#update(this.#instance(id), { state });
    return {};
  }

  #resize({ tenants, instances }: Params<Methods['resize']>): ResizeResult {
    const instanceChanges = instances.map(({ id, grant, promised }) => {
      const lent = promised !== undefined && promised.memory > grant.memory;
      return this.#resizeInstance(this.#instance(id), grant, lent ? promised : undefined);
    });
    return { tenants: tenants.map((spec) => this.#resizeTenant(spec)), instances: instanceChanges };
  }

  #resizeInstance(
    instance: MockInstance,
    wanted: Resources,
    promised: InstanceInfo['promised'],
  ): ResizeResult['instances'][number] {
    const { grant: before, connections } = instance.info;
    const tooSmall = wanted.memory < before.memory && wanted.memory < instance.inUseBytes;
    const after: Resources = tooSmall ? { ...wanted, memory: before.memory } : wanted;
    const changes = resourceKinds
      .filter((resource) => before[resource] !== wanted[resource])
      .map((resource) =>
        change(resource, before[resource], after[resource], wanted[resource], instance.inUseBytes),
      );
    instance.promised = promised;
    const isLent = promised !== undefined && after.memory < promised.memory;
    this.#update(instance, { grant: after, desired: wanted, promised: isLent ? promised : undefined });
    const { id, workload, tenant } = instance.info;
    const { open } = connections;
    return { instance: id, workload, tenant, changes, connections: { open, kept: open, dropped: 0 } };
  }

  #resizeTenant(spec: TenantSpec): ResizeResult['tenants'][number] {
    const before = this.#tenants.get(spec.tenant);
    const inUseBytes = this.#inUseOf(spec.tenant);
    const tooSmall = spec.memoryBytes !== null && spec.memoryBytes < inUseBytes;
    if (tooSmall) this.#deferredTenants.set(spec.tenant, spec);
    else this.#deferredTenants.delete(spec.tenant);
    const oldMemory = before?.memoryBytes ?? null;
    const memoryBytes = tooSmall ? oldMemory : spec.memoryBytes;
    const changes: ResourceChange[] = [];
    if (oldMemory !== spec.memoryBytes)
      changes.push(change('memory', oldMemory, memoryBytes, spec.memoryBytes, inUseBytes));
    const oldCpu = before?.cpuMillicores ?? null;
    if (oldCpu !== spec.cpuMillicores)
      changes.push(change('cpu', oldCpu, spec.cpuMillicores, spec.cpuMillicores, 0));
    this.#tenants.set(spec.tenant, { ...spec, memoryBytes });
    return { tenant: spec.tenant, changes };
  }

  #inUseOf(tenant: TenantId): number {
    return inUseOf([...this.#instances.values()], tenant);
  }

  #instance(id: InstanceId): MockInstance {
    const instance = this.#instances.get(id);
    if (instance === undefined) throw new BellowsError('NotFound', `Instance ${id} is not here.`);
    return instance;
  }

  #update(instance: MockInstance, change: Partial<InstanceInfo>): void {
    instance.info = { ...instance.info, ...change };
    this.emit({ event: 'instance', data: instance.info });
  }
}
