// What /v1 answers of tenants, workloads and the machine, each answer held to its route's own description. Events are in
// event-stream.test.ts, the description itself in openapi.test.ts.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { TenantId } from '../../base/ids.ts';
import { zipOf, tarGzOf } from '../testing/archives.ts';
import { startApi, type ApiUnderTest, type Call } from '../testing/api-under-test.ts';
import { v1Routes } from './serve.ts';
import { instanceView } from './views/instance.ts';
import { transactionView } from './views/transaction.ts';

let api: ApiUnderTest;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => {
  api.control.nextStatus = 'applied';
  api.control.calls.length = 0;
});

const app = (more: object = {}): Promise<Buffer> =>
  zipOf({
    'bellows.json': JSON.stringify({ kind: 'app', start: 'node server.js', ...more }),
    'server.js': '',
  });

async function deploy(name: string, archive: Buffer): Promise<Response> {
  return await api.fetch(`/v1/workloads/acme/${name}`, { method: 'PUT', body: new Uint8Array(archive) });
}

/** Calls, and checks that the answer is one that the route's own description promises. */
async function call(
  operationId: string,
  path: string,
  init: Call = {},
): Promise<{ status: number; body: unknown }> {
  const route = v1Routes.find((candidate) => candidate.operationId === operationId);
  if (route === undefined) throw new Error(`no route ${operationId}`);
  const response = await api.fetch(path, { method: route.method, ...init });
  const text = await response.text();
  expect(Object.keys(route.statuses), text).toContain(String(response.status));
  const body: unknown = text === '' ? null : JSON.parse(text);
  if (route.answer !== null) {
    const strict = route.answer instanceof z.ZodObject ? route.answer.strict() : route.answer;
    expect(strict.safeParse(body).error).toBeUndefined();
  }
  return { status: response.status, body };
}

const json = (value: unknown): Call => ({ body: JSON.stringify(value) });

describe('tenants', () => {
  test('a new tenant comes with its secret, once', async () => {
    const created = await call(
      'putTenant',
      '/v1/tenants/globex',
      json({ limits: { memory: '1GiB', cpu: 500 }, weight: 2 }),
    );
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({
      id: 'globex',
      weight: 2,
      accessKeyId: 'AKIAGLOBEX',
      secretAccessKey: 'secret of globex',
      limits: {
        memory: '1GiB',
        cpu: '500m',
        storage: null,
        bandwidth: null,
        connections: null,
        concurrency: null,
        requests: null,
      },
    });
    const again = await call('putTenant', '/v1/tenants/globex');
    expect(again.status).toBe(200);
    expect(again.body).not.toHaveProperty('secretAccessKey');
    expect((await call('getTenant', '/v1/tenants/globex')).body).not.toHaveProperty('secretAccessKey');
    expect((await call('listTenants', '/v1/tenants')).body).toHaveLength(2);
    expect((await call('deleteTenant', '/v1/tenants/globex')).status).toBe(204);
  });

  test('a tenant is shown with what it has of what gateways count, or that nobody can say', async () => {
    api.control.use = new Map([['acme' as TenantId, { connections: 3, concurrency: 2, requests: 9 }]]);
    expect((await call('getTenant', '/v1/tenants/acme')).body).toMatchObject({
      inUse: { connections: 3, concurrency: 2, requests: 9 },
      metering: { own: 3_600, borrowed: 0, lent: 1_800, unused: 0, credit: 1_800 },
    });
    await call('putTenant', '/v1/tenants/globex');
    expect((await call('getTenant', '/v1/tenants/globex')).body).toMatchObject({
      inUse: { connections: 0, concurrency: 0, requests: 0 },
    });
    api.control.use = null;
    expect((await call('listTenants', '/v1/tenants')).body).toMatchObject([{ inUse: null }, { inUse: null }]);
  });

  test('limits take notation, numbers and null, and answer with the transaction in notation', async () => {
    const { status, body } = await call(
      'putLimits',
      '/v1/tenants/acme/limits?plan=true&wait=2.5',
      json({ memory: '512MiB', cpu: '1.5', storage: 1024, bandwidth: null, connections: 10 }),
    );
    expect(status).toBe(200);
    expect(body).toMatchObject({
      status: 'applied',
      plan: true,
      connections: { open: 3, kept: 3, dropped: 0 },
    });
    expect(
      transactionView
        .parse(body)
        .tenants[0]?.changes.map((change) => [change.resource, change.before, change.wanted]),
    ).toEqual([
      ['memory', null, '512MiB'],
      ['cpu', null, '1500m'],
      ['storage', null, '1KiB'],
      ['bandwidth', null, null],
      ['connections', null, 10],
    ]);
    expect(api.control.calls[0]?.args).toEqual([
      'acme',
      { memory: 536_870_912, cpu: 1_500, storage: 1_024, bandwidth: null, connections: 10 },
      { plan: true, waitMs: 2_500 },
    ]);
  });

  test.each([
    ['deferred', 202],
    ['infeasible', 422],
  ] as const)(
    'a transaction that is %s answers with %i and still says everything',
    async (nextStatus, status) => {
      api.control.nextStatus = nextStatus;
      const answer = await call('putLimits', '/v1/tenants/acme/limits', json({ memory: '33MiB' }));
      expect(answer.status).toBe(status);
      expect(answer.body).toMatchObject({ status: nextStatus, reason: 'in use', plan: false });
    },
  );
});

