// How an app's server is reached: a Unix socket or a port of this machine, or through the door of a virtual machine. Owns the
// connections' making, and that those for requests are kept open.
import { Agent } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { InstanceId } from '../../base/ids.ts';
import type { Endpoint } from '../../protocol/agent.ts';
import { instanceSockets } from '../../protocol/instance.ts';
import { connectThroughDoor, type Door } from '../links/door.ts';
import type { Upstream } from './forward.ts';

/** Idle connections kept to one instance: more than a busy page loads from at once. */
const maxIdleConnections = 64;

export interface AppUpstream extends Upstream {
  /** One connection of its own, half-closed at will. Rejects when nothing answers. */
  connect(): Promise<Socket>;
}

export function hostUpstream({ runDirectory, mode, port }: Endpoint): AppUpstream {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: maxIdleConnections });
  if (mode === 'tcp' && port !== null) {
    const address = { host: '127.0.0.1', port };
    return { agent, address, connect: () => connected(connect({ ...address, allowHalfOpen: true })) };
  }
  const path = join(runDirectory, instanceSockets.http);
  return {
    agent,
    address: { socketPath: path },
    connect: () => connected(connect({ path, allowHalfOpen: true })),
  };
}

export function doorUpstream(instance: InstanceId, { mode }: Endpoint, door: Door): AppUpstream {
  const open = (): Promise<Socket> =>
    connectThroughDoor(
      door,
      mode === 'tcp' ? { kind: 'port', instance } : { kind: 'socket', instance, socket: 'http' },
    );
  return {
    agent: new DoorAgent(open),
    address: { host: door.host, port: door.port },
    connect: open,
  };
}

class DoorAgent extends Agent {
  readonly #open: () => Promise<Socket>;

  constructor(open: () => Promise<Socket>) {
    super({ keepAlive: true, maxFreeSockets: maxIdleConnections });
    this.#open = open;
  }

  override createConnection(
    _options: object,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    if (callback !== undefined) void this.#create(callback);
    return undefined;
  }

  async #create(callback: (error: Error | null, stream: Duplex) => void): Promise<void> {
    const opened = await this.#open().catch((error: Error) => error);
    if (opened instanceof Error) {
      // Node takes an error alone here, which its types do not say.
      callback(opened, undefined as unknown as Duplex);
      return;
    }
    callback(null, opened);
    // It was paused so that nothing is lost; the request listens from the next tick on, before this takes effect.
    opened.resume();
  }
}

function connected(socket: Socket): Promise<Socket> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}
