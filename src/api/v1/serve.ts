// Runs the routes of /v1: finds the route, checks the token, reads the body, answers, words errors.
// Owns no route's meaning.
import type { IncomingMessage } from 'node:http';
import { BellowsError, errorKinds, toErrorRecord } from '../../base/errors.ts';
import { wordedStartFailure } from '../../protocol/start-failure.ts';
import type { Answer } from '../http/answer.ts';
import { BodyTooLarge, type BodyReader } from '../http/body.ts';
import { matchPath, pathSegments } from '../http/template.ts';
import type { AdminToken } from '../admin-token.ts';
import { openApiDocument } from './openapi.ts';
import type { Route, RouteContext } from './route.ts';
import { eventRoutes } from './routes/events.ts';
import { machineRoutes } from './routes/machine.ts';
import { tenantRoutes } from './routes/tenants.ts';
import { workloadRoutes } from './routes/workloads.ts';

export const v1Routes: readonly Route[] = [
  ...tenantRoutes,
  ...workloadRoutes,
  ...machineRoutes,
  ...eventRoutes,
];

export interface V1Options extends Omit<RouteContext, 'request'> {
  readonly adminToken: AdminToken;
  readonly bodies: BodyReader;
  readonly version: string;
}

type Handler = (request: IncomingMessage, path: string, search: string) => Promise<Answer>;

/** A handler for every path below /v1. It throws BellowsErrors; {@link v1Failure} words them. */
export function v1Handler(options: V1Options): Handler {
  const { control, layout, adminToken, bodies } = options;
  const document = openApiDocument(v1Routes, options.version);
  return async (request, path, search) => {
    if (path === '/v1/openapi.json') {
      if (request.method === 'GET') return { status: 200, json: document };
      throw notAllowed(request.method, ['GET']);
    }
    // Before anything else is said: who has no token learns nothing of what there is.
    adminToken.demand(request);
    const { route, params } = findRoute(request.method ?? '', path);
    const query = parseQuery(search);
    try {
      return await bodies.with(request, route.body.limitBytes, (body) =>
        route.run({ control, layout, request }, { params, query, body }),
      );
    } catch (thrown) {
      throw thrown instanceof BodyTooLarge && route.body.tooLarge !== undefined
        ? route.body.tooLarge()
        : thrown;
    }
  };
}

function findRoute(method: string, path: string): { route: Route; params: Record<string, string> } {
  const segments = pathSegments(path);
  if (segments === undefined)
    throw new BellowsError('BadRequest', 'The path has a broken percent encoding.', 'Encode it as a URI.');
  const allowed: string[] = [];
  for (const route of v1Routes) {
    const params = matchPath(route.template, segments);
    if (params === undefined) continue;
    if (route.method === method) return { route, params };
    allowed.push(route.method);
  }
  if (allowed.length > 0) throw notAllowed(method, allowed);
  throw new BellowsError(
    'NotFound',
    `There is nothing at ${path.slice(0, 200)}.`,
    'See /v1/openapi.json for every path.',
  );
}

function notAllowed(method: string | undefined, allowed: readonly string[]): BellowsError {
  return new BellowsError(
    'MethodNotAllowed',
    `${method ?? 'This method'} is not possible here.`,
    `Use ${allowed.join(' or ')}.`,
  );
}

function parseQuery(search: string): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(search)) {
    if (Object.hasOwn(query, name))
      throw new BellowsError('BadRequest', `"${name.slice(0, 80)}" is in the query twice.`, 'Name it once.');
    Object.defineProperty(query, name, { value, enumerable: true });
  }
  return query;
}

/** The answer for anything that was thrown. */
export function v1Failure(thrown: unknown): Answer {
  const error = toErrorRecord(thrown instanceof BellowsError ? wordedStartFailure(thrown) : thrown);
  const { status } = errorKinds[error.code];
  return {
    status,
    json: { error },
    ...(status === 401 ? { headers: { 'WWW-Authenticate': 'Bearer realm="bellows"' } } : {}),
  };
}
