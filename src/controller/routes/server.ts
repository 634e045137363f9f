// The socket that gateways connect to: run/controller.sock. Owns listening and what each method does with a call;
// the work behind it is passed in.
import { createServer, type Server } from 'node:net';
import { mkdir, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import {
  controllerProtocol,
  gatewayProtocol,
  type ControllerProtocol,
  type GatewayProtocol,
} from '../../protocol/routes.ts';
import { RpcPeer } from '../../protocol/rpc-link.ts';
import type { Logger } from '../../sys/log.ts';
import { BusyElsewhere } from './busy-elsewhere.ts';
import type { GatewayPeer, Gateways } from './gateways.ts';
import { Needs } from './needs.ts';
import type { RoutePublisher } from './publisher.ts';
import type { Traffic } from './traffic.ts';

export interface GatewayServerParts {
  readonly socketPath: string;
  readonly gateways: Gateways;
  readonly publisher: RoutePublisher;
  readonly clock: Clock;
  readonly log: Logger;
  readonly acquire: (need: {
    workload: WorkloadKey;
    generation: string;
    waiting: number;
    deadlineMs: number;
  }) => Promise<InstanceId | null>;
  /** So many requests wait at all gateways, and one has asked for more instances than it needs. */
  readonly onSpare: (workload: WorkloadKey, waiting: number) => void;
  readonly discard: (id: InstanceId, reason: string) => Promise<void>;
  readonly enqueue: (event: {
    workload: WorkloadKey;
    requestId: string;
    event: string;
    clientContext: string;
  }) => Promise<void>;
  /** A gateway came whose instances' use is not known. */
  readonly onGateway: () => void;
  readonly onTraffic: (traffic: Traffic) => void;
  readonly onIdle: (id: InstanceId, sinceMs: number | null) => void;
}

export class GatewayServer {
  readonly #parts: GatewayServerParts;
  readonly #server: Server;
  /** All that are connected; gateways among them are those that have said so. */
  readonly #links = new Set<GatewayPeer>();
  readonly #needs = new Needs<GatewayPeer>();
  readonly #busy: BusyElsewhere<GatewayPeer>;

  private constructor(parts: GatewayServerParts) {
    this.#parts = parts;
    this.#busy = new BusyElsewhere(parts.clock);
    this.#server = createServer((socket) => {
      // Calls can not arrive before this line has run: `peer` is set when the first handler does.
      const peer: GatewayPeer = new RpcPeer<ControllerProtocol, GatewayProtocol>(socket, {
        local: controllerProtocol,
        remote: gatewayProtocol,
        handlers: {
          hello: async ({ pid, place = 0, beside = [] }) => {
            parts.gateways.add(peer, { pid, place, beside });
            parts.onGateway();
            parts.log.info({ gateway: pid, place }, 'gateway connected');
            return parts.publisher.table();
          },
          acquire: async (need) => {
            const answered = this.#needs.asks(peer, need.workload, need.waiting);
            try {
              return { id: await parts.acquire(need) };
            } finally {
              answered();
              // Also before a refusal: what was sent ahead to an instance that could not start is refused with the rest.
              parts.gateways.flush();
            }
          },
          discard: async ({ id, reason }) => {
            await parts.discard(id, reason);
            return {};
          },
          enqueue: async (event) => {
            await parts.enqueue(event);
            return {};
          },
        },
        onEvent: (event) => {
          switch (event.event) {
            case 'traffic':
              parts.onTraffic(this.#busy.withOthers(peer, event.data));
              return;
            case 'idle':
              parts.onIdle(event.data.id, event.data.sinceMs);
              return;
            case 'spare': {
              const { workload, waiting } = event.data;
              parts.onSpare(workload, this.#needs.spares(peer, workload, waiting));
            }
          }
        },
        onClose: () => {
          this.#links.delete(peer);
          this.#busy.gone(peer);
          parts.gateways.remove(peer);
        },
        onDefect: (error, context) => parts.log.error({ err: error, context }, 'a gateway link went wrong'),
      });
      this.#links.add(peer);
    });
  }

  static async listen(parts: GatewayServerParts): Promise<GatewayServer> {
    const self = new GatewayServer(parts);
    await mkdir(dirname(parts.socketPath), { recursive: true, mode: 0o700 });
    // A controller that was killed left its socket's name behind; nobody else listens there in this data directory.
    await unlink(parts.socketPath).catch(() => undefined);
    await new Promise<void>((resolve, reject) => {
      self.#server.once('error', reject);
      self.#server.listen(parts.socketPath, () => resolve());
    });
    return self;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#parts.gateways.close();
    // Also one that came a moment ago and has not said what it is: it would stay, and its end be waited for in vain.
    for (const link of this.#links) link.close();
    await closed;
  }
}
