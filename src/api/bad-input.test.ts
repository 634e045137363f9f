// What callers send wrong, as it arrives over HTTP: every case has its stable code and a message that names the
// fault; none makes a defect. Archives' own faults are in archive/admit.test.ts, the SDK's in lambda/refusals.test.ts.
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { errorKinds, type ErrorCode } from '../base/errors.ts';
import { startApi, type ApiUnderTest } from './testing/api-under-test.ts';
import { rawZip, tarGzOf, zipOf } from './testing/archives.ts';

let api: ApiUnderTest;
beforeAll(async () => {
  api = await startApi();
  const deploy = async (name: string, manifest: object): Promise<void> => {
    const archive = await zipOf({ 'bellows.json': JSON.stringify(manifest) });
    const response = await api.fetch(`/v1/workloads/acme/${name}`, {
      method: 'PUT',
      body: new Uint8Array(archive),
    });
    expect(response.status).toBe(201);
  };
  await deploy('chat', { kind: 'app', start: 'node server.js' });
  await deploy('hello', { kind: 'function', handler: 'index.handler' });
});
afterAll(() => api[Symbol.asyncDispose]());

type Case = readonly [
  what: string,
  request: string,
  body: string | undefined,
  code: ErrorCode,
  message: RegExp,
];

const limits = 'PUT /v1/tenants/acme/limits';
const resize = 'PATCH /v1/workloads/acme/chat';