describe('workloads', () => {
  test('a workload is moved to where it is to run, and shown there', async () => {
    const path = '/v1/workloads/acme/moves';
    await deploy('moves', await app({ unit: 'host' }));
    expect((await call('getWorkload', path)).body).toMatchObject({ unit: 'host' });
    const { body } = await call('moveWorkload', `${path}/move`, json({ to: 'vm' }));
    expect(body).toEqual({ workload: 'acme/moves', from: 'host', to: 'vm', durationMs: 12 });
    expect((await call('getWorkload', path)).body).toMatchObject({ unit: 'vm' });
    const refused = await api.fetch(`${path}/move`, { method: 'POST', ...json({ to: 'cloud' }) });
    expect(refused.status).toBe(400);
    expect((await call('deleteWorkload', path)).status).toBe(204);
  });

  test('an app is deployed from a zip, read, resized and removed', async () => {
    expect((await deploy('chat', await app({ memory: '64MiB', cpu: '500m', env: { A: 'b' } }))).status).toBe(
      201,
    );
    expect((await deploy('chat', await app({ memory: '64MiB', scale: 2 }))).status).toBe(200);
    const { body } = await call('getWorkload', '/v1/workloads/acme/chat');
    expect(body).toMatchObject({
      kind: 'app',
      start: 'node server.js',
      scale: 2,
      memory: '64MiB',
      cpu: '1',
      runtime: 'nodejs26.x',
      path: '/w/acme/chat/',
    });
    const resized = await call(
      'resizeWorkload',
      '/v1/workloads/acme/chat',
      json({ memory: '256MiB', scale: 3 }),
    );
    expect(transactionView.parse(resized.body).instances[0]).toMatchObject({
      instance: 'i-0123456789ab',
      tenant: 'acme',
      workload: 'chat',
      changes: [
        { resource: 'memory', before: '64MiB', after: '256MiB', wanted: '256MiB', status: 'applied' },
      ],
    });
    expect(api.control.calls[0]?.args[2]).toEqual({ memory: 268_435_456, scale: 3 });
    const timed = await api.fetch('/v1/workloads/acme/chat', { method: 'PATCH', ...json({ cpu: '1' }) });
    expect(timed.headers.get('server-timing')).toBe('plan;dur=0.25, total;dur=1');
    const [instance] = z.array(instanceView).parse((await call('listInstances', '/v1/instances')).body);
    expect(instance).toMatchObject({
      tenant: 'acme',
      workload: 'chat',
      pid: 4321,
      connections: 2,
      connectionCounts: { open: 2, closedByClient: 1 },
      memory: { grant: '64MiB', used: '80MiB', demand: '84934661', claimed: '0', promised: '128MiB' },
    });
    expect(instance?.memory).toMatchObject({
      requested: '256MiB',
      strain: 'waiting',
      reason: 'Others have the rest.',
    });
    expect(instance?.cpu).not.toHaveProperty('strain');
    expect(instance?.cpu).not.toHaveProperty('desired');
    expect((await call('deleteWorkload', '/v1/workloads/acme/chat')).status).toBe(204);
    expect((await api.fetch('/v1/workloads/acme/chat')).status).toBe(404);
  });

  test('a function is deployed from a tar.gz and invoked', async () => {
    const manifest = {
      kind: 'function',
      handler: 'index.handler',
      timeout: 10,
      url: { invokeMode: 'RESPONSE_STREAM' },
      runtime: 'nodejs22.x',
      websocket: { routes: ['$connect', '$default', 'ask'], routeResponses: ['ask'] },
    };
    const archive = await tarGzOf([
      { name: './', type: 'directory' },
      { name: './bellows.json', content: `\u{feff}${JSON.stringify(manifest)}` },
    ]);
    expect((await deploy('hello', archive)).status).toBe(201);
    expect((await call('listTenantWorkloads', '/v1/workloads/acme')).body).toMatchObject([
      {
        kind: 'function',
        handler: 'index.handler',
        timeout: 10,
        url: true,
        invokeMode: 'RESPONSE_STREAM',
        runtime: 'nodejs26.x',
        runtimeIdentifier: 'nodejs22.x',
        websocket: {
          routes: ['$connect', '$default', 'ask'],
          routeResponses: ['ask'],
          routeSelectionExpression: '$request.body.action',
          idleTimeout: 600,
          maxDuration: null,
        },
      },
    ]);
    expect((await call('listWorkloads', '/v1/workloads')).body).toHaveLength(1);
    const ran = await call('invokeWorkload', '/v1/workloads/acme/hello/invoke', json({ a: 1 }));
    expect(ran.body).toEqual({ outcome: 'ok', payload: { a: 1 } });
    expect((await call('invokeWorkload', '/v1/workloads/acme/hello/invoke')).body).toEqual({
      outcome: 'ok',
      payload: {},
    });
  });

  test('logs are read from a cursor on, with a long poll', async () => {
    api.control.logs.push({ timeMs: 0, instance: 'i-1', line: 'START' });
    const { body } = await call('getLogs', '/v1/workloads/acme/hello/logs?cursor=abc&limit=5&wait=20');
    expect(body).toEqual({
      entries: [{ time: '1970-01-01T00:00:00.000Z', instance: 'i-1', line: 'START' }],
      cursor: 'next',
    });
    expect(api.control.calls[0]?.args).toEqual(['acme/hello', { cursor: 'abc', limit: 5, waitMs: 20_000 }]);
  });
});

