// Serves an HTTP request to an app: finds an instance, or waits for one that restarts, and forwards.
import { maxHeaderSize } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import { sendError } from '../answer.ts';
import { appLimits } from '../config.ts';
import type { ClientRequest, ClientResponse } from '../client-exchange.ts';
import type { Hop } from '../hop.ts';
import type { TenantConnections } from '../limits/tenant-connections.ts';
import type { Meter } from '../meter.ts';
import type { AppPool } from './app-pool.ts';
import { forward, type ForwardEnd } from './forward.ts';
import { forwardedRequestHeaders } from './headers.ts';

export interface AppExchange {
  readonly request: ClientRequest;
  readonly response: ClientResponse;
  readonly hop: Hop;
  /** Path and query below the app's own root. */
  readonly url: string;
  readonly prefix: string;
  readonly expectsContinue: boolean;
  readonly pool: AppPool;
  readonly meter: Meter;
  /** The tenant's. */
  readonly connections: TenantConnections;
}

const whatItDid = {
  failed: 'ended the connection before it answered',
  headTooLarge: `answered with headers of more than ${maxHeaderSize} bytes, which are not passed on`,
  notHttp: 'answered with what is no valid HTTP/1.1',
} as const;

export async function serveApp(exchange: AppExchange): Promise<void> {
  const { response, pool, meter, connections } = exchange;
  const { key } = pool.route;
  meter.of(key).requests += 1;
  if (!connections.isKnown) await connections.whenKnown();
  if (response.destroyed) return;
  if (!connections.enter()) {
    meter.of(key).throttles += 1;
    sendError(response, connections.refusal(), 1);
    return;
  }
  // A connection is in use from a request until its answer is complete; between two it is the gateway's own.
  response.once('close', connections.leave);
  const end = await forwardToOne(exchange);
  if (end === 'answered' || end === 'clientGone') return;
  meter.of(key).errors += 1;
  if (end !== 'unreachable') {
    sendError(
      response,
      new BellowsError(
        'WorkloadFailed',
        `The app ${key} ${whatItDid[end]}.`,
        `Look into its log with \`bellows logs ${pool.route.name}\`.`,
      ),
    );
  } else {
    sendError(
      response,
      new BellowsError(
        'NotReady',
        `No instance of ${key} is up.`,
        'It may be restarting, or about to wake: try again in a moment, or look at `bellows ps`.',
      ),
      1,
    );
  }
}

async function forwardToOne({
  request,
  response,
  hop,
  url,
  prefix,
  expectsContinue,
  pool,
}: AppExchange): Promise<ForwardEnd> {
  const origin = { hop, host: request.headers.host, prefix };
  const headers = forwardedRequestHeaders(
    request.rawHeaders,
    origin,
    request.headers['transfer-encoding'] !== undefined,
  );
  const deadlineMs = performance.now() + pool.waitMs;
  const refused = new Set<InstanceId>();
  for (;;) {
    const instance = await pool.take(refused, Math.max(0, deadlineMs - performance.now()));
    if (response.destroyed) return 'clientGone';
    if (instance === undefined) return 'unreachable';
    instance.openRequests += 1;
    let end: ForwardEnd;
    try {
      end = await forward(request, response, instance.upstream, {
        url,
        headers,
        expectsContinue,
        line: instance.line,
      });
    } finally {
      pool.requestEnded(instance);
    }
    if (end !== 'unreachable') return end;
    refused.add(instance.id);
    if (pool.pick(refused) === undefined) {
      await sleep(appLimits.retryPauseMs);
      refused.clear();
    }
    if (performance.now() >= deadlineMs) return 'unreachable';
  }
}