const cases: Case[] = [
  // Paths and methods
  ['an unknown path', 'GET /v1/nothing', undefined, 'NotFound', /nothing at \/v1\/nothing/],
  ['/v1 itself', 'GET /v1', undefined, 'NotFound', /nothing at \/v1/],
  ['a wrong method', 'POST /v1/tenants/acme', undefined, 'MethodNotAllowed', /POST is not possible/],
  ['a wrong method of the document', 'POST /v1/openapi.json', undefined, 'MethodNotAllowed', /POST/],
  ['a broken encoding', 'GET /v1/tenants/%zz', undefined, 'BadRequest', /percent encoding/],
  ['an encoded slash in a name', 'GET /v1/workloads/acme/a%2Fb', undefined, 'InvalidName', /"a\/b"/],
  ['an encoded way up', 'GET /v1/workloads/acme/%2e%2e', undefined, 'NotFound', /./],
  // Names
  [
    'a tenant in capitals',
    'PUT /v1/tenants/ACME',
    '{}',
    'InvalidName',
    /"tenant": "ACME" can not be a tenant/,
  ],
  ['a tenant with a dot', 'PUT /v1/tenants/a.b', '{}', 'InvalidName', /"a\.b"/],
  ['a tenant that begins with a hyphen', 'PUT /v1/tenants/-a', '{}', 'InvalidName', /"-a"/],
  ['a tenant of 41 letters', `PUT /v1/tenants/${'a'.repeat(41)}`, '{}', 'InvalidName', /can not be a tenant/],
  ['a workload with a space', 'GET /v1/workloads/acme/a%20b', undefined, 'InvalidName', /"a b"/],
  [
    'a workload of 65 letters',
    `GET /v1/workloads/acme/${'a'.repeat(65)}`,
    undefined,
    'InvalidName',
    /workload's name/,
  ],
  ['a tenant that is not there', 'GET /v1/tenants/nobody', undefined, 'NotFound', /no tenant nobody/],
  [
    'workloads of a tenant that is not there',
    'GET /v1/workloads/nobody',
    undefined,
    'NotFound',
    /no tenant nobody/,
  ],
  [
    'a workload that is not there',
    'GET /v1/workloads/acme/nothing',
    undefined,
    'NotFound',
    /no workload acme\/nothing/,
  ],
  ['removing what is not there', 'DELETE /v1/workloads/acme/nothing', undefined, 'NotFound', /no workload/],
  // Quantities
  [
    'a negative quantity',
    limits,
    '{"memory":"-1MiB"}',
    'InvalidQuantity',
    /"memory": "-1MiB" is not a quantity of bytes/,
  ],
  ['a quantity in exponents', limits, '{"memory":"1e99"}', 'InvalidQuantity', /"1e99"/],
  ['a number in exponents', limits, '{"memory":1e99}', 'InvalidQuantity', /larger than any machine/],
  ['an unknown unit', limits, '{"memory":"12XB"}', 'InvalidQuantity', /the unit XB is not known/],
  ['less than any instance needs', limits, '{"memory":"31MiB"}', 'InvalidQuantity', /at least 32MiB/],
  ['half a byte', limits, '{"memory":0.5}', 'InvalidQuantity', /A tenant can not have/],
  ['an empty quantity', limits, '{"memory":""}', 'InvalidQuantity', /""/],
  ['NaN as text', limits, '{"memory":"NaN"}', 'InvalidQuantity', /"NaN"/],
  ['a negative number', limits, '{"storage":-1}', 'InvalidQuantity', /not negative/],
  ['a quantity as a list', limits, '{"memory":[]}', 'BadRequest', /"memory": expected a quantity: "128MiB"/],
  ['a quantity as a boolean', limits, '{"cpu":true}', 'BadRequest', /"cpu": expected a quantity/],
  ['memory as CPUs', limits, '{"cpu":"128MiB"}', 'InvalidQuantity', /quantity of CPU/],
  [
    'less CPU than can be enforced',
    limits,
    '{"cpu":"1m"}',
    'InvalidQuantity',
    /least that can be enforced is 10m/,
  ],
  ['bandwidth without "per second"', limits, '{"bandwidth":"10MB"}', 'InvalidQuantity', /per second/],
  ['connections in notation', limits, '{"connections":"10"}', 'BadRequest', /"connections": expected number/],
  ['half a connection', limits, '{"connections":0.5}', 'BadRequest', /"connections": expected int/],
  ['fewer than no connections', limits, '{"connections":-1}', 'BadRequest', /"connections":/],
  ['an unknown limit', limits, '{"memroy":"1GiB"}', 'BadRequest', /"memroy" is not a field of the body/],
  ['no limit at all', limits, '{}', 'BadRequest', /at least one limit/],
  ['an instance of 1 MiB', resize, '{"memory":"1MiB"}', 'InvalidQuantity', /at least 32MiB/],
  ['an instance of 11 GiB', resize, '{"memory":"11GiB"}', 'InvalidQuantity', /at most 10GiB/],
  ['an instance without bandwidth', resize, '{"bandwidth":0}', 'InvalidQuantity', /at least 1kB\/s/],
  ['a negative scale', resize, '{"scale":-1}', 'BadRequest', /"scale":/],
  ['a million instances', resize, '{"scale":1000000}', 'BadRequest', /"scale":.*1000/],
  ['a resize of nothing', resize, '{}', 'BadRequest', /at least one of memory, cpu/],
  ['a resize of null', resize, '{"memory":null}', 'BadRequest', /"memory": expected a quantity/],
  ['a weight of zero', 'PUT /v1/tenants/acme', '{"weight":0}', 'BadRequest', /"weight":/],
  [
    'an unknown field deep inside',
    'PUT /v1/tenants/acme',
    '{"limits":{"x":1}}',
    'BadRequest',
    /"limits\.x" is not a field/,
  ],
  // Bodies and queries
  ['no JSON', limits, '{memory:1}', 'BadRequest', /body is not JSON/],
  ['nothing where a body is needed', limits, undefined, 'BadRequest', /body is empty/],
  ['a list for an object', limits, '[]', 'BadRequest', /expected object/],
  [
    'a body of 2 MiB',
    limits,
    `{"memory":"${'1'.repeat(2 ** 21)}"}`,
    'PayloadTooLarge',
    /larger than 1\.0 MiB/,
  ],
  ['a prototype in JSON', limits, '{"__proto__":{"memory":1}}', 'BadRequest', /"__proto__" is not a field/],
  ['plan=maybe', `${limits}?plan=maybe`, '{"memory":1}', 'BadRequest', /"plan":/],
  ['wait=forever', `${limits}?wait=forever`, '{"memory":1}', 'BadRequest', /"wait": expected seconds/],
  ['wait=301', `${limits}?wait=301`, '{"memory":1}', 'BadRequest', /at most 300 seconds/],
  [
    'a parameter twice',
    `${limits}?wait=1&wait=2`,
    '{"memory":1}',
    'BadRequest',
    /"wait" is in the query twice/,
  ],
  [
    'an unknown parameter',
    'GET /v1/instances?tenant=acme',
    undefined,
    'BadRequest',
    /"tenant" is not a field of the query/,
  ],
  [
    'a log limit of 10001',
    'GET /v1/workloads/acme/hello/logs?limit=10001',
    undefined,
    'BadRequest',
    /at most 10000/,
  ],
  [
    'a negative log limit',
    'GET /v1/workloads/acme/hello/logs?limit=-1',
    undefined,
    'BadRequest',
    /"limit": expected a whole number/,
  ],
  [
    'events after no number',
    'GET /v1/events?after=x',
    undefined,
    'BadRequest',
    /"after": expected a whole number/,
  ],
  ['a reclaim from nobody', 'POST /v1/reclaim', '{"from":"A/B/C"}', 'InvalidName', /"from":/],
  // Invoking
  [
    'an event that is no JSON',
    'POST /v1/workloads/acme/hello/invoke',
    'hello',
    'BadRequest',
    /event is not JSON/,
  ],
  ['invoking an app', 'POST /v1/workloads/acme/chat/invoke', '{}', 'BadRequest', /acme\/chat is an app/],
  [
    'a throttled function',
    'POST /v1/workloads/acme/hello/invoke',
    '{"outcome":"throttled"}',
    'LimitReached',
    /as often as it may/,
  ],
  [
    'a function that can not run now',
    'POST /v1/workloads/acme/hello/invoke',
    '{"outcome":"unavailable"}',
    'Unavailable',
    /could not be run/,
  ],
  // Links
  ['a link without a signature', 'GET /v1/code/acme/hello/0', undefined, 'Forbidden', /link is not valid/],
];

