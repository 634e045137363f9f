// Sends each request where it belongs: an invocation, a function's URL, an app, the controller, or nowhere.
// Owns that decision's consequences and nothing of how each is served.
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { BellowsError } from '../base/errors.ts';
import type { WorkloadKey } from '../base/ids.ts';
import type { Managed, ManageParams } from '../protocol/beside.ts';
import type { TenantRoute, WorkloadRoute } from '../protocol/routes.ts';
import type { SignatureVerifier } from '../protocol/sigv4.ts';
import type { Logger } from '../sys/log.ts';
import { endWithError, sendError, sendJson } from './answer.ts';
import { serveApp } from './apps/handle.ts';
import type { Apps } from './apps/apps.ts';
import { giveHttp } from './apps/direct-http.ts';
import { serveUpgrade } from './apps/upgrade.ts';
import type { ControllerProxy } from './controller-proxy.ts';
import type { BodyReader } from './body.ts';
import { acceptHeld } from './held/accept.ts';
import type { Held } from './held/held.ts';
import { connectionIdIn, refuseManagement, serveManagement } from './held/management.ts';
import { serveInvoke, type InvokeServices } from './invoke/handle.ts';
import type { ClientRequest, ClientResponse } from './client-exchange.ts';
import { functionRequestOf, type Answer, type FunctionRequest } from './exchange.ts';
import type { Hop, TrustedProxies } from './hop.ts';
import { Http2Request } from './http2/request.ts';
import { Http2Response } from './http2/response.ts';
import type { Served } from './lane/lane-connection.ts';
import type { ListenHandlers } from './listen.ts';
import { boundUnread } from './limits/unread-body.ts';
import { refuseUpgrade } from './limits/refuse-websocket.ts';
import type { RequestRate } from './limits/request-rate.ts';
import type { Connections } from './limits/tenant-connections.ts';
import type { Meter } from './meter.ts';
import { route, type Route } from './router.ts';
import type { RouteTable } from './table.ts';
import { serveUrl } from './url/handle.ts';

export interface DispatchServices extends InvokeServices {
  readonly table: RouteTable;
  readonly apps: Apps;
  readonly connections: Connections;
  readonly held: Held;
  /** Of who manages held connections. */
  readonly managementVerifier: SignatureVerifier<TenantRoute>;
  /** Manages held connections of other gateways. */
  readonly manageElsewhere: (params: ManageParams) => Promise<Managed>;
  readonly controller: ControllerProxy;
  readonly meter: Meter;
  readonly log: Logger;
  readonly proxies: TrustedProxies;
  /** Of requests that are read whole. */
  readonly bodies: BodyReader;
  health(): { readonly status: 'ok' | 'starting' } & Readonly<Record<string, unknown>>;
}

type WorkloadWay = Extract<Route, { to: 'workload' }>;

export class Dispatcher implements ListenHandlers {
  readonly #services: DispatchServices;

  constructor(services: DispatchServices) {
    this.#services = services;
  }

