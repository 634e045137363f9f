// What the gateway counts of a tenant, connections, concurrency and requests, against limits that change while it is used: by the
// WebSocket clients `ws` and Node's own, fetch, the AWS SDK and the command line.
import { randomUUID } from 'node:crypto';
import { CreateFunctionUrlConfigCommand, InvokeCommand } from '@aws-sdk/client-lambda';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { tarGzOf } from '../support/archives.ts';
import { deployStatefulApp } from '../support/apps.ts';
import { Barrier } from '../support/barrier.ts';
import { eventually } from '../support/bellows.ts';
import { Functions } from '../support/functions.ts';
import { NumberedSockets } from '../support/numbered-sockets.ts';
import { HostUnits } from '../support/units.ts';

const units = new HostUnits();
const functions = new Functions(units);

interface LimitsAnswer {
  readonly status: string;
  readonly connections: { readonly dropped: number };
  readonly tenants: readonly {
    readonly tenant: string;
    readonly changes: readonly Readonly<Record<string, unknown>>[];
  }[];
}
interface TenantAnswer {
  readonly inUse: { readonly connections: number; readonly concurrency: number } | null;
}
type Counts = Partial<Record<'connections' | 'concurrency' | 'requests', number | null>>;

async function setLimits(limits: Counts): Promise<LimitsAnswer> {
  const { status, body } = await units.bellows.v1<LimitsAnswer>('PUT', '/tenants/default/limits', limits);
  expect(status, JSON.stringify(body)).toBe(200);
  return body;
}

async function inUse(): Promise<TenantAnswer['inUse']> {
  return (await units.bellows.v1<TenantAnswer>('GET', '/tenants/default')).body.inUse;
}

async function untilInUse(counts: Partial<NonNullable<TenantAnswer['inUse']>>): Promise<void> {
  await expect.poll(inUse).toMatchObject(counts);
}

const app = (): string => `ws://127.0.0.1:${units.bellows.port}/w/default/stateful/hello`;

/** What a client is told that dials: the app's first words, or code and reason of the close. */
function dial(url = app()): Promise<{ socket: WebSocket; told: string }> {
  const socket = new WebSocket(url);
  return new Promise((resolve) => {
    socket.once('message', (data: Buffer) => resolve({ socket, told: data.toString() }));
    socket.once('close', (code, reason) => resolve({ socket, told: `${code} ${reason.toString()}` }));
    socket.on('error', (error) => resolve({ socket, told: error.message }));
  });
}

async function told(): Promise<string> {
  const { socket, told: words } = await dial();
  socket.terminate();
  return words;
}

const letIn = 'hello from /hello';
const refused = (limit: number): string =>
  `1013 The tenant default has as many connections open as its limit allows: ${limit}.`;

afterEach(async () => {
  await setLimits({ connections: null, concurrency: null, requests: null });
  // Whatever came and went, nothing is counted that is no more.
  await untilInUse({ connections: 0, concurrency: 0 });
});

beforeAll(() => deployStatefulApp(units.bellows));

