import { describe, expect, test } from 'vitest';
import type { TenantId } from '../base/ids.ts';
import { unlimited, type Tenant } from '../model/tenant.ts';
import { deployedWorkload, updatedFunction } from './deployment.ts';
import { checkEnv, instanceEnv, logStreamOf, reservedEnv } from './env.ts';
import { app, fn } from './testing/harness.ts';

const tenant = 'acme' as TenantId;
const moment = { nowMs: 1, revisionId: 'r', network: 'host' } as const;
const customer: Tenant = {
  id: tenant,
  uid: 1_900_000_000,
  accountId: '001900000000',
  limits: unlimited,
  weight: 1,
  credentials: { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'secret' },
  createdAtMs: 0,
};
const context = { tenant: customer, logStream: 'stream', ownUrl: 'http://127.0.0.1:8080' };

describe('environment', () => {
  test("a function sees the variables that Lambda documents, and its tenant's keys alone", () => {
    const env = instanceEnv(
      deployedWorkload(tenant, fn('f', { env: { MINE: 'x', TZ: 'Europe/Berlin' } }), undefined, moment),
      context,
    );
    expect(env).toMatchObject({
      _HANDLER: 'index.handler',
      AWS_LAMBDA_FUNCTION_NAME: 'f',
      AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '128',
      AWS_LAMBDA_LOG_GROUP_NAME: '/aws/lambda/f',
      AWS_LAMBDA_LOG_STREAM_NAME: 'stream',
      AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
      AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs26.x',
      AWS_REGION: 'us-east-1',
      LAMBDA_TASK_ROOT: '/var/task',
      LAMBDA_RUNTIME_DIR: '/var/runtime',
      AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE',
      AWS_ENDPOINT_URL_LAMBDA: 'http://127.0.0.1:8080',
      TZ: 'Europe/Berlin',
      LD_LIBRARY_PATH: '/lib64:/usr/lib64:/var/task:/var/task/lib',
      AWS_XRAY_CONTEXT_MISSING: 'LOG_ERROR',
      AWS_XRAY_DAEMON_ADDRESS: '127.0.0.1:2000',
      MINE: 'x',
    });
  });

  test('a function sees the region that it was created in, also after it was deployed again', () => {
    const created = deployedWorkload(tenant, fn('f', { region: 'eu-central-1' }), undefined, moment);
    for (const workload of [created, deployedWorkload(tenant, fn('f'), created, moment)])
      expect(instanceEnv(workload, context)).toMatchObject({
        AWS_REGION: 'eu-central-1',
        AWS_DEFAULT_REGION: 'eu-central-1',
      });
  });

  test('a function has no session token: a signature of long-lived keys would be refused with one', () => {
    const env = instanceEnv(deployedWorkload(tenant, fn('f'), undefined, moment), context);
    expect(env).not.toHaveProperty('AWS_SESSION_TOKEN');
  });

  test('a function is told as what runs it, and kept as what it was submitted for', () => {
    const submitted = fn('f', { runtimeIdentifier: 'nodejs22.x' });
    const first = deployedWorkload(tenant, submitted, undefined, moment);
    expect(first).toMatchObject({ runtime: 'nodejs26.x', runtimeIdentifier: 'nodejs22.x' });
    expect(instanceEnv(first, context)['AWS_EXECUTION_ENV']).toBe('AWS_Lambda_nodejs26.x');
    if (first.kind !== 'function') throw new Error('no function');
    expect(updatedFunction(first, { timeoutMs: 5_000 }, moment).runtimeIdentifier).toBe('nodejs22.x');
    const changed = { runtime: 'nodejs26.x', runtimeIdentifier: 'nodejs24.x' } as const;
    expect(updatedFunction(first, changed, moment).runtimeIdentifier).toBe('nodejs24.x');
  });

  test('a function with WebSocket routes finds where its connections are managed', () => {
    const websocket = {
      routes: ['$default'],
      routeSelectionExpression: '$request.body.action',
      idleTimeoutMs: null,
      maxDurationMs: null,
    };
    const name = 'AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI';
    const holding = deployedWorkload(tenant, fn('f', { websocket }), undefined, moment);
    expect(instanceEnv(holding, context)[name]).toBe(`http://127.0.0.1:8080/w/${holding.key}`);
    const other = deployedWorkload(tenant, fn('f'), undefined, moment);
    expect(instanceEnv(other, context)).not.toHaveProperty(name);
  });

  test('without a network no endpoint is named', () => {
    const workload = deployedWorkload(tenant, fn('f'), undefined, { ...moment, network: 'none' });
    expect(instanceEnv(workload, context)).not.toHaveProperty('AWS_ENDPOINT_URL_LAMBDA');
    expect(
      deployedWorkload(tenant, fn('f', { network: 'host' }), undefined, { ...moment, network: 'none' })
        .network,
    ).toBe('none');
  });

  test('an app gets no keys', () => {
    const env = instanceEnv(
      deployedWorkload(tenant, app('a', { env: { MINE: 'x' } }), undefined, moment),
      context,
    );
    expect(env['MINE']).toBe('x');
    expect(Object.keys(env).filter((name) => name.startsWith('AWS_'))).toEqual([]);
  });

  test.each([...reservedEnv])('a function may not set %s', (name) => {
    expect(() => checkEnv('function', { [name]: 'x' })).toThrow(
      expect.objectContaining({ code: 'BadRequest', message: expect.stringContaining(name) }),
    );
  });

  test("an app may set Lambda's names, but not the port it is given", () => {
    expect(() => checkEnv('app', { AWS_REGION: 'eu-west-1' })).not.toThrow();
    expect(() => checkEnv('app', { PORT: '1' })).toThrow(expect.objectContaining({ code: 'BadRequest' }));
  });

  test("a log stream has Lambda's form", () => {
    expect(logStreamOf('i-abc', Date.UTC(2026, 10, 21))).toBe('2026/11/21/[$LATEST]abc');
  });
});
