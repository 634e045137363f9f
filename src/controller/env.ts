// The environment variables of an instance: Lambda's documented ones and the user's. Pure.
// The agent adds what only it knows: AWS_LAMBDA_RUNTIME_API, BELLOWS_GRANT_FILE and, for apps, PORT.
import { BellowsError } from '../base/errors.ts';
import { mib } from '../base/quantity.ts';
import { defaultRegion, latestVersion, logGroupOf } from '../model/lambda.ts';
import type { Tenant } from '../model/tenant.ts';
import type { FunctionWorkload, Workload } from '../model/workload.ts';
import { insideTaskDirectory } from '../protocol/instance.ts';

/** Lambda's "reserved environment variables", and ours: the runtime sets them and a user may not. */
export const reservedEnv: ReadonlySet<string> = new Set([
  '_HANDLER',
  '_X_AMZN_TRACE_ID',
  'AWS_DEFAULT_REGION',
  'AWS_REGION',
  'AWS_EXECUTION_ENV',
  'AWS_LAMBDA_FUNCTION_NAME',
  'AWS_LAMBDA_FUNCTION_MEMORY_SIZE',
  'AWS_LAMBDA_FUNCTION_VERSION',
  'AWS_LAMBDA_INITIALIZATION_TYPE',
  'AWS_LAMBDA_LOG_GROUP_NAME',
  'AWS_LAMBDA_LOG_STREAM_NAME',
  'AWS_ACCESS_KEY',
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWS_LAMBDA_RUNTIME_API',
  'LAMBDA_TASK_ROOT',
  'LAMBDA_RUNTIME_DIR',
  'BELLOWS_GRANT_FILE',
]);

/** Apps get no Lambda variables, so only what the agent sets is reserved for them. */
const reservedAppEnv: ReadonlySet<string> = new Set(['PORT', 'BELLOWS_GRANT_FILE', 'AWS_LAMBDA_RUNTIME_API']);

/** @throws BellowsError BadRequest naming the variables that a user may not set */
export function checkEnv(kind: Workload['kind'], env: Readonly<Record<string, string>>): void {
  const reserved = kind === 'function' ? reservedEnv : reservedAppEnv;
  const taken = Object.keys(env).filter((name) => reserved.has(name));
  if (taken.length === 0) return;
  throw new BellowsError(
    'BadRequest',
    `The environment sets reserved names: ${taken.join(', ')}.`,
    'Remove them; the runtime sets them itself.',
  );
}

export interface EnvContext {
  readonly tenant: Tenant;
  readonly logStream: string;
  /** Where this Bellows answers, as an instance reaches it. */
  readonly ownUrl: string;
}

const commonEnv = { LANG: 'en_US.UTF-8', PATH: '/usr/local/bin:/usr/bin:/bin:/opt/bin' } as const;

/** What user code sees. Defaults that Lambda lets a user override come before the user's own, reserved names after. */
export function instanceEnv(workload: Workload, context: EnvContext): Record<string, string> {
  return workload.kind === 'app' ? { ...commonEnv, ...workload.env } : functionEnv(workload, context);
}

function functionEnv(workload: FunctionWorkload, context: EnvContext): Record<string, string> {
  const { accessKeyId, secretAccessKey } = context.tenant.credentials;
  const { region = defaultRegion } = workload;
  return {
    ...commonEnv,
    TZ: ':UTC',
    // Lambda's, less the directories that the sandbox has not: /var/runtime, and layers in /opt.
    LD_LIBRARY_PATH: '/lib64:/usr/lib64:/var/task:/var/task/lib',
    // There is no X-Ray daemon: with these a tracing SDK writes a line instead of failing the event.
    AWS_XRAY_CONTEXT_MISSING: 'LOG_ERROR',
    AWS_XRAY_DAEMON_ADDRESS: '127.0.0.1:2000',
    NODE_PATH:
      '/opt/nodejs/node26/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task',
    // So that an AWS SDK inside calls this Bellows, not AWS. Without the machine's network nothing could be reached.
    ...(workload.network === 'host' ? endpoints(workload, context) : {}),
    ...workload.env,
    _HANDLER: workload.handler,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    AWS_EXECUTION_ENV: `AWS_Lambda_${workload.runtime}`,
    AWS_LAMBDA_FUNCTION_NAME: workload.name,
    AWS_LAMBDA_FUNCTION_VERSION: latestVersion,
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(Math.round(workload.request.memory / mib)),
    AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
    AWS_LAMBDA_LOG_GROUP_NAME: logGroupOf(workload.name),
    AWS_LAMBDA_LOG_STREAM_NAME: context.logStream,
    LAMBDA_TASK_ROOT: insideTaskDirectory,
    LAMBDA_RUNTIME_DIR: '/var/runtime',
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  };
}

function endpoints({ key, websocket }: FunctionWorkload, { ownUrl }: EnvContext): Record<string, string> {
  const lambda = { AWS_ENDPOINT_URL_LAMBDA: ownUrl };
  if (websocket === undefined) return lambda;
  return { ...lambda, AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI: `${ownUrl}/w/${key}` };
}

/** Lambda's form: `2026/11/21/[$LATEST]` and the instance. */
export function logStreamOf(instance: string, nowMs: number): string {
  const day = new Date(nowMs).toISOString().slice(0, 10).replaceAll('-', '/');
  return `${day}/[${latestVersion}]${instance.replace(/^i-/, '')}`;
}