describe('connections', () => {
  test('M-C2 M-C3 M-C5: a limit that is lowered and raised under sockets with numbered messages drops none, and decides at once who else gets in', async () => {
    const clients = await NumberedSockets.open(app(), 20);
    clients.start(100);
    try {
      const lowered = await setLimits({ connections: 5 });
      expect(lowered).toMatchObject({
        status: 'applied',
        connections: { dropped: 0 },
        tenants: [
          {
            tenant: 'default',
            changes: [{ resource: 'connections', before: null, after: 5, wanted: 5, status: 'applied' }],
          },
        ],
      });
      expect(await told()).toBe(refused(5));
      expect(await inUse()).toMatchObject({ connections: 20 });
      await setLimits({ connections: 21 });
      const { socket, told: words } = await dial();
      expect(words).toBe(letIn);
      expect(await told()).toBe(refused(21));
      socket.terminate();
      await eventually(async () => (await told()) === letIn);
      await setLimits({ connections: 20 });
      await untilInUse({ connections: 20 });
      expect(await told()).toBe(refused(20));
    } finally {
      const account = await clients.stop();
      expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
      expect(account.received).toBe(account.sent);
      clients.close();
    }
  });

  test('a page in a browser is told by close code and reason, and fetch by 429 with JSON', async () => {
    await setLimits({ connections: 0 });
    const socket = new globalThis.WebSocket(app());
    const { code, reason } = await new Promise<CloseEvent>((resolve) =>
      socket.addEventListener('close', resolve),
    );
    expect(`${code} ${reason}`).toBe(refused(0));
    const answer = await fetch(`${units.bellows.url}/w/default/stateful/state`);
    expect(answer.status).toBe(429);
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(await answer.json()).toMatchObject({
      error: {
        code: 'LimitReached',
        message: 'The tenant default has 0 connections open, and its limit is 0.',
      },
    });
    await setLimits({ connections: 1 });
    expect((await fetch(`${units.bellows.url}/w/default/stateful/state`)).status).toBe(200);
  });

  test('M-C2: one tenant at its limit takes nothing from another', async () => {
    await units.bellows.v1('PUT', '/tenants/neighbour', { limits: { connections: 2 } });
    await deployStatefulApp(units.bellows, 'neighbour');
    const next = app().replace('/default/', '/neighbour/');
    await setLimits({ connections: 0 });
    const both = await Promise.all([dial(next), dial(next)]);
    expect(both.map((each) => each.told)).toEqual([letIn, letIn]);
    expect((await dial(next)).told).toBe(
      '1013 The tenant neighbour has as many connections open as its limit allows: 2.',
    );
    expect(await told()).toBe(refused(0));
    for (const { socket } of both) socket.terminate();
    await units.bellows.v1('DELETE', '/tenants/neighbour');
  });

  test('M-E6: after kill -9 of the gateway the next one knows of the sockets that outlived it', async () => {
    await setLimits({ connections: 4 });
    const clients = await NumberedSockets.open(app(), 3);
    clients.start(50);
    try {
      const pid = units.bellows.pidOf('gateway');
      process.kill(pid!, 'SIGKILL');
      await eventually(async () => {
        const now = units.bellows.pidOf('gateway');
        const health = (await (await fetch(`${units.bellows.url}/healthz`)).json()) as { status: string };
        return now !== undefined && now !== pid && health.status === 'ok';
      });
      const both = await Promise.all([dial(), dial()]);
      expect(both.map((each) => each.told).toSorted()).toEqual([refused(4), letIn].toSorted());
      expect(await inUse()).toMatchObject({ connections: 4 });
      for (const { socket } of both) socket.terminate();
    } finally {
      const account = await clients.stop();
      expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
      clients.close();
    }
  });

  test('an app of another language, whose connections the gateway carries, is held to the same', async () => {
    const server = `
import http.server, os, urllib.parse, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if len(self.path) > 1: urllib.request.urlopen(urllib.parse.unquote(self.path[1:])).read()
        self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'ok')
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
`;
    const manifest = { kind: 'app', start: 'python3 server.py', runtime: 'custom', memory: '128MiB' };
    const archive = await tarGzOf({ 'bellows.json': JSON.stringify(manifest), 'server.py': server });
    const deployed = await units.bellows.v1('PUT', '/workloads/default/snake', archive);
    expect(deployed.status, JSON.stringify(deployed.body)).toBeLessThan(300);
    await setLimits({ connections: 2 });
    const url = `${units.bellows.url}/w/default/snake`;
    const barrier = await Barrier.raise();
    const slow = `${url}/${encodeURIComponent(barrier.url)}`;
    const waiting = [fetch(slow), fetch(slow)];
    await untilInUse({ connections: 2 });
    expect((await fetch(`${url}/`)).status).toBe(429);
    barrier.open();
    expect(await Promise.all(waiting.map(async (each) => (await each).text()))).toEqual(['ok', 'ok']);
    expect((await fetch(`${url}/`)).status).toBe(200);
  });
});

