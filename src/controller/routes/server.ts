// The socket that gateways connect to: run/controller.sock. Owns listening and what each method does with a call;
// the work behind it is passed in.
import { createServer, type Server } from 'node:net';
import { mkdir, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import {
  controllerProtocol,
  gatewayProtocol,
  type ControllerProtocol,
  type GatewayProtocol,
} from '../../protocol/routes.ts';
import { RpcPeer } from '../../protocol/rpc-link.ts';
import type { EventOf } from '../../protocol/rpc.ts';
import type { Logger } from '../../sys/log.ts';
import type { GatewayPeer, Gateways } from './gateways.ts';
import type { RoutePublisher } from './publisher.ts';

export type Traffic = Extract<EventOf<GatewayProtocol>, { event: 'traffic' }>['data'];

export interface GatewayServerParts {
  readonly socketPath: string;
  readonly gateways: Gateways;
  readonly publisher: RoutePublisher;
  readonly log: Logger;
  readonly acquire: (need: {
    workload: WorkloadKey;
    generation: string;
    waiting: number;
    deadlineMs: number;
  }) => Promise<InstanceId | null>;
  /** A gateway says that fewer requests wait than it has asked instances for. */
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

  private constructor(parts: GatewayServerParts) {
    this.#parts = parts;
    this.#server = createServer((socket) => {
      // Calls can not arrive before this line has run: `peer` is set when the first handler does.
      const peer: GatewayPeer = new RpcPeer<ControllerProtocol, GatewayProtocol>(socket, {
        local: controllerProtocol,
        remote: gatewayProtocol,
        handlers: {
          hello: async ({ pid }) => {
            parts.gateways.add(peer);
            parts.onGateway();
            parts.log.info({ gateway: pid }, 'gateway connected');
            return parts.publisher.table();
          },
          acquire: async (need) => {
            try {
              return { id: await parts.acquire(need) };
            } finally {
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
              parts.onTraffic(event.data);
              return;
            case 'idle':
              parts.onIdle(event.data.id, event.data.sinceMs);
              return;
            case 'spare':
              parts.onSpare(event.data.workload, event.data.waiting);
          }
        },
        onClose: () => {
          this.#links.delete(peer);
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
