// Where a request goes, from its request line and Host header alone. Pure: the table is passed in.
import type { RouteTable } from './table.ts';
import type { WorkloadRoute } from '../protocol/routes.ts';

export type Route =
  /** Lambda's Invoke, or InvokeWithResponseStream; `functionName` is still percent-encoded. */
  | { readonly to: 'invoke'; readonly functionName: string; readonly streamed: boolean }
  /** An app or a function's URL. `prefix` was cut off the front of `url`, and is empty for a request by host. */
  | {
      readonly to: 'workload';
      readonly workload: WorkloadRoute;
      readonly url: string;
      readonly prefix: string;
    }
  /** The controller's own HTTP. */
  | { readonly to: 'controller' }
  | { readonly to: 'health' }
  | { readonly to: 'nowhere'; readonly message: string; readonly hint: string };

/** In both, what lies between is a function's name. */
const invokePath = { prefix: '/2015-03-31/functions/', suffix: '/invocations' } as const;
const streamedInvokePath = {
  prefix: '/2021-11-15/functions/',
  suffix: '/response-streaming-invocations',
} as const;
const workloadPrefix = '/w/';
const hostSuffix = '.localhost';
/** `/2017-03-31/tags/…` and its like: Lambda's API is in paths that begin with a version's date. */
const datedPath = /^\/20\d\d-\d\d-\d\d\//;

const controllerRoute: Route = { to: 'controller' };
const healthRoute: Route = { to: 'health' };
const deployHint = 'List what is deployed with `bellows ps`, or deploy it with `bellows deploy DIR`.';

/**
 * @param url the request target as it came: a path and a query, or in absolute form
 * @param host the Host header; undefined in an HTTP/1.0 request
 */
export function route(url: string, host: string | undefined, table: RouteTable): Route {
  if (url.charCodeAt(0) !== 47) return routeUnusual(url, host, table);
  if (host !== undefined && host.length > hostSuffix.length) {
    const byHost = routeHost(url, host, table);
    if (byHost !== undefined) return byHost;
  }
  return routePath(url, table);
}

/** Undefined when the host names no workload by its form: then the path decides. */
function routeHost(url: string, host: string, table: RouteTable): Route | undefined {
  const colon = host.lastIndexOf(':');
  const name = (colon < 0 ? host : host.slice(0, colon)).toLowerCase();
  if (!name.endsWith(hostSuffix)) return undefined;
  const workload = table.workloadByHost(name);
  if (workload !== undefined) return { to: 'workload', workload, url, prefix: '' };
  return {
    to: 'nowhere',
    message: `No workload answers to the host ${JSON.stringify(name.slice(0, 120))}.`,
    hint: `Workloads are at NAME.TENANT.localhost. ${deployHint}`,
  };
}

function routePath(url: string, table: RouteTable): Route {
  const queryAt = url.indexOf('?');
  const path = queryAt < 0 ? url : url.slice(0, queryAt);
  if (path.startsWith(workloadPrefix)) return routeWorkloadPath(url, path, table);
  const called = nameWithin(path, invokePath);
  if (called !== undefined) return { to: 'invoke', functionName: called, streamed: false };
  const calledForStream = nameWithin(path, streamedInvokePath);
  if (calledForStream !== undefined) return { to: 'invoke', functionName: calledForStream, streamed: true };
  if (path === '/healthz') return healthRoute;
  if (
    path === '/' ||
    path === '/metrics' ||
    path === '/v1' ||
    path.startsWith('/v1/') ||
    datedPath.test(path)
  )
    return controllerRoute;
  // The dashboard's own files.
  if (path === '/favicon.ico' || path.startsWith('/assets/')) return controllerRoute;
  return {
    to: 'nowhere',
    message: `Nothing is served at ${JSON.stringify(path.slice(0, 120))}.`,
    hint: 'Workloads are at /w/TENANT/NAME/ or NAME.TENANT.localhost, the API is at /v1/, the Lambda API at /2015-03-31/.',
  };
}

function nameWithin(
  path: string,
  { prefix, suffix }: { readonly prefix: string; readonly suffix: string },
): string | undefined {
  if (!path.startsWith(prefix) || !path.endsWith(suffix)) return undefined;
  const name = path.slice(prefix.length, -suffix.length);
  return name === '' || name.includes('/') ? undefined : name;
}

function routeWorkloadPath(url: string, path: string, table: RouteTable): Route {
  const tenantEnd = path.indexOf('/', workloadPrefix.length);
  const nameEnd = tenantEnd < 0 ? -1 : path.indexOf('/', tenantEnd + 1);
  const prefix = nameEnd < 0 ? path : path.slice(0, nameEnd);
  const key = prefix.slice(workloadPrefix.length);
  const workload = table.workload(key);
  if (workload === undefined) {
    return {
      to: 'nowhere',
      message: `There is no workload ${JSON.stringify(key.slice(0, 120))}.`,
      hint: deployHint,
    };
  }
  const rest = url.slice(prefix.length);
  return { to: 'workload', workload, url: rest.startsWith('/') ? rest : `/${rest}`, prefix };
}

const absoluteForm = /^https?:\/\/([^/?#]+)(.*)$/i;

/** Path and query of a request target, which may name scheme and host before them. */
export function originForm(url: string): string {
  const rest = url.startsWith('/') ? url : (absoluteForm.exec(url)?.[2] ?? url);
  return rest.startsWith('/') || rest === '*' ? rest : `/${rest}`;
}

/** `OPTIONS *` and the absolute form, which a server must take (RFC 9112, 3.2.2) and whose host counts more than the header. */
function routeUnusual(url: string, host: string | undefined, table: RouteTable): Route {
  const match = absoluteForm.exec(url);
  if (match !== null) return route(originForm(url), match[1] ?? host, table);
  return {
    to: 'nowhere',
    message: 'The request target is no path.',
    hint: 'Send a path that begins with a slash.',
  };
}