describe('concurrency', () => {
  const code = `export const handler = async ({ until, mark }) => {
    if (until) await fetch(until);
    if (mark) {
      console.log('begun ' + mark);
      await new Promise((r) => setTimeout(r, 500));
      console.log('ended ' + mark);
    }
    return 'done';
  };`;
  /** @param barrier until which it runs */
  const call = (name: string, barrier?: Barrier): Promise<string> =>
    functions.invoke(name, { until: barrier?.url }).then(
      ({ payload }) => String(payload),
      (error: { name: string; Reason: string; message: string }) =>
        `${error.name} ${error.Reason}: ${error.message}`,
    );
  const url = (): string => `${units.bellows.url}/w/default/left/`;

  beforeAll(async () => {
    await functions.create('left', code);
    await functions.create('right', code);
    await functions.sdk.send(new CreateFunctionUrlConfigCommand({ FunctionName: 'left', AuthType: 'NONE' }));
    await Promise.all([call('left'), call('right'), call('right')]);
  });

  test('M-C2 M-D4: is one for all functions of a tenant: beyond it the SDK gets TooManyRequestsException and a URL 429, both with the limit', async () => {
    await setLimits({ concurrency: 2 });
    const barrier = await Barrier.raise();
    const all = Array.from({ length: 6 }, (_, n) => call(n % 2 === 0 ? 'left' : 'right', barrier));
    const told: string[] = [];
    for (const each of all) void each.then((words) => told.push(words));
    const tooMany = 'Rate Exceeded. The tenant default runs 2 invocations, and its limit is 2.';
    await expect
      .poll(() => told)
      .toEqual(
        Array.from(
          { length: 4 },
          () => `TooManyRequestsException ConcurrentInvocationLimitExceeded: ${tooMany}`,
        ),
      );
    expect(await inUse()).toMatchObject({ concurrency: 2 });
    const answer = await fetch(url());
    expect(answer.status).toBe(429);
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(await answer.json()).toMatchObject({
      Reason: 'ConcurrentInvocationLimitExceeded',
      detail: tooMany,
    });
    barrier.open();
    expect((await Promise.all(all)).filter((each) => each === 'done')).toHaveLength(2);
    expect((await fetch(url())).status).toBe(200);
  });

  test('M-C2: is raised and lowered while functions run: what runs is finished, who comes next meets the new limit', async () => {
    await setLimits({ concurrency: 1 });
    const barrier = await Barrier.raise();
    const running = call('left', barrier);
    await untilInUse({ concurrency: 1 });
    expect(await call('right')).toContain('its limit is 1.');
    await setLimits({ concurrency: 2 });
    const second = call('right', barrier);
    await untilInUse({ concurrency: 2 });
    await setLimits({ concurrency: 0 });
    expect(await call('right')).toContain('its limit is 0.');
    barrier.open();
    expect(await Promise.all([running, second])).toEqual(['done', 'done']);
  });

  test('M-C2 M-C3: requests beyond the limit per second are refused the same way, changed live, while what is open goes on', async () => {
    const { socket } = await dial();
    const { tenants } = await setLimits({ requests: 0 });
    expect(tenants[0]?.changes).toMatchObject([
      { resource: 'requests', before: null, after: 0, status: 'applied' },
    ]);
    const tooMany = 'The tenant default sends more requests than its limit of 0 per second.';
    expect(await call('right')).toBe(
      `TooManyRequestsException CallerRateLimitExceeded: Rate Exceeded. ${tooMany}`,
    );
    const answer = await fetch(url());
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([429, '60']);
    expect(await told()).toBe(`1013 ${tooMany}`);
    expect(socket.readyState).toBe(WebSocket.OPEN);
    socket.terminate();
    await setLimits({ requests: null });
    expect((await fetch(url())).status).toBe(200);
  });

  test('M-D4: asynchronous invocations beyond it are run later, each once, and no more at a time than it allows', async () => {
    await setLimits({ concurrency: 0 });
    const marks = [1, 2, 3].map(() => randomUUID());
    for (const mark of marks) {
      const Payload = JSON.stringify({ mark });
      const command = new InvokeCommand({ FunctionName: 'right', InvocationType: 'Event', Payload });
      expect((await functions.sdk.send(command)).StatusCode).toBe(202);
    }
    const lines = async (): Promise<string[]> => {
      const { stdout } = await units.bellows.cli('logs', 'right');
      return stdout.match(/(?:begun|ended) [-0-9a-f]{36}/g) ?? [];
    };
    expect(await lines()).toEqual([]);
    await setLimits({ concurrency: 1 });
    let seen: string[] = [];
    await eventually(async () => (seen = await lines()).length === 6, {
      timeoutMs: 60_000,
      what: () => `three to begin and end: ${seen.join()}`,
    });
    expect(seen.toSorted()).toEqual(marks.flatMap((mark) => [`begun ${mark}`, `ended ${mark}`]).toSorted());
    for (const at of [0, 2, 4]) expect(seen[at]?.replace('begun', 'ended')).toBe(seen[at + 1]);
  });
});

test('the command line sets all of them, and tells what is in use of them; so do the metrics', async () => {
  const { code, stdout } = await units.bellows.cli(
    'limits',
    'default',
    '--connections',
    '100',
    '--concurrency',
    '20',
    '--requests',
    '50',
  );
  expect(code).toBe(0);
  expect(stdout).toMatch(/tenant default +connections +none +100 +applied/);
  expect(stdout).toMatch(/tenant default +concurrency +none +20 +applied/);
  expect(stdout).toMatch(/tenant default +requests +none +50 +applied/);
  const { socket } = await dial();
  expect((await units.bellows.cli('tenants')).stdout).toMatch(/default .* 1 of 100 +0 of 20 +\d+ of 50/);
  expect((await units.bellows.cli('limits', 'get', 'default')).stdout).toMatch(/connections +100 +1\n/);
  const metrics = await fetch(`${units.bellows.url}/metrics`, {
    headers: { authorization: `Bearer ${units.bellows.credentials.adminToken}` },
  });
  const text = await metrics.text();
  expect(text).toContain('bellows_tenant_limit{tenant="default",resource="connections"} 100');
  expect(text).toContain('bellows_tenant_used{tenant="default",resource="connections"} 1');
  expect(text).toContain('bellows_tenant_limit{tenant="default",resource="concurrency"} 20');
  socket.terminate();
  const { stdout: events } = await units.bellows.cli('events');
  expect(events).toContain('connections no limit to 100; concurrency no limit to 20');
});
