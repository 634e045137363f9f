// Gives a client's HTTP connection to an app that asks for that, before its first request is answered: what the client sends
// on it later never passes the gateway. Owns what is tried, and that a connection is served here as ever when it does not
// succeed. Which connections may be given away, dispatch.ts decides.
import type { Socket } from 'node:net';
import type { InstanceId } from '../../base/ids.ts';
import type { RequestRate } from '../limits/request-rate.ts';
import type { TenantConnections } from '../limits/tenant-connections.ts';
import type { Meter } from '../meter.ts';
import type { AppPool } from './app-pool.ts';
import { handOver } from './hand-over.ts';

const none: ReadonlySet<InstanceId> = new Set();

export interface DirectHttpParts {
  readonly pool: AppPool;
  readonly meter: Meter;
  /** The tenant's, as `rate`. */
  readonly connections: TenantConnections;
  readonly rate: RequestRate;
}

/** @returns what was read from it when it is to be served here after all; undefined when it is the instance's, or gone */
export async function giveHttp(
  { pool, meter, connections, rate }: DirectHttpParts,
  socket: Socket,
  read: Buffer,
): Promise<Buffer | undefined> {
  // Whoever is over a limit, or has to wait, is answered by those who serve it here.
  const instance = await pool.take(none, 0);
  if (instance?.handover === undefined || socket.destroyed || !connections.isKnown) return read;
  if (!connections.enter()) return read;
  if (!rate.enter()) {
    connections.leave();
    return read;
  }
  const { key } = pool.route;
  const chunks = [read];
  socket.once('close', connections.leave);
  const leave = (): void => {
    socket.off('close', connections.leave);
    connections.leave();
  };
  instance.openRequests += 1;
  try {
    const passed = await handOver(instance, instance.handover, socket, chunks, () => {
      meter.of(key).requests += 1;
      meter.countConnection(key, socket);
      // At once: counted by us and as the instance's, it would keep another out.
      leave();
    });
    if (passed === 'passed' || passed === 'clientGone') return undefined;
    leave();
    return Buffer.concat(chunks);
  } finally {
    pool.requestEnded(instance);
  }
}
