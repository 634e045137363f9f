// One agent over two: this machine's own, which runs instances as processes here, and the fleet, which runs them in virtual
// machines. Whoever calls sees one agent of one machine. Owns who is asked what; what the answers come to together is unite.ts
// and logs.ts, which part has an instance is owners.ts, whose limits are waited for deferrals.ts.
//
//   controller, gateways ──▶ router ──in this process──▶ fleet ──▶ virtual machines
//                               └──agent protocol──▶ this machine's agent ──▶ processes
import type { InstanceId } from '../../base/ids.ts';
import type { UnitKind } from '../../model/unit-kind.ts';
import type { AgentProtocol, ResizeRequest, ResizeResult } from '../../protocol/agent.ts';
import type { Caller, EventOf, Handlers, Params, ResultOf } from '../../protocol/rpc.ts';
import { Deferrals } from './deferrals.ts';
import { readBothLogs } from './logs.ts';
import { Owners } from './owners.ts';
import { uniteHellos, uniteMeasures, uniteResizes } from './unite.ts';

type Methods = AgentProtocol['methods'];
type Method = keyof Methods;

export interface RouterParts {
  readonly host: Caller<AgentProtocol>;
  readonly machines: Caller<AgentProtocol>;
  readonly emit: (event: EventOf<AgentProtocol>) => void;
}

/** Whoever calls has a time of its own; this bounds only what nobody waits for any more. */
const timeoutMs = 200_000;
const done = {};

export class Router {
  readonly handlers: Handlers<AgentProtocol>;
  readonly #parts: Readonly<Record<UnitKind, Caller<AgentProtocol>>>;
  readonly #emit: (event: EventOf<AgentProtocol>) => void;
  readonly #owners: Owners;
  readonly #deferrals = new Deferrals();
  /** Resizes of tenants that not both have answered yet. */
  #resizing = 0;
  /** What was applied meanwhile: whoever asked is to know first that it was deferred. */
  #appliedEarly: (() => void)[] = [];

