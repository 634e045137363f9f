// The controller's HTTP server: which of its parts a path belongs to, and the last resort for what goes wrong.
// Owns the socket's time-outs. Listening is the entry's (controller-main.ts); nothing here is on a data path.
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { BellowsError } from '../base/errors.ts';
import type { Clock } from '../base/clock.ts';
import type { ControlPlane } from '../controller/control-plane.ts';
import type { Layout } from '../sys/layout.ts';
import type { Logger } from '../sys/log.ts';
import { AdminToken } from './admin-token.ts';
import { CodeLinks, codeLinkPrefix } from './code-link.ts';
import { loadDashboard } from './dashboard-files.ts';
import { writeAnswer, type Answer } from './http/answer.ts';
import { BodyReader } from './http/body.ts';
import { isLambdaPath, lambdaHandler } from './lambda/serve.ts';
import { renderMetrics } from './metrics.ts';
import { v1Failure, v1Handler } from './v1/serve.ts';

export interface ApiOptions {
  readonly control: ControlPlane;
  readonly layout: Layout;
  readonly adminToken: string;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A 50 MB archive over a line of 1 Mbit/s takes 7 minutes. */
const requestTimeoutMs = 600_000;
/** The gateway keeps its connections to us; it, not we, closes them. */
const keepAliveTimeoutMs = 120_000;

export async function createApiServer(options: ApiOptions): Promise<Server> {
  const { control, log, layout, clock } = options;
  const adminToken = new AdminToken(options.adminToken);
  const links = new CodeLinks(options.adminToken, clock.nowMs);
  const bodies = new BodyReader();
  const dashboard = await loadDashboard();
  const v1 = v1Handler({ control, layout, adminToken, bodies, version: options.version });
  const lambda = lambdaHandler({ control, layout, bodies, links, clock, log });

  const answerFor = async (request: IncomingMessage, requestId: string): Promise<Answer> => {
    const { path, search } = splitTarget(request.url ?? '/');
    if (isLambdaPath(path)) return await lambda(request, path, search, requestId);
    if (path.startsWith(codeLinkPrefix)) return await links.answer(control, path, search);
    if (path === '/v1' || path.startsWith('/v1/')) return await v1(request, path, search);
    const page = dashboard.get(path);
    if (page === undefined && path !== '/healthz' && path !== '/metrics') {
      throw new BellowsError('NotFound', 'There is nothing here.', 'The API is at /v1/, the dashboard at /.');
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      throw new BellowsError('MethodNotAllowed', `${request.method} is not possible here.`, 'Use GET.');
    }
    if (page !== undefined) return page;
    if (path === '/healthz') {
      return {
        status: 200,
        json: {
          status: 'ok',
          version: options.version,
          startedAt: new Date(control.startedAtMs).toISOString(),
        },
      };
    }
    const { text, mediaType } = await renderMetrics(control, adminToken.isBorneBy(request));
    return { status: 200, bytes: text, mediaType };
  };

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const requestId = randomUUID();
    response.setHeader('x-request-id', requestId);
    const answer = await answerFor(request, requestId).catch((thrown: unknown) => {
      if (!(thrown instanceof BellowsError))
        log.error({ err: thrown, requestId, method: request.method, url: request.url }, 'a request failed');
      return v1Failure(thrown);
    });
    // What was not read of the request would be taken for the next one's head.
    if (!request.complete) response.setHeader('Connection', 'close');
    await writeAnswer(response, answer);
  };

  const server = createServer(
    { requestTimeout: requestTimeoutMs, keepAliveTimeout: keepAliveTimeoutMs },
    (request, response) => {
      serve(request, response).catch((thrown: unknown) => {
        log.error(
          { err: thrown, method: request.method, url: request.url },
          'an answer could not be written',
        );
        response.destroy();
      });
    },
  );
  return server;
}

function splitTarget(url: string): { path: string; search: string } {
  const queryAt = url.indexOf('?');
  return queryAt < 0
    ? { path: url, search: '' }
    : { path: url.slice(0, queryAt), search: url.slice(queryAt + 1) };
}
