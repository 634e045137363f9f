// The unit that is this machine: its agent is started by the supervisor, so to provision or adopt it is to connect.
// Owns the link to the agent's socket and what is known from `hello`. It can not be claimed from, resized or made anew.
import { BellowsError } from '../../base/errors.ts';
import { hostUnitId, type UnitId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import { agentProtocol, agentProtocolVersion, type AgentProtocol } from '../../protocol/agent.ts';
import { RpcClient } from '../../protocol/rpc-client.ts';
import type { Caller, Protocol } from '../../protocol/rpc.ts';
import { noResources } from '../no-resources.ts';
import {
  defaultUnitCapabilities,
  type Unit,
  type UnitDriver,
  type UnitEvent,
  type UnitHandle,
} from '../port.ts';

const driverName = 'host';
/** An agent that is just being started, or started again, is there within a second or two. */
const defaultConnectTimeoutMs = 10_000;

/** The controller serves nothing to the agent. */
const nothingServed = { methods: {}, events: {} } as const satisfies Protocol;

export interface HostDriverOptions {
  /** The agent's: `agentSocket` of src/sys/layout.ts. */
  readonly agentSocket: string;
  /** How long `provision` and `adopt` wait for the agent before they fail with Unavailable. */
  readonly connectTimeoutMs?: number;
  /** Told of an agent that speaks another protocol and of messages that do not fit their schema. */
  readonly onDefect: (error: unknown, context: string) => void;
}

export class HostDriver implements UnitDriver {
  readonly name = driverName;
  readonly capabilities = defaultUnitCapabilities;
  readonly #options: HostDriverOptions;

  constructor(options: HostDriverOptions) {
    this.#options = options;
  }

  /** `size` is not heeded: the machine is as large as it is, and the unit's `provisioned` says how large. */
  async provision(id: UnitId, _size: Resources): Promise<Unit> {
    if (id !== hostUnitId) {
      throw new BellowsError(
        'NotSupportedHere',
        `The unit ${id} can not be made: the host driver has "${hostUnitId}" alone.`,
      );
    }
    return HostUnit.connect(this.#options);
  }

  async adopt(handle: UnitHandle): Promise<Unit> {
    if (handle.driver !== driverName || handle.id !== hostUnitId) {
      throw new BellowsError(
        'NotFound',
        `The unit ${handle.id} of driver ${handle.driver} is not this machine.`,
      );
    }
    return HostUnit.connect(this.#options);
  }

  resize = (): Promise<never> => unsupported('resized');
  claim = (): Promise<never> => unsupported('claimed from');
  release = (): Promise<never> => unsupported('released to');
  snapshot = (): Promise<never> => unsupported('snapshotted');
  destroy = (): Promise<never> => unsupported('destroyed');
}

function unsupported(what: string): Promise<never> {
  return Promise.reject(
    new BellowsError('NotSupportedHere', `The host unit is this machine and can not be ${what}.`),
  );
}

class HostUnit implements Unit {
  readonly handle: UnitHandle = { version: 1, driver: driverName, id: hostUnitId, data: {} };
  readonly claimed = noResources;
  readonly pid = null;
  readonly #client: RpcClient<typeof nothingServed, AgentProtocol>;
  readonly #listeners = new Set<(event: UnitEvent) => void>();
  readonly #firstHello = Promise.withResolvers<void>();
  #provisioned: Resources = noResources;

  private constructor({ agentSocket, onDefect }: HostDriverOptions) {
    this.#client = new RpcClient({
      socketPath: agentSocket,
      local: nothingServed,
      handlers: {},
      remote: agentProtocol,
      onConnect: async (peer) => {
        const hello = await peer.call('hello', {});
        if (hello.protocolVersion !== agentProtocolVersion) throw this.#refuse(hello.protocolVersion);
        this.#provisioned = hello.capacity;
        this.#firstHello.resolve();
        this.#tell({ type: 'connected' });
      },
      onDisconnect: () => this.#tell({ type: 'disconnected' }),
      onEvent: (event) => this.#tell({ type: 'agent', event }),
      onDefect,
    });
  }

  /** @throws BellowsError Unavailable when no agent answers in time, NotSupportedHere when it speaks another protocol. */
  static async connect(options: HostDriverOptions): Promise<HostUnit> {
    const unit = new HostUnit(options);
    const timeoutMs = options.connectTimeoutMs ?? defaultConnectTimeoutMs;
    const timer = setTimeout(() => {
      const message = `No agent answers at ${options.agentSocket} within ${timeoutMs} ms.`;
      unit.#firstHello.reject(
        new BellowsError('Unavailable', message, 'See the agent’s log for why it does not start.'),
      );
    }, timeoutMs);
    try {
      await unit.#firstHello.promise;
      return unit;
    } catch (thrown) {
      await unit.close();
      throw thrown;
    } finally {
      clearTimeout(timer);
    }
  }

  get provisioned(): Resources {
    return this.#provisioned;
  }

  get agent(): Caller<AgentProtocol> {
    return this.#client;
  }

  subscribe(listener: (event: UnitEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    this.#client.close();
  }

  #refuse(version: number): BellowsError {
    const error = new BellowsError(
      'NotSupportedHere',
      `The agent speaks version ${version} of its protocol, this process version ${agentProtocolVersion}.`,
      'Stop Bellows and start it again, so that all of its processes are of one version.',
    );
    this.#firstHello.reject(error);
    return error;
  }

  #tell(event: UnitEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
