// The link to the controller: keeps the route table in step, and asks and tells it what the gateway must.
// Without a controller the last table goes on serving. Owns the order of changes; what they cause is the listener's matter.
import { messageOf } from '../../base/errors.ts';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import { RpcClient } from '../../protocol/rpc-client.ts';
import type { Handlers } from '../../protocol/rpc.ts';
import {
  controllerProtocol,
  gatewayProtocol,
  type ControllerProtocol,
  type GatewayProtocol,
  type RouteChange,
} from '../../protocol/routes.ts';
import type { Logger } from '../../sys/log.ts';
import type { TrafficLine } from '../meter.ts';
import type { RouteTable } from '../table.ts';

/** What must reach the controller waits so long for one that restarts. */
const deliveryTimeoutMs = 15_000;

export interface ControllerLinkOptions {
  readonly socketPath: string;
  readonly table: RouteTable;
  /** As in the gateway's tuning. */
  readonly acquireTimeoutMs: number;
  /** Which gateway this is, and who else runs. */
  readonly name: () => { readonly place: number; readonly beside: number[] };
  readonly handlers: Handlers<GatewayProtocol>;
  /** Called after the table has the change. */
  readonly onChange: (change: RouteChange) => void;
  readonly log: Logger;
}

export class ControllerLink {
  readonly #options: ControllerLinkOptions;
  readonly #client: RpcClient<GatewayProtocol, ControllerProtocol>;
  /** Changes that arrive while the whole table is still under way; undefined when it is there. */
  #early: RouteChange[] | undefined = [];
  #hasTable = false;

  constructor(options: ControllerLinkOptions) {
    this.#options = options;
    this.#client = new RpcClient<GatewayProtocol, ControllerProtocol>({
      socketPath: options.socketPath,
      local: gatewayProtocol,
      remote: controllerProtocol,
      handlers: options.handlers,
      onConnect: async (peer) => {
        this.#early = [];
        const table = await peer.call('hello', { pid: process.pid, ...options.name() });
        const early = this.#early;
        this.#early = undefined;
        this.#applyAll(options.table.changesTo(table));
        this.#applyAll(early);
        this.#hasTable = true;
        options.log.info(
          { workloads: table.workloads.length, instances: table.instances.length },
          'routes received',
        );
      },
      onEvent: ({ data }) => {
        if (this.#early === undefined) this.#applyAll(data);
        else this.#early.push(...data);
      },
      onDisconnect: () => options.log.warn('the controller is away; the last routes go on serving'),
      onDefect: (error, context) => options.log.error({ err: error, context }, 'controller link'),
    });
  }

  /** Whether a table was ever received: before that nothing can be served. */
  get hasTable(): boolean {
    return this.#hasTable;
  }

  get connected(): boolean {
    return this.#client.connected;
  }

  /** Resolves when one more instance is usable, with null when it was given up. @throws BellowsError as the protocol says */
  async acquire(workload: WorkloadKey, generation: string, waiting: number): Promise<InstanceId | null> {
    const timeoutMs = this.#options.acquireTimeoutMs;
    const deadlineMs = Date.now() + timeoutMs;
    const { id } = await this.#client.call(
      'acquire',
      { workload, generation, waiting, deadlineMs },
      { timeoutMs },
    );
    return id;
  }

  /** @throws BellowsError Unavailable when it was perhaps not stored */
  async enqueue(
    workload: WorkloadKey,
    requestId: string,
    event: string,
    clientContext: string,
  ): Promise<void> {
    await this.#client.call(
      'enqueue',
      { workload, requestId, event, clientContext },
      { timeoutMs: deliveryTimeoutMs },
    );
  }

  discard(id: InstanceId, reason: string): void {
    this.#options.log.info({ instance: id, reason }, 'instance discarded');
    this.#client
      .call('discard', { id, reason }, { timeoutMs: deliveryTimeoutMs })
      .catch((thrown: unknown) => {
        this.#options.log.warn(
          { instance: id, why: messageOf(thrown) },
          'the controller was not told of an instance to discard',
        );
      });
  }

  /** Reports are worth nothing later: without a link they are dropped. */
  reportTraffic(lines: TrafficLine[]): void {
    this.#client.peer?.emit('traffic', lines);
  }

  reportSpare(workload: WorkloadKey, waiting: number): void {
    this.#client.peer?.emit('spare', { workload, waiting });
  }

  reportIdle(id: InstanceId, sinceMs: number | null): void {
    this.#client.peer?.emit('idle', { id, sinceMs });
  }

  close(): void {
    this.#client.close();
  }

  #applyAll(changes: readonly RouteChange[]): void {
    for (const change of changes) {
      this.#options.table.apply(change);
      this.#options.onChange(change);
    }
  }
}
