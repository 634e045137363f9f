// A driver of units that are not there: each has a MockAgent and a link that can be cut and mended by the test.
// Messages pass the protocol's schemas as JSON, as on a real link, so that a test can not rely on what would not travel.
import { BellowsError } from '../../base/errors.ts';
import type { UnitId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import { agentProtocol, type AgentProtocol } from '../../protocol/agent.ts';
import type { Caller, Params, ResultOf } from '../../protocol/rpc.ts';
import { noResources } from '../no-resources.ts';
import {
  defaultUnitCapabilities,
  type Unit,
  type UnitDriver,
  type UnitEvent,
  type UnitHandle,
} from '../port.ts';
import { MockAgent } from './mock-agent.ts';
import type { AgentMethod } from './script.ts';

type Methods = AgentProtocol['methods'];

const driverName = 'mock';
/** As a real link waits for its agent when the caller says nothing. */
const defaultTimeoutMs = 10_000;

/** A unit as the test sees it: what is behind the link, and the link itself. */
export class MockUnit {
  readonly agent: MockAgent;
  readonly size: Resources;
  #connected = true;
  #changed = Promise.withResolvers<void>();
  readonly #listeners = new Set<(event: UnitEvent) => void>();

  constructor(size: Resources, nowMs?: () => number) {
    this.size = size;
    this.agent = new MockAgent(size, nowMs);
    this.agent.listen((event) => {
      if (this.#connected) this.tell({ type: 'agent', event: passEvent(event) });
    });
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** Resolves at the next cut or mend. */
  get changed(): Promise<void> {
    return this.#changed.promise;
  }

  /** Cuts the link: calls under way fail with Unavailable, later ones wait. The agent and its instances live on. */
  disconnect(): void {
    this.#set(false);
    this.tell({ type: 'disconnected' });
  }

  reconnect(): void {
    this.#set(true);
    this.tell({ type: 'connected' });
  }

  subscribe(listener: (event: UnitEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(event: UnitEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  #set(connected: boolean): void {
    this.#connected = connected;
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers();
    resolve();
  }
}

export class MockDriver implements UnitDriver {
  readonly name = driverName;
  readonly capabilities = { ...defaultUnitCapabilities, provision: true };
  readonly #units = new Map<UnitId, MockUnit>();
  readonly #nowMs: (() => number) | undefined;

  constructor(nowMs?: () => number) {
    this.#nowMs = nowMs;
  }

  /** The test's side of a provisioned unit. */
  unit(id: UnitId): MockUnit {
    const unit = this.#units.get(id);
    if (unit === undefined) throw new BellowsError('NotFound', `There is no unit ${id}.`);
    return unit;
  }

  async provision(id: UnitId, size: Resources): Promise<Unit> {
    if (this.#units.has(id)) throw new BellowsError('Conflict', `The unit ${id} exists.`);
    const mock = new MockUnit(size, this.#nowMs);
    this.#units.set(id, mock);
    return new LinkedUnit(id, mock);
  }

  async adopt(handle: UnitHandle): Promise<Unit> {
    if (handle.driver !== driverName)
      throw new BellowsError('NotFound', `${handle.id} is no unit of the mock driver.`);
    return new LinkedUnit(handle.id, this.unit(handle.id));
  }

  async destroy(unit: Unit): Promise<void> {
    const mock = this.unit(unit.handle.id);
    this.#units.delete(unit.handle.id);
    await unit.close();
    mock.tell({ type: 'lost', reason: 'destroyed' });
  }

  resize = (): Promise<never> => unsupported('resized');
  claim = (): Promise<never> => unsupported('claimed from');
  release = (): Promise<never> => unsupported('released to');
  snapshot = (): Promise<never> => unsupported('snapshotted');
}

function unsupported(what: string): Promise<never> {
  return Promise.reject(new BellowsError('NotSupportedHere', `A mock unit can not be ${what}.`));
}

class LinkedUnit implements Unit {
  readonly handle: UnitHandle;
  readonly provisioned: Resources;
  readonly claimed = noResources;
  readonly pid = null;
  readonly agent: Caller<AgentProtocol>;
  readonly #mock: MockUnit;
  readonly #closed = Promise.withResolvers<void>();
  readonly #subscriptions = new Set<() => void>();
  #isClosed = false;

  constructor(id: UnitId, mock: MockUnit) {
    this.handle = { version: 1, driver: driverName, id, data: {} };
    this.provisioned = mock.size;
    this.#mock = mock;
    this.agent = {
      call: (name, params, options) => this.#call(name, params, options?.timeoutMs ?? defaultTimeoutMs),
    };
  }

  subscribe(listener: (event: UnitEvent) => void): () => void {
    const end = this.#mock.subscribe(listener);
    this.#subscriptions.add(end);
    return end;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#closed.resolve();
    for (const end of this.#subscriptions) end();
  }

  async #call<M extends AgentMethod>(
    name: M,
    params: Params<Methods[M]>,
    timeoutMs: number,
  ): Promise<ResultOf<Methods[M]>> {
    const deadline = Promise.withResolvers<'time out'>();
    const timer = setTimeout(() => deadline.resolve('time out'), timeoutMs);
    try {
      while (!this.#mock.connected && !this.#isClosed) {
        const first = await Promise.race([this.#mock.changed, this.#closed.promise, deadline.promise]);
        if (first === 'time out')
          throw new BellowsError('Unavailable', `The agent of ${this.handle.id} can not be reached.`);
      }
      if (this.#isClosed)
        throw new BellowsError('Unavailable', `The link to ${this.handle.id} was closed on this side.`);
      const schema = agentProtocol.methods[name];
      const handler = this.#mock.agent.handlers[name] as (params: unknown) => Promise<unknown>;
      const answer = handler(schema.params.parse(asJson(params))).then((result) => ({ result }));
      const cut = Promise.race([this.#mock.changed, this.#closed.promise]);
      const first = await Promise.race([answer, cut, deadline.promise]);
      if (first === 'time out')
        throw new BellowsError('Unavailable', `No answer to ${name} within ${timeoutMs} ms.`);
      if (first === undefined)
        throw new BellowsError('Unavailable', `The link closed before ${name} was answered.`);
      return schema.result.parse(asJson(first.result)) as ResultOf<Methods[M]>;
    } finally {
      clearTimeout(timer);
    }
  }
}

function asJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

function passEvent(event: Extract<UnitEvent, { type: 'agent' }>['event']): typeof event {
  return {
    event: event.event,
    data: agentProtocol.events[event.event].parse(asJson(event.data)),
  } as typeof event;
}