async function errorOf(response: Response): Promise<{ code: ErrorCode; message: string; hint?: string }> {
  const text = await response.text();
  expect(text).not.toMatch(/\.ts:\d+|node_modules|\bat [A-Za-z.<>]+ \(/);
  const { error } = JSON.parse(text) as { error: { code: ErrorCode; message: string; hint?: string } };
  expect(response.status).toBe(errorKinds[error.code].status);
  expect(api.defects).toEqual([]);
  return error;
}

describe('bad input to /v1 is refused with a stable code and a message that names the fault', () => {
  test.each(cases)('%s', async (_what, request, body, code, message) => {
    const [method = '', path = ''] = request.split(' ');
    const error = await errorOf(await api.fetch(path, { method, ...(body === undefined ? {} : { body }) }));
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    if (errorKinds[code].fault === 'caller' && code !== 'NotFound') expect(error.hint).toMatch(/\w+ .*\.$/);
  });

  test.each([
    ['no token', {}, /no Authorization header/],
    ['a wrong token', { authorization: 'Bearer wrong' }, /not the right one/],
    ['another scheme', { authorization: 'Basic YTpi' }, /not the right one/],
    ['an empty token', { authorization: 'Bearer ' }, /not the right one/],
  ])('%s', async (_what, headers: Record<string, string>, message) => {
    for (const path of ['/v1/tenants', '/v1/nothing', '/v1/workloads/acme/hello/logs']) {
      const response = await fetch(api.url + path, { headers });
      expect(response.headers.get('www-authenticate')).toBe('Bearer realm="bellows"');
      expect(await errorOf(response)).toMatchObject({
        code: 'Unauthorized',
        message: expect.stringMatching(message),
      });
    }
  });

  test('a Last-Event-ID that is none', async () => {
    const response = await api.fetch('/v1/events', { headers: { 'last-event-id': 'x' } });
    expect(await errorOf(response)).toMatchObject({
      code: 'BadRequest',
      message: expect.stringMatching(/Last-Event-ID "x"/),
    });
  });
});

const app = { kind: 'app', start: 'node server.js' };
const fn = { kind: 'function', handler: 'index.handler' };

const manifests: readonly (readonly [what: string, manifest: unknown, code: ErrorCode, message: RegExp])[] = [
  ['no JSON', 'start: node', 'InvalidManifest', /bellows\.json is not JSON/],
  ['nothing', '', 'InvalidManifest', /bellows\.json is empty/],
  ['a list', [], 'InvalidManifest', /expected object/],
  ['no kind', {}, 'InvalidManifest', /"kind":.*'app' \| 'function'/],
  ['an unknown kind', { kind: 'job' }, 'InvalidManifest', /"kind":/],
  ['an app without a start', { kind: 'app' }, 'InvalidManifest', /"start" is missing/],
  ['an empty start', { kind: 'app', start: ' ' }, 'InvalidManifest', /"start": .*can not be empty/],
  [
    'an app with a handler',
    { ...app, handler: 'x.y' },
    'InvalidManifest',
    /"handler" is not a field of bellows\.json/,
  ],
  ['a function without a handler', { kind: 'function' }, 'InvalidManifest', /"handler" is missing/],
  ['a handler without an export', { kind: 'function', handler: 'index' }, 'InvalidManifest', /FILE\.EXPORT/],
  ['a function with a scale', { ...fn, scale: 2 }, 'InvalidManifest', /"scale" is not a field/],
  [
    'an unknown runtime',
    { ...app, runtime: 'ruby3.4' },
    'UnsupportedRuntime',
    /"runtime": the runtime "ruby3\.4"/,
  ],
  ['a custom function', { ...fn, runtime: 'custom' }, 'UnsupportedRuntime', /"custom" is not supported/],
  ['a time-out of an hour', { ...fn, timeout: 3600 }, 'InvalidManifest', /"timeout":.*900/],
  ['too little memory', { ...app, memory: '1MiB' }, 'InvalidManifest', /"memory": .*at least 32MiB/],
  [
    'a wrong unit',
    { ...app, memory: '1 bucket' },
    'InvalidManifest',
    /"memory": "1 bucket" is not a quantity/,
  ],
  ['a number in the environment', { ...app, env: { A: 1 } }, 'InvalidManifest', /"env\.A": expected string/],
  ['a bad variable name', { ...app, env: { 'A B': '' } }, 'InvalidManifest', /"env\.A B": .*variable/],
  [
    'an environment of 100 KB',
    { ...app, env: { A: 'x'.repeat(100_000) } },
    'InvalidManifest',
    /"env": at most 98304 bytes/,
  ],
  ['an unknown network', { ...app, network: 'vpn' }, 'InvalidManifest', /"network":/],
  [
    'a route that answers and is none',
    { ...fn, websocket: { routes: ['a'], routeResponses: ['b'] } },
    'InvalidManifest',
    /"websocket\.routeResponses": a route that answers is one of/,
  ],
  [
    'a route that answers to no message',
    { ...fn, websocket: { routes: ['$connect', 'a'], routeResponses: ['$connect'] } },
    'InvalidManifest',
    /"websocket\.routeResponses": a route that answers is one of/,
  ],
  [
    'a route of API Gateway that is mistyped',
    { ...fn, websocket: { routes: ['$conect', '$default'] } },
    'InvalidManifest',
    /"websocket\.routes\.0": of routes that begin with \$ there are \$connect, \$disconnect, \$default/,
  ],
  ['websocket without routes', { ...fn, websocket: {} }, 'InvalidManifest', /"websocket\.routes" is missing/],
  [
    'a route selected by what is no member of a message',
    { ...fn, websocket: { routes: ['a'], routeSelectionExpression: '$request.header.a' } },
    'InvalidManifest',
    /"websocket\.routeSelectionExpression": a route is selected by a member/,
  ],
  [
    'an idle time of no seconds',
    { ...fn, websocket: { routes: ['a'], idleTimeout: 0 } },
    'InvalidManifest',
    /"websocket\.idleTimeout"/,
  ],
  [
    'a route with a space',
    { ...fn, websocket: { routes: ['a b'] } },
    'InvalidManifest',
    /"websocket\.routes\.0": a route has/,
  ],
  [
    'a manifest of 300 KB',
    { ...app, start: 'x'.repeat(300_000) },
    'InvalidManifest',
    /more than 262144 bytes/,
  ],
];

describe('a bad manifest is refused, and nothing is deployed', () => {
  const put = (archive: Buffer): Promise<Response> =>
    api.fetch('/v1/workloads/acme/bad', { method: 'PUT', body: new Uint8Array(archive) });
  const expectRefused = async (archive: Buffer, code: ErrorCode, message: RegExp): Promise<void> => {
    expect(await errorOf(await put(archive))).toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect((await api.fetch('/v1/workloads/acme/bad')).status).toBe(404);
  };

  test.each(manifests)('%s', async (_what, manifest, code, message) => {
    const text = typeof manifest === 'string' ? manifest : JSON.stringify(manifest);
    await expectRefused(await zipOf({ 'bellows.json': text }), code, message);
  });

  test('no manifest', async () => {
    await expectRefused(await zipOf({ 'server.js': '' }), 'InvalidManifest', /no bellows\.json at its root/);
  });

  test('a manifest one directory down is named', async () => {
    const archive = await tarGzOf([{ name: 'app/bellows.json', content: JSON.stringify(app) }]);
    await expectRefused(archive, 'InvalidManifest', /lies in app\/, not at the archive's root/);
  });

  test('a manifest that is a link', async () => {
    const link = { name: 'bellows.json', content: 'real.json', mode: 0o120777 };
    await expectRefused(
      rawZip([link, { name: 'real.json', content: '{}' }]),
      'InvalidManifest',
      /not a plain file/,
    );
  });

  test('an archive over 50 MiB', async () => {
    await expectRefused(Buffer.alloc(50 * 2 ** 20 + 1), 'ArchiveTooLarge', /more than 50\.0 MiB/);
  });

  test('an archive for a tenant that is not there is not even unpacked', async () => {
    const response = await api.fetch('/v1/workloads/nobody/x', { method: 'PUT', body: 'not an archive' });
    expect(await errorOf(response)).toMatchObject({ code: 'NotFound' });
  });
});

describe('the Lambda API before anybody is known', () => {
  test.each([
    ['no signature', 'GET', '/2015-03-31/functions', 403, 'MissingAuthenticationTokenException'],
    ['an unknown operation', 'GET', '/2015-03-31/layers', 404, 'UnknownOperationException'],
    ['a broken encoding', 'GET', '/2015-03-31/functions/%zz', 404, 'UnknownOperationException'],
    ['a wrong method', 'PATCH', '/2015-03-31/functions', 404, 'UnknownOperationException'],
  ])('%s', async (_what, method, path, status, type) => {
    const response = await fetch(api.url + path, { method });
    expect(response.status).toBe(status);
    expect(response.headers.get('x-amzn-errortype')).toBe(type);
    expect(response.headers.get('x-amzn-requestid')).toMatch(/^[0-9a-f-]{36}$/);
    expect(await response.json()).toMatchObject({ message: expect.stringMatching(/\w/) });
  });
});

test('a caller who hangs up in the middle of an upload leaves no defect and no bytes counted', async () => {
  const socket = connect(Number(new URL(api.url).port), '127.0.0.1');
  socket.write(
    'PUT /v1/workloads/acme/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a-token-of-at-least-twenty-letters\r\n',
  );
  socket.write('content-length: 1000000\r\n\r\nhalf');
  await new Promise((resolve) => setTimeout(resolve, 50));
  socket.destroy();
  expect((await api.fetch('/v1/tenants')).status).toBe(200);
  expect(api.defects).toEqual([]);
});