describe('the machine', () => {
  test('units, the ledger and a reclaim come in notation', async () => {
    expect((await call('listUnits', '/v1/units')).body).toMatchObject([
      { id: 'host', provisioned: { memory: '128MiB', bandwidth: '125MB/s' } },
    ]);
    const { body } = await call('getLedger', '/v1/ledger');
    expect(body).toContainEqual(
      expect.objectContaining({
        resource: 'cpu',
        capacity: '1000',
        unallocated: '0m',
        oversubscribed: '500',
      }),
    );
    expect((await call('reclaim', '/v1/reclaim')).body).toMatchObject({ found: '10MiB', freed: '8MiB' });
    await call('reclaim', '/v1/reclaim', json({ memory: '1GiB', from: 'acme/hello' }));
    expect(api.control.calls.at(-1)?.args).toEqual([{ memoryBytes: 1_073_741_824, from: 'acme/hello' }]);
    const planned = await call('reclaim', '/v1/reclaim?plan=true', json({ memory: '1GiB' }));
    expect(planned.body).toMatchObject({ planned: true, wanted: '1GiB', missing: '0' });
    expect(api.control.calls.at(-1)?.args).toEqual([{ memoryBytes: 1_073_741_824, plan: true }]);
  });

  test('gateways come with their place, from 1 on, and what they are doing', async () => {
    api.control.gateways = async () => [
      { pid: 11, place: 0, state: 'leaving', connections: 2 },
      { pid: 12, place: 0, state: 'serving', connections: 40 },
      { pid: 13, place: 1, state: 'silent', connections: null },
    ];
    expect((await call('listGateways', '/v1/gateways')).body).toEqual([
      { gateway: 1, pid: 11, state: 'leaving', connections: 2 },
      { gateway: 1, pid: 12, state: 'serving', connections: 40 },
      { gateway: 2, pid: 13, state: 'silent', connections: null },
    ]);
    const metrics = await (await fetch(`${api.url}/metrics`)).text();
    expect(metrics).toMatch(/^bellows_gateways\{gateway="1",state="leaving"\} 1$/m);
    expect(metrics).toMatch(/^bellows_gateways\{gateway="2",state="silent"\} 1$/m);
    expect(metrics).toMatch(/^bellows_gateway_connections\{gateway="1",state="serving"\} 40$/m);
    expect(metrics).not.toMatch(/^bellows_gateway_connections\{gateway="2"/m);
  });

  test('a virtual machine is hibernated and woken by its id', async () => {
    const { body } = await call('hibernateUnit', '/v1/units/u-1/hibernate');
    expect(body).toEqual({ unit: 'u-1', before: '200MiB', after: '0', stored: '150MiB', durationMs: 800 });
    expect((await call('wakeUnit', '/v1/units/u-1/wake')).body).toEqual({ unit: 'u-1', durationMs: 400 });
  });

  test('a virtual machine is moved by its id', async () => {
    const { body } = await call('moveUnit', '/v1/units/u-1/move');
    expect(body).toEqual({ unit: 'u-1', pid: 7, copied: '1MiB', pauseMs: 2, durationMs: 9 });
  });

  test('metrics tell tenants only to the admin', async () => {
    const open = await (await fetch(`${api.url}/metrics`)).text();
    expect(open).toMatch(/^bellows_resource_granted\{resource="memory"\} 1500000$/m);
    expect(open).toMatch(/^bellows_instances\{state="warm"\} 3$/m);
    expect(open).not.toContain('acme');
    const acme = 'acme' as TenantId;
    await api.control.putTenant(acme, { limits: { connections: 100 } });
    api.control.use = new Map([[acme, { connections: 3, concurrency: 2, requests: 9 }]]);
    const detailed = await (await api.fetch('/metrics')).text();
    expect(detailed).toMatch(/^bellows_tenant_limit\{tenant="acme",resource="connections"\} 100$/m);
    expect(detailed).toMatch(/^bellows_tenant_memory_byte_seconds_total\{tenant="acme",part="lent"\} 1800$/m);
    expect(detailed).toMatch(/^bellows_tenant_memory_credit_byte_seconds\{tenant="acme"\} 1800$/m);
    expect(detailed).toMatch(/^bellows_tenant_used\{tenant="acme",resource="connections"\} 3$/m);
    expect(detailed).toMatch(/^bellows_tenant_used\{tenant="acme",resource="concurrency"\} 2$/m);
    expect(detailed).toMatch(/^bellows_tenant_used\{tenant="acme",resource="requests"\} 9$/m);
    expect(detailed).not.toMatch(/^bellows_tenant_limit\{tenant="acme",resource="concurrency"\}/m);
    expect(detailed).toMatch(/^bellows_tenant_used\{tenant="acme",resource="memory"\} 250000$/m);
    expect(detailed).toMatch(/^bellows_workload_connections\{tenant="acme",workload="hello"\} 2$/m);
  });

  test('health and the dashboard are open, and the page may run nothing but its own script', async () => {
    expect(await (await fetch(`${api.url}/healthz`)).json()).toMatchObject({
      status: 'ok',
      version: '1.2.3',
    });
    const page = await fetch(`${api.url}/`);
    expect(page.headers.get('content-security-policy')).toMatch(/default-src 'none'; script-src 'self';/);
    const html = await page.text();
    expect(html).not.toMatch(/<script(?![^>]* src=)|<style|\son[a-z]+=|\sstyle=/);
    for (const [, path] of html.matchAll(/(?:src|href)="(\/[^"]+)"/g)) {
      expect((await fetch(api.url + path)).status, path).toBe(200);
    }
    expect((await fetch(`${api.url}/`, { method: 'HEAD' })).status).toBe(200);
    expect((await fetch(`${api.url}/`, { method: 'POST' })).status).toBe(405);
    expect((await fetch(`${api.url}/assets/../package.json`)).status).toBe(404);
  });
});

test('a defect is answered without its details, which are in the log', async () => {
  api.control.failNext = new Error('the secret inside');
  const response = await api.fetch('/v1/workloads/acme/hello/invoke', { method: 'POST' });
  expect(response.status).toBe(500);
  const text = await response.text();
  expect(JSON.parse(text)).toMatchObject({ error: { code: 'Internal' } });
  expect(text).not.toContain('secret');
  expect(api.defects.join()).toContain('the secret inside');
  api.defects.length = 0;
});
