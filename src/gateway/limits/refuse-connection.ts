// Refuses an upgrade beyond its tenant's limit of connections. Owns the words; the limit is tenant-connections.ts.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { refuseUpgrade } from './refuse-websocket.ts';
import type { TenantConnections } from './tenant-connections.ts';

export function refuseConnection(
  request: IncomingMessage,
  socket: Duplex,
  connections: TenantConnections,
): void {
  const { tenant, limit } = connections;
  const reason = `The tenant ${tenant} has as many connections open as its limit allows: ${limit}.`;
  refuseUpgrade(request, socket, connections.refusal(), 1, reason);
}