  constructor({ host, machines, emit }: RouterParts) {
    this.#parts = { host, vm: machines };
    this.#emit = emit;
    this.#owners = new Owners(async (kind) => {
      const { instances } = await this.#ask(kind, 'list', {});
      return instances.map(({ info }) => info.id);
    });
    this.handlers = this.#handlers();
  }

  /** What a part tells is told on. */
  onEvent(kind: UnitKind, event: EventOf<AgentProtocol>): void {
    switch (event.event) {
      // Both look at the same machine, and one word of it is enough.
      case 'hostPressure':
        if (kind === 'host') return;
        break;
      case 'instance':
        this.#owners.note(event.data.id, kind);
        break;
      case 'exited':
        this.#owners.forget(event.data.id);
        break;
      case 'applied':
        if (event.data.tenants.length === 0) break;
        if (this.#resizing > 0) this.#appliedEarly.push(() => this.#applied(kind, event.data));
        else this.#applied(kind, event.data);
        return;
      default:
    }
    this.#emit(event);
  }

  /** Its process ended, and the next one remembers nothing of what it had deferred. */
  onGone(kind: UnitKind): void {
    this.#deferrals.forget(kind);
  }

  #applied(kind: UnitKind, { tenants, instances }: ResizeResult): void {
    const inForce = this.#deferrals.applied(kind, tenants);
    if (inForce.length + instances.length > 0)
      this.#emit({ event: 'applied', data: { tenants: inForce, instances } });
  }

  #handlers(): Handlers<AgentProtocol> {
    const both = async (method: Method, params: Params<Methods[Method]>): Promise<Record<string, never>> => {
      await this.#askBoth(method, params);
      return done;
    };
    return {
      hello: async () => uniteHellos(...(await this.#askBoth('hello', {}))),
      ensureTenant: (spec) => both('ensureTenant', spec),
      removeTenant: async (params) => {
        await both('removeTenant', params);
        this.#deferrals.forgetTenant(params.tenant);
        return done;
      },
      setPool: (params) => both('setPool', params),
      start: (spec) => this.#start(spec),
      stop: (params) => this.#toOwner('stop', params),
      freeze: (params) => this.#toOwner('freeze', params),
      thaw: (params) => this.#toOwner('thaw', params),
      trim: (params) => this.#toOwner('trim', params),
      tunnels: (params) => this.#toOwner('tunnels', params),
      resize: (request) => this.#resize(request),
      list: async () => {
        const [host, machines] = await this.#askBoth('list', {});
        for (const { info } of host.instances) this.#owners.note(info.id, 'host');
        for (const { info } of machines.instances) this.#owners.note(info.id, 'vm');
        return {
          instances: [...host.instances, ...machines.instances],
          poolReady: host.poolReady + machines.poolReady,
        };
      },
      measure: async () => uniteMeasures(...(await this.#askBoth('measure', {}))),
      readLogs: (params) => readBothLogs([this.#parts.host, this.#parts.vm], params),
      logBroken: async (params) => {
        // Its instance may have ended, and then only who had it remembers: the other has no tail of it.
        const [host, machines] = await this.#askBoth('logBroken', params);
        return host.tail === '' ? machines : host;
      },
      removeLogs: (params) => both('removeLogs', params),
      hibernate: (params) => this.#ask('vm', 'hibernate', params),
      wake: (params) => this.#ask('vm', 'wake', params),
      move: (params) => this.#ask('vm', 'move', params),
      shutdown: async (params) => {
        // One that can not end its own must not keep the other from it.
        const ends = await Promise.allSettled([
          this.#ask('host', 'shutdown', params),
          this.#ask('vm', 'shutdown', params),
        ]);
        for (const end of ends) if (end.status === 'rejected') throw end.reason;
        return done;
      },
    };
  }

  async #start(spec: Params<Methods['start']>): Promise<ResultOf<Methods['start']>> {
    const kind = spec.unitKind ?? 'host';
    this.#owners.note(spec.id, kind);
    try {
      const result = await this.#ask(kind, 'start', spec);
      if (result.outcome === 'failed') this.#owners.forget(spec.id);
      return result;
    } catch (thrown) {
      // It may be there all the same: then it is found when it is asked for.
      this.#owners.forget(spec.id);
      throw thrown;
    }
  }

  /** Tenants' limits hold in both; each gets what it has of the instances. */
  async #resize({
    tenants,
    instances,
    waitMs,
  }: Params<Methods['resize']>): Promise<ResultOf<Methods['resize']>> {
    const parts: Record<UnitKind, ResizeRequest['instances']> = { host: [], vm: [] };
    for (const each of instances) parts[(await this.#owners.of(each.id)) ?? 'host'].push(each);
    const ask = (kind: UnitKind): Promise<ResultOf<Methods['resize']>> => {
      const isConcerned = tenants.length + parts[kind].length > 0;
      return isConcerned
        ? this.#ask(kind, 'resize', { tenants, instances: parts[kind], waitMs })
        : Promise.resolve({ tenants: [], instances: [] });
    };
    if (tenants.length === 0) return uniteResizes(...(await Promise.all([ask('host'), ask('vm')])));
    this.#resizing += 1;
    try {
      const [host, machines] = await Promise.all([ask('host'), ask('vm')]);
      this.#deferrals.answered({ host: host.tenants, vm: machines.tenants });
      return uniteResizes(host, machines);
    } finally {
      this.#resizing -= 1;
      // When the answer is on its way.
      if (this.#resizing === 0) setImmediate(() => this.#tellAppliedEarly());
    }
  }

  #tellAppliedEarly(): void {
    if (this.#resizing > 0) return;
    const early = this.#appliedEarly;
    this.#appliedEarly = [];
    for (const tell of early) tell();
  }

  /** What neither has, this machine's agent says so of. */
  async #toOwner<M extends Method>(
    method: M,
    params: Params<Methods[M]> & { readonly id: InstanceId },
  ): Promise<ResultOf<Methods[M]>> {
    return this.#ask((await this.#owners.of(params.id)) ?? 'host', method, params);
  }

  #ask<M extends Method>(
    kind: UnitKind,
    method: M,
    params: Params<Methods[M]>,
  ): Promise<ResultOf<Methods[M]>> {
    return this.#parts[kind].call(method, params, { timeoutMs });
  }

  #askBoth<M extends Method>(
    method: M,
    params: Params<Methods[M]>,
  ): Promise<[host: ResultOf<Methods[M]>, machines: ResultOf<Methods[M]>]> {
    return Promise.all([this.#ask('host', method, params), this.#ask('vm', method, params)]);
  }
}

/** Whoever serves calls in this process, as one that can be called. */
export function callerOf(handlers: Handlers<AgentProtocol>): Caller<AgentProtocol> {
  return { call: (method, params) => handlers[method](params) };
}
