import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { SignatureVerifier } from '../protocol/sigv4.ts';
import { run, scriptedServer, type Scripted, type ScriptedAnswer, type Seen } from './testing/run.ts';

let server: Scripted;
let answer: (seen: Seen) => ScriptedAnswer = () => ({ json: null });
let data: string;
const keys = { accessKeyId: 'AKIATEST', secretAccessKey: 'secret' };

beforeAll(async () => {
  server = await scriptedServer((seen) => answer(seen));
  data = mkdtempSync(join(tmpdir(), 'bellows-cli-'));
  writeFileSync(
    join(data, 'credentials.json'),
    JSON.stringify({ adminToken: 'the-token', tenants: { default: keys } }),
  );
  writeFileSync(join(data, 'endpoint.json'), JSON.stringify({ url: server.url }));
});
afterAll(async () => {
  await server.close();
  rmSync(data, { recursive: true, force: true });
});
afterEach(() => {
  server.seen.length = 0;
});

const bellows = (...argv: string[]): ReturnType<typeof run> => run(argv, { env: { BELLOWS_DATA: data } });

describe('bad input is told before anything is sent: exit code 2, what and how, no stack', () => {
  const cases: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['an unknown command', ['fly'], /unknown command/],
    ['no command', [], /Usage/],
    ['an unknown option', ['ps', '--fast'], /unknown option/],
    ['a missing argument', ['resize'], /missing required argument/],
    ['one argument too many', ['ps', 'x'], /too many arguments/],
    ['an option without its value', ['resize', 'chat', '--memory'], /argument missing/],
    ['nothing to resize', ['resize', 'chat'], /Nothing to change/],
    ['negative memory', ['resize', 'chat', '--memory=-1MiB'], /not a quantity/],
    ['memory with an exponent', ['resize', 'chat', '--memory', '1e99'], /not a quantity/],
    ['an unknown unit', ['resize', 'chat', '--memory', '12XB'], /unit XB is not known/],
    ['CPU that is no number', ['resize', 'chat', '--cpu', 'lots'], /not a quantity of CPU/],
    ['bandwidth without a time', ['resize', 'chat', '--bandwidth', '10MB'], /bandwidth/],
    ['a fraction of an instance', ['resize', 'chat', '--scale', '1.5'], /whole number/],
    ['a wait that is no number', ['resize', 'chat', '--memory', '1GiB', '--wait', 'soon'], /seconds/],
    ["a workload's name with a dot", ['resize', 'a.b', '--memory', '1GiB'], /can not be a workload's name/],
    ["a path as a workload's name", ['logs', '../../etc'], /can not be/],
    ['a tenant in capitals', ['ps', '--tenant', 'ACME'], /can not be a tenant's name/],
    ['no limit named', ['limits', 'set', 'default'], /No limit was named/],
    [
      'connections that are no number',
      ['limits', 'set', 'default', '--connections', 'many'],
      /whole number, or none/,
    ],
    ['an event that is not JSON', ['invoke', 'hello', '--data', '{'], /not JSON/],
    ['an event file that is not there', ['invoke', 'hello', '--data', '@/nonexistent'], /can not be read/],
    ['an address that is none', ['ps', '--url', 'bellows'], /no address/],
    ['an address of another kind', ['ps', '--url', 'file:///etc/passwd'], /no address/],
    ['an empty token', ['ps', '--token', ''], /empty value/],
    ['a directory that is not there', ['deploy', '/nonexistent/app'], /no directory/],
    ['port 0', ['up', '--port', '0'], /from 1 to 65535/],
    ['an unknown unit kind', ['up', '--unit', 'cloud'], /host, vm, both or auto/],
    ['a move to nowhere', ['move', 'chat', '--to', 'cloud'], /expected host or vm/],
    ['a time to sleep after that is none', ['up', '--hibernate-after', 'soon'], /number of seconds, or off/],
    ['a data directory too deep for sockets', ['up', '--data', `/tmp/${'x'.repeat(100)}`], /too long/],
    ['log lines without end', ['logs', 'chat', '-n', '99999999'], /from 1 to 10000/],
    ['an event number that is none', ['events', '--after', 'yesterday'], /number of an event/],
  ];
  for (const [what, argv, expected] of cases) {
    test(what, async () => {
      const { code, stderr, stdout } = await bellows(...argv);
      expect(stderr).toMatch(expected);
      expect(stderr).not.toMatch(/\n\s+at /);
      expect(code).toBe(2);
      expect(stdout).toBe('');
      expect(server.seen).toEqual([]);
    });
  }
});

describe('a move', () => {
  test('of a workload names where to, and says when it took over', async () => {
    answer = () => ({ json: { workload: 'acme/chat', from: 'host', to: 'vm', durationMs: 5_000.4 } });
    const { code, stdout } = await bellows('move', 'acme/chat', '--to', 'vm');
    expect(server.seen).toMatchObject([{ method: 'POST', url: '/v1/workloads/acme/chat/move' }]);
    expect(JSON.parse(String(server.seen[0]?.body))).toEqual({ to: 'vm' });
    expect(stdout).toBe('acme/chat runs in virtual machines now; it took over after 5000 ms.\n');
    expect(code).toBe(0);
  });

  test('to where it runs already says so', async () => {
    answer = () => ({ json: { workload: 'default/chat', from: 'host', to: 'host', durationMs: 0 } });
    const { stdout } = await bellows('move', 'chat', '--to', 'host');
    expect(stdout).toBe('default/chat runs in processes of this machine already.\n');
  });

  test('of a machine names the machine alone', async () => {
    const moved = { unit: 'u-1', pid: 7, copied: '1MiB', pauseMs: 2, durationMs: 9 };
    answer = () => ({ json: moved });
    expect((await bellows('move', 'u-1')).stdout).toContain('u-1 goes on in process 7');
    expect(server.seen).toMatchObject([{ method: 'POST', url: '/v1/units/u-1/move' }]);
  });
});

describe('exit codes', () => {
  const refused = { error: { code: 'NotFound', message: 'There is no chat.', hint: 'Deploy it.' } };

  test('1, with what, why and how, when Bellows refuses', async () => {
    answer = () => ({ status: 404, json: refused });
    expect(await bellows('delete', 'chat')).toEqual({
      code: 1,
      stdout: '',
      stderr: 'error: There is no chat.\nDeploy it.\n',
    });
  });

  test('3 when nothing answers', async () => {
    const { code, stderr } = await run(['ps', '--url', 'http://127.0.0.1:1', '--token', 't']);
    expect(code).toBe(3);
    expect(stderr).toContain('bellows up');
  });

  test('3 when there are no credentials', async () => {
    const { code, stderr } = await run(['ps'], { env: { BELLOWS_DATA: join(data, 'nothing') } });
    expect(code).toBe(3);
    expect(stderr).toContain('--data-dir');
  });

  test('3 when something else answers', async () => {
    answer = () => ({ text: '<html>It works!</html>' });
    const { code, stderr } = await bellows('ps');
    expect(code).toBe(3);
    expect(stderr).toContain('does not answer as Bellows does');
  });

  test('a redirect is not followed: the token goes nowhere else', async () => {
    answer = () => ({ status: 307, headers: { location: 'http://127.0.0.1:1/' } });
    expect((await bellows('ps')).code).toBe(3);
  });

  const change = {
    resource: 'memory',
    before: '128MiB',
    after: '128MiB',
    wanted: '64MiB',
    reason: '',
    durationMs: 1,
  };
  const transaction = (status: string, plan = false): unknown => ({
    id: 't-1',
    status,
    reason: status === 'applied' ? '' : '80 MiB are in use.',
    plan,
    durationMs: 1.25,
    connections: { open: 3, kept: 3, dropped: 0 },
    tenants: [],
    instances: [
      {
        instance: 'i-1',
        workload: 'chat',
        tenant: 'default',
        changes: [{ ...change, status }],
        connections: {},
      },
    ],
  });
  const outcomes: readonly (readonly [string, boolean, number, number])[] = [
    ['applied', false, 200, 0],
    ['deferred', false, 202, 4],
    ['infeasible', false, 422, 1],
    ['deferred', true, 202, 0],
    ['infeasible', true, 422, 1],
  ];
  for (const [status, plan, http, expected] of outcomes) {
    test(`${expected} for a ${plan ? 'plan' : 'change'} that is ${status}, and --json is the transaction`, async () => {
      answer = () => ({ status: http, json: transaction(status, plan) });
      const argv = ['resize', 'chat', '--memory', '64MiB', ...(plan ? ['--plan'] : [])];
      const { code, stdout } = await bellows(...argv);
      expect(code).toBe(expected);
      expect(stdout).toContain(status);
      const asJson = await bellows(...argv, '--json');
      expect(asJson.code).toBe(expected);
      expect(JSON.parse(asJson.stdout)).toEqual(transaction(status, plan));
    });
  }
});

test('what is asked for is sent as it was written, to the tenant named, with the token', async () => {
  answer = () => ({ status: 422, json: { error: { code: 'Infeasible', message: 'No.' } } });
  const { code } = await bellows(
    'resize',
    'acme/shop',
    '--memory',
    '0.5GiB',
    '--cpu',
    '500m',
    '--wait',
    '2',
    '--plan',
  );
  expect(code).toBe(1);
  const [seen] = server.seen;
  expect(seen?.method).toBe('PATCH');
  expect(seen?.url).toBe('/v1/workloads/acme/shop?plan=true&wait=2');
  expect(seen?.headers.authorization).toBe('Bearer the-token');
  expect(JSON.parse(seen?.body.toString() ?? '')).toEqual({ memory: '0.5GiB', cpu: '500m' });
});

test('limits set: none takes a limit away, and what is not named is not sent', async () => {
  answer = () => ({ status: 404, json: { error: { code: 'NotFound', message: 'No.' } } });
  await bellows('limits', 'set', 'acme', '--memory', 'none', '--connections', '10');
  expect(JSON.parse(server.seen[0]?.body.toString() ?? '')).toEqual({ memory: null, connections: 10 });
});

test('limits TENANT is limits set TENANT', async () => {
  answer = () => ({ status: 404, json: { error: { code: 'NotFound', message: 'No.' } } });
  await bellows('limits', 'acme', '--connections', '100', '--concurrency', '20', '--requests', '500');
  expect(server.seen[0]?.url).toBe('/v1/tenants/acme/limits');
  expect(JSON.parse(server.seen[0]?.body.toString() ?? '')).toEqual({
    connections: 100,
    concurrency: 20,
    requests: 500,
  });
});

test('a limit that gateways count is shown as the number it is', async () => {
  const changes = [
    { resource: 'connections', before: null, after: 100, wanted: 100, status: 'applied', reason: '' },
  ];
  const json = {
    status: 'applied',
    reason: '',
    plan: false,
    durationMs: 1.25,
    connections: { open: 3, kept: 3, dropped: 0 },
    tenants: [{ tenant: 'acme', changes }],
    instances: [],
  };
  answer = () => ({ json });
  const { code, stdout } = await bellows('limits', 'set', 'acme', '--connections', '100');
  expect(code).toBe(0);
  expect(stdout).toMatch(/tenant acme +connections +none +100 +applied/);
});

describe('tenants and their limits', () => {
  const acme = {
    id: 'acme',
    weight: 1,
    limits: {
      memory: '1GiB',
      cpu: null,
      storage: null,
      bandwidth: null,
      connections: 100,
      concurrency: null,
      requests: 50,
    },
    inUse: { connections: 3, concurrency: 2, requests: 9 },
    metering: {
      own: 2 ** 30 * 3_600,
      borrowed: 0,
      lent: 2 ** 29 * 3_600,
      unused: 0,
      credit: -(2 ** 28) * 3_600,
    },
    accessKeyId: 'AKIA',
  };

  test('are listed with what is in use of them', async () => {
    answer = () => ({ json: [acme] });
    expect((await bellows('tenants')).stdout).toMatch(/acme .*3 of 100 +2, no limit +9 of 50/);
    answer = () => ({ json: [{ ...acme, inUse: null }] });
    expect((await bellows('tenants')).stdout).toMatch(/acme .*none +100 +none +50/);
  });

  test('M-E4: with what they had, lent and borrowed, in GiB-hours', async () => {
    answer = () => ({ json: [acme] });
    const { stdout } = await bellows('tenants', '--metering');
    expect(stdout).toMatch(/acme +1\.000 +0\.000 +0\.500 +0\.000 +-0\.250/);
  });

  test('are shown one by one, quantities by the ledger', async () => {
    const line = {
      capacity: '1',
      granted: '1',
      used: '1',
      claimed: '1',
      unallocated: '1',
      oversubscribed: '1',
    };
    const tenants = [{ tenant: 'acme', limit: '1GiB', granted: '512MiB', used: '80MiB' }];
    answer = ({ url }) => ({
      json: url === '/v1/ledger' ? [{ resource: 'memory', ...line, tenants }] : acme,
    });
    const { stdout } = await bellows('limits', 'get', 'acme');
    expect(stdout).toMatch(/memory +1GiB +80MiB/);
    expect(stdout).toMatch(/connections +100 +3/);
    expect(stdout).toMatch(/concurrency +none +2/);
    expect(stdout).toMatch(/requests +50 +9/);
    expect(stdout).toMatch(/cpu +none +unknown/);
  });
});

describe('invoke', () => {
  test("is signed with the tenant's keys as AWS demands, and prints the result", async () => {
    answer = () => ({ text: '{"hello":"Ada"}' });
    const { code, stdout } = await bellows('invoke', 'hello', '--data', '{"name":"Ada"}');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ hello: 'Ada' });
    const [seen] = server.seen;
    const verifier = new SignatureVerifier({
      credentialOf: (id) => (id === keys.accessKeyId ? keys : undefined),
      nowMs: () => Date.now(),
      service: 'lambda',
    });
    const rawHeaders = Object.entries(seen?.headers ?? {}).flatMap(([name, value]) => [name, String(value)]);
    expect(
      verifier.verify({ method: 'POST', url: seen?.url ?? '', rawHeaders, body: seen?.body ?? '' })
        .credential,
    ).toEqual(keys);
  });

  test('takes the event from standard input, and 1 tells that the function failed', async () => {
    answer = () => ({ text: '{"errorType":"Error"}', headers: { 'x-amz-function-error': 'Unhandled' } });
    const { code } = await run(['invoke', 'hello', '--data', '-'], {
      env: { BELLOWS_DATA: data },
      stdin: '[1]',
    });
    expect(code).toBe(1);
    expect(server.seen[0]?.body.toString()).toBe('[1]');
  });
});

