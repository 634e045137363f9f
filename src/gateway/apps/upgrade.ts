// Serves an upgrade (WebSocket or any other) to an app: the client's socket itself is handed to the instance, so that
// the gateway is off the path; an app behind a plain port gets a tunnel. Owns choosing, retrying and the limit.
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import { MAX_PAYLOAD_BYTES } from '../../sys/fd-passing.ts';
import { endWithError } from '../answer.ts';
import { appLimits } from '../config.ts';
import type { Hop } from '../hop.ts';
import { refuseConnection } from '../limits/refuse-connection.ts';
import type { TenantConnections } from '../limits/tenant-connections.ts';
import type { Meter } from '../meter.ts';
import type { AppPool } from './app-pool.ts';
import { handOver, type Passed } from './hand-over.ts';
import { upgradeHead } from './headers.ts';
import { tunnel } from './tunnel.ts';

export interface UpgradeExchange {
  readonly request: IncomingMessage;
  readonly socket: Socket;
  readonly hop: Hop;
  /** What the client sent after the request's head, as far as it was read. */
  readonly head: Buffer;
  readonly url: string;
  readonly prefix: string;
  readonly pool: AppPool;
  readonly meter: Meter;
  /** The tenant's. */
  readonly connections: TenantConnections;
}

export async function serveUpgrade(exchange: UpgradeExchange): Promise<void> {
  const { socket, pool, meter, connections } = exchange;
  const { key } = pool.route;
  meter.of(key).requests += 1;
  socket.setTimeout(0);
  if (!connections.isKnown) await connections.whenKnown();
  if (socket.destroyed) return;
  if (!connections.enter()) {
    meter.of(key).throttles += 1;
    refuseConnection(exchange.request, socket, connections);
    return;
  }
  socket.once('close', connections.leave);
  const passed = await passToOne(exchange);
  if (passed === 'passed') return;
  if (passed === 'clientGone') {
    socket.destroy();
    return;
  }
  meter.of(key).errors += 1;
  if (passed === 'tooMuch') {
    const error = new BellowsError(
      'PayloadTooLarge',
      `More than ${MAX_PAYLOAD_BYTES} bytes were sent before the upgrade was answered.`,
    );
    endWithError(socket, 413, 'Content Too Large', error.toRecord());
  } else {
    const error = new BellowsError(
      'NotReady',
      `No instance of ${key} is up.`,
      'It may be restarting, or about to wake: connect again in a moment, or look at `bellows ps`.',
    );
    endWithError(socket, 503, 'Service Unavailable', error.toRecord(), ['Retry-After', '1']);
  }
}

async function passToOne({
  request,
  socket,
  hop,
  head,
  url,
  prefix,
  pool,
  meter,
  connections,
}: UpgradeExchange): Promise<Passed> {
  const origin = { hop, host: request.headers.host, prefix };
  const chunks = [upgradeHead(request.method ?? 'GET', url, request.rawHeaders, origin)];
  if (head.length > 0) chunks.push(head);
  const deadlineMs = performance.now() + pool.waitMs;
  const refused = new Set<InstanceId>();
  while (performance.now() < deadlineMs) {
    const instance = await pool.take(refused, deadlineMs - performance.now());
    if (socket.destroyed) return 'clientGone';
    if (instance === undefined) break;
    let passed: Passed;
    // It is on its way to the instance's count: until it is there, it counts as one that is open.
    instance.openRequests += 1;
    try {
      // Encrypted, it is of no use to anybody without this process's keys and state.
      passed = await (instance.handover === undefined || hop.secure
        ? tunnel(instance, socket, chunks, (connection) => meter.countConnection(pool.route.key, connection))
        : handOver(instance, instance.handover, socket, chunks, () => {
            meter.countConnection(pool.route.key, socket);
            // At once, not when our copy is closed: counted by us and as the instance's, it would keep another out.
            socket.off('close', connections.leave);
            connections.leave();
          }));
    } finally {
      pool.requestEnded(instance);
    }
    if (passed !== 'instanceGone') return passed;
    refused.add(instance.id);
    if (pool.pick(refused) === undefined) {
      await sleep(appLimits.retryPauseMs);
      refused.clear();
    }
  }
  return 'instanceGone';
}