  readonly onRequest = (request: ClientRequest, response: ClientResponse, expectsContinue: boolean): void => {
    const { table, controller, log, proxies, bodies } = this.#services;
    boundUnread(request, response);
    // A connection that breaks is the business of whoever streams over it; unheard, its error would end the process.
    response.on('error', ignore);
    request.on('error', ignore);
    const way = route(request.url ?? '', request.headers.host, table);
    switch (way.to) {
      case 'invoke':
        // A deployed function's calls are answered here; whatever is wrong with others, too.
        serveInvoke(
          functionRequestOf({ request, response, expectsContinue }, proxies.hopOf(request.socket), bodies),
          response,
          way,
          this.#services,
        );
        return;
      case 'workload':
        this.#serveWorkload(request, response, way, expectsContinue);
        return;
      case 'controller':
        controller
          .serve(request, response, proxies.hopOf(request.socket), expectsContinue)
          .catch((thrown: unknown) => this.#defect(thrown, response));
        return;
      case 'health': {
        const health = this.#services.health();
        sendJson(response, health.status === 'ok' ? 200 : 503, health);
        return;
      }
      case 'nowhere':
        log.debug({ url: request.url, host: request.headers.host }, 'nothing there');
        sendError(response, new BellowsError('NotFound', way.message, way.hint));
    }
  };

  /** What the lane has parsed: functions are served, some apps get the connection, everything else is left to node:http. */
  readonly onPlain: ListenHandlers['onPlain'] = {
    serve: (request, host, answer): Served => {
      const way = route(request.url, host, this.#services.table);
      switch (way.to) {
        case 'invoke':
          serveInvoke(request, answer, way, this.#services);
          return { workload: null };
        case 'workload':
          if (way.workload.kind === 'app') return this.#plainForApp(request.hop, way);
          this.#serveFunction(request, answer, way);
          return { workload: way.workload.key };
        default:
          return 'notForTheLane';
      }
    },
    carried: (workload, bytesIn, bytesOut) => this.#services.meter.countBytes(workload, bytesIn, bytesOut),
  };

  /**
   * A connection on which an app's host was asked for is the app's, if the app asked for that. Not over TLS, which needs our
   * keys, nor from a proxy, whose connections carry many clients' requests for many hosts.
   */
  #plainForApp(hop: Hop, { workload, prefix }: WorkloadWay): Served {
    const { apps, connections, rates, meter } = this.#services;
    const pool = apps.pool(workload.key);
    const asked = workload.directHttp === true && prefix === '';
    if (!asked || pool === undefined || hop.secure || hop.proxies !== undefined) return 'notForTheLane';
    const parts = {
      pool,
      meter,
      connections: connections.of(workload.tenant),
      rate: rates.of(workload.tenant),
    };
    return {
      giveAway: (socket, read) =>
        giveHttp(parts, socket, read).catch((thrown: unknown) => {
          this.#services.onDefect(thrown);
          socket.destroy();
          return undefined;
        }),
    };
  }

  readonly onLeavesLane = (socket: Socket, bytesUnused: number): void =>
    this.#services.meter.markCounted(socket, bytesUnused);

  readonly wantsUpgrade = (request: IncomingMessage): boolean => {
    const way = route(request.url ?? '', request.headers.host, this.#services.table);
    if (way.to !== 'workload') return false;
    // A function's URL takes plain requests only, and a client that merely offers HTTP/2 is answered as ever.
    return way.workload.kind === 'app' || asksForWebSocket(way.workload, request);
  };

  readonly onUpgrade = (request: IncomingMessage, socket: Socket, head: Buffer): void => {
    const way = route(request.url ?? '', request.headers.host, this.#services.table);
    const served = way.to === 'workload' ? this.#serveUpgrade(request, socket, head, way) : undefined;
    if (served === undefined) {
      // It was there when the upgrade was let in.
      const error = new BellowsError('NotFound', 'There is nothing here that takes an upgrade any more.');
      endWithError(socket, error.status, 'Not Found', error.toRecord());
      return;
    }
    served.catch((thrown: unknown) => {
      this.#services.onDefect(thrown);
      socket.destroy();
    });
  };

  /** Undefined when there is nobody to serve it. */
  #serveUpgrade(
    request: IncomingMessage,
    socket: Socket,
    head: Buffer,
    way: WorkloadWay,
  ): Promise<void> | undefined {
    const { apps, functions, held, rates, meter } = this.#services;
    const { workload, url, prefix } = way;
    const rate = rates.of(workload.tenant);
    if (!rate.enter()) {
      countRefused(meter, way);
      refuseUpgrade(request, socket, rate.refusal(), rate.retryAfterSeconds);
      return Promise.resolve();
    }
    const connections = this.#services.connections.of(workload.tenant);
    const hop = this.#services.proxies.hopOf(socket);
    const ofFunction = held.function(workload.key);
    if (ofFunction !== undefined) {
      const pool = functions.pool(workload.key);
      if (pool === undefined) return undefined;
      return acceptHeld({
        request,
        socket,
        head,
        url,
        hop,
        pool,
        held: ofFunction,
        meter,
        connections,
      });
    }
    const pool = apps.pool(workload.key);
    if (pool === undefined) return undefined;
    return serveUpgrade({ request, socket, hop, head, url, prefix, pool, meter, connections });
  }

  #serveWorkload(
    request: ClientRequest,
    response: ClientResponse,
    way: WorkloadWay,
    expectsContinue: boolean,
  ): void {
    const { apps, bodies, connections, rates, meter, proxies } = this.#services;
    const { workload, url, prefix } = way;
    const hop = proxies.hopOf(request.socket);
    response.once('close', () => this.#count(workload.key, request, response));
    if (workload.kind === 'function') {
      const reading = { request, response, expectsContinue };
      this.#serveFunction(functionRequestOf(reading, hop, bodies), response, way);
      return;
    }
    const pool = apps.pool(workload.key);
    if (pool === undefined) {
      this.#defect(new Error(`no pool for ${workload.key}`), response);
      return;
    }
    if (wantsPage(request, prefix, url)) {
      // Without the slash, a page's relative links would point beside the app.
      response.writeHead(308, ['Location', `${prefix}${url}`, 'Content-Length', '0']);
      response.end();
      return;
    }
    const rate = rates.of(workload.tenant);
    if (!rate.enter()) {
      countRefused(meter, way);
      sendError(response, rate.refusal(), rate.retryAfterSeconds);
      return;
    }
    const ofTenant = connections.of(workload.tenant);
    serveApp({
      request,
      response,
      hop,
      url,
      prefix,
      expectsContinue,
      pool,
      meter,
      connections: ofTenant,
    }).catch((thrown: unknown) => this.#defect(thrown, response));
  }

  /** One connection carries many requests: over HTTP/1.1 one after the other, over HTTP/2 at once. */
  #count(workload: WorkloadKey, request: ClientRequest, response: ClientResponse): void {
    const { meter } = this.#services;
    if (request instanceof Http2Request && response instanceof Http2Response)
      meter.countBytes(workload, request.bytesReceived, response.bytesSent);
    else meter.countConnection(workload, request.socket);
  }

  #serveFunction(request: FunctionRequest, response: Answer, way: WorkloadWay): void {
    const { table, functions, held, rates, managementVerifier, meter, lines } = this.#services;
    const { workload, url } = way;
    const pool = functions.pool(workload.key);
    if (pool === undefined) {
      this.#defect(new Error(`no pool for ${workload.key}`), response);
      return;
    }
    const ofFunction = held.function(workload.key);
    const encodedId = ofFunction === undefined ? undefined : connectionIdIn(url);
    const rate = rates.of(workload.tenant);
    if (!rate.enter()) {
      countRefused(meter, way);
      if (encodedId === undefined) refuseAsUrl(response, rate);
      else refuseManagement(response, rate.refusal());
      return;
    }
    if (ofFunction !== undefined && encodedId !== undefined) {
      const line = lines.ofWorkload(workload.key);
      const verifier = managementVerifier;
      const elsewhere = this.#services.manageElsewhere;
      serveManagement({
        request,
        response,
        workload,
        encodedId,
        held: ofFunction,
        verifier,
        elsewhere,
        line,
      });
      return;
    }
    const accountId = table.tenant(workload.tenant)?.accountId ?? '';
    serveUrl({ request, response, url, pool, accountId, meter, line: lines.ofWorkload(workload.key) });
  }

  #defect(thrown: unknown, response: Answer): void {
    this.#services.onDefect(thrown);
    sendError(
      response,
      new BellowsError('Internal', 'Bellows failed to do this; the details are in its log.'),
    );
  }
}

function ignore(): void {}

function countRefused(meter: Meter, { workload }: WorkloadWay): void {
  const counter = meter.of(workload.key);
  counter.requests += 1;
  counter.throttles += 1;
}

/** As a function's URL tells of what is throttled. */
function refuseAsUrl(response: Answer, rate: RequestRate): void {
  const { members, message } = rate.lambdaRefusal();
  sendJson(response, 429, { message: 'Too Many Requests', Reason: members['Reason'], detail: message }, [
    'Retry-After',
    String(rate.retryAfterSeconds),
  ]);
}

function asksForWebSocket({ websocket }: WorkloadRoute, request: IncomingMessage): boolean {
  return websocket !== null && request.headers.upgrade?.toLowerCase() === 'websocket';
}

/** A browser that asks for `/w/TENANT/NAME` itself. */
function wantsPage(request: ClientRequest, prefix: string, url: string): boolean {
  if (prefix === '' || request.method !== 'GET') return false;
  const asked = request.url ?? '';
  const atRoot = asked.length === prefix.length + url.length - 1;
  return atRoot && request.headers.accept?.includes('text/html') === true;
}