test('logs: what a workload writes can not drive the terminal', async () => {
  answer = () => ({
    json: { entries: [{ time: 'T', instance: 'i', line: '\u001b]0;owned\u0007red\u001b[31m' }], cursor: 'c' },
  });
  const { stdout } = await bellows('logs', 'chat');
  expect(stdout).toBe(']0;ownedred[31m\n');
});

test('logs -f goes on from the cursor, and ends with 0 by Ctrl-C', async () => {
  const stop = new AbortController();
  answer = ({ url }) => {
    if (url.includes('cursor=c1')) stop.abort();
    return {
      json: {
        entries: [{ time: 'T', instance: 'i', line: url.includes('cursor') ? 'second' : 'first' }],
        cursor: 'c1',
      },
    };
  };
  const { code, stdout } = await run(['logs', '-f', 'chat'], {
    env: { BELLOWS_DATA: data },
    signal: stop.signal,
  });
  expect(code).toBe(0);
  expect(stdout).toMatch(/^first\n/);
});

test('events: cut from the stream, one line each', async () => {
  const event = {
    time: '2026-01-01T00:00:00Z',
    type: 'resize',
    tenant: 'default',
    workload: 'chat',
    message: 'memory 1 → 2',
  };
  answer = () => ({
    text: `: hi\n\nid: 1\nevent: resize\ndata: ${JSON.stringify(event)}\n\n`,
    headers: { 'content-type': 'text/event-stream' },
  });
  const { stdout, code } = await bellows('events');
  expect(code).toBe(0);
  expect(stdout).toBe('2026-01-01T00:00:00Z  resize  default/chat  memory 1 → 2\n');
});

test('ps shows an app of which nothing runs because it crashes, with why and when it is tried again', async () => {
  const nextStartAt = new Date(Date.now() + 60_000).toISOString();
  const restart = { failures: 4, reason: 'it ended with status 1', nextStartAt };
  const app = { kind: 'app', tenant: 'default', name: 'shop', path: '/w/default/shop/', restart };
  const fine = { ...app, name: 'fine', restart: null };
  answer = ({ url }) => ({ json: url === '/v1/workloads' ? [app, fine] : [] });
  const { code, stdout } = await bellows('ps');
  expect(code).toBe(0);
  expect(stdout).toMatch(/^- +default +shop +crashed /m);
  expect(stdout).toMatch(
    /^default\/shop failed 4 times in a row \(it ended with status 1\)\. It is started again in (59|60) s\.$/m,
  );
  expect(stdout).not.toContain('fine');
});
