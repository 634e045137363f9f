// The gateway is upgraded under load, three times and once in vain: nobody is refused, nothing is lost, doubled or failed.
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { Agent as SecureAgent } from 'node:https';
import { join } from 'node:path';
import {
  ApiGatewayManagementApiClient,
  DeleteConnectionCommand,
  GetConnectionCommand,
  GoneException,
  PostToConnectionCommand,
} from '@aws-sdk/client-apigatewaymanagementapi';
import { CreateFunctionCommand, CreateFunctionUrlConfigCommand, InvokeCommand } from '@aws-sdk/client-lambda';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { serverLimits } from '../../src/gateway/config.ts';
import { zipOf } from '../support/archives.ts';
import { deployStatefulApp } from '../support/apps.ts';
import { Bellows, eventually, freePort } from '../support/bellows.ts';
import { Checkout } from '../support/checkout.ts';
import { authorityOf, Http2Caller, secureGet } from '../support/https-clients.ts';
import { isProcess } from '../support/kernel.ts';
import { NumberedSockets } from '../support/numbered-sockets.ts';
import { SteadyCallers } from '../support/steady-callers.ts';
import { talkingFunction } from '../support/talking-function.ts';

let checkout: Checkout;
let bellows: Bellows;
let tlsPort: number;
beforeAll(async () => {
  checkout = new Checkout();
  tlsPort = await freePort();
  bellows = await Bellows.start({
    root: checkout.root,
    args: ['--no-examples', '--tls-port', String(tlsPort)],
  });
  await deployStatefulApp(bellows);
  // Not started by Node itself, it listens on a port, and the gateway carries its connections.
  await deployStatefulApp(bellows, 'default', 'carried', { start: 'env node server.js' });
  const lambda = bellows.lambda();
  await lambda.send(
    new CreateFunctionCommand({
      FunctionName: 'echo',
      Runtime: 'nodejs26.x',
      Role: 'arn:aws:iam::000000000000:role/any',
      Handler: 'index.handler',
      Code: {
        ZipFile: await zipOf({
          'index.mjs':
            'export const handler = async (event) => { await new Promise((r) => setTimeout(r, 20)); return event.mark ?? event.rawPath; };',
        }),
      },
    }),
  );
  await lambda.send(new CreateFunctionUrlConfigCommand({ FunctionName: 'echo', AuthType: 'NONE' }));
  lambda.destroy();
});
afterAll(async () => {
  await bellows.stop();
  checkout.remove();
});

const healthLine = "status: this.#controller.hasTable ? 'ok' : 'starting',";
/** New code on the disk, to be told by what /healthz says. */
const writeCode = (version: number): void =>
  checkout.change('src/gateway/gateway.ts', healthLine, `${healthLine} version: ${version},`);

/** Of the gateway that takes new connections. */
async function runningVersion(): Promise<unknown> {
  const health = await get(anew, '/healthz');
  return (JSON.parse(health.slice('200 '.length)) as { version?: unknown }).version;
}

interface Processes {
  readonly children: { readonly gateway: { readonly pid: number } };
  readonly beside: readonly { readonly pid: number }[];
}
const processes = (): Processes =>
  JSON.parse(readFileSync(join(bellows.dataDirectory, 'run', 'processes.json'), 'utf8')) as Processes;

const anew = new Agent({ keepAlive: false });

/** Connections of the tenant, as its limit counts them. */
const inUse = async (): Promise<number> =>
  (await bellows.v1<{ inUse: { connections: number } }>('GET', '/tenants/default')).body.inUse.connections;

/** One request over the agent's connections; nothing is tried again. */
function get(agent: Agent, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${bellows.url}${path}`, { agent }, (answer) => {
      let text = `${answer.statusCode} `;
      answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      answer.on('end', () => resolve(text)).on('error', reject);
    });
    outgoing.on('error', reject).end();
  });
}

test('M-E6: three upgrades and one that fails, under load: no call fails, no connection is refused or closed, no message is lost', async () => {
  const direct = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/stateful/`, 10);
  const carried = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/carried/`, 10);
  const ca = authorityOf(bellows);
  const encrypted = await NumberedSockets.open(`wss://127.0.0.1:${tlsPort}/w/default/stateful/`, 5, { ca });
  const sdk = bellows.lambda('default', { maxAttempts: 1 });
  const keptAlive = new Agent({ keepAlive: true });
  const secureKeptAlive = new SecureAgent({ keepAlive: true, ca });
  const http2 = [new Http2Caller(tlsPort, ca), new Http2Caller(tlsPort, ca)];
  const callers = [
    new SteadyCallers(2, async (caller, before) => {
      const mark = `${caller}.${before}`;
      const answer = await sdk.send(
        new InvokeCommand({ FunctionName: 'echo', Payload: JSON.stringify({ mark }) }),
      );
      expect(new TextDecoder().decode(answer.Payload)).toBe(JSON.stringify(mark));
    }),
    new SteadyCallers(2, async (_, before) =>
      expect(await get(keptAlive, `/w/default/echo/${before}`)).toBe(`200 "/${before}"`),
    ),
    new SteadyCallers(2, async () =>
      expect(await get(keptAlive, '/w/default/stateful/state')).toMatch(/^200 \{"counter"/),
    ),
    new SteadyCallers(2, async () =>
      expect(await get(anew, '/w/default/carried/state')).toMatch(/^200 \{"counter"/),
    ),
    new SteadyCallers(2, async (_, before) =>
      expect(await secureGet(secureKeptAlive, tlsPort, `/w/default/echo/${before}`)).toBe(`200 "/${before}"`),
    ),
    new SteadyCallers(2, async (caller, before) =>
      expect(await http2[caller]!.get(`/w/default/echo/${before}`)).toBe(`200 "/${before}"`),
    ),
  ];
  /** All of them call the gateway that serves now, over and over. */
  const someCalls = async (): Promise<void> => {
    const before = callers.map(({ fewest }) => fewest);
    await eventually(() => callers.every(({ fewest }, index) => fewest >= before[index]! + 10), {
      timeoutMs: 60_000,
      what: () => `calls; errors: ${callers.flatMap(({ errors }) => errors).join('\n')}`,
    });
  };
  direct.start(100);
  carried.start(100);
  encrypted.start(50);
  try {
    const before = await bellows.instances();
    await someCalls();
    for (const version of [1, 2]) {
      writeCode(version);
      const upgraded = await bellows.cli('upgrade');
      expect(upgraded, upgraded.stderr).toMatchObject({
        code: 0,
        stdout: expect.stringContaining('took over'),
      });
      expect(await runningVersion()).toBe(version);
      await someCalls();
    }

    checkout.change(
      'src/gateway/main.ts',
      "process.title = 'bellows-gateway';",
      "throw new Error('broken');",
    );
    const failed = await bellows.cli('upgrade');
    expect(failed.code).toBe(1);
    expect(failed.stderr).toMatch(/UpgradeFailed: .*ended with status 1.* goes on serving/);
    expect(await runningVersion()).toBe(2);
    await someCalls();
    checkout.change('src/gateway/main.ts', '', '');

    writeCode(3);
    bellows.process.kill('SIGHUP');
    await eventually(async () => (await runningVersion()) === 3, {
      timeoutMs: 60_000,
      what: () => `the third version to serve:\n${bellows.output.slice(-2_000)}`,
    });
    await someCalls();

    await Promise.all(callers.map((each) => each.stop()));
    expect(callers.flatMap(({ errors }) => errors)).toEqual([]);
    // Its server told each, once for each upgrade, to go: what it asked for then was served.
    for (const { connections } of http2) expect(connections).toBe(4);
    for (const sockets of [direct, carried, encrypted]) {
      const account = await sockets.stop();
      console.log(`M-E6: ${JSON.stringify(account)}`);
      expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
    }
    // The carried ones went on where they were, and count.
    const now = await bellows.instances();
    for (const { id, pid } of before) expect(now.find((each) => each.id === id)?.pid).toBe(pid);
    const connectionsOf = async (): Promise<unknown> =>
      Object.fromEntries(
        (await bellows.instances())
          .filter(({ workload }) => !workload.includes('echo'))
          .map(({ connections, workload }) => [workload.split('/').at(-1), connections]),
      );
    await expect.poll(connectionsOf).toEqual({ stateful: 15, carried: 10 });
    await expect.poll(inUse).toBe(25);
  } finally {
    direct.close();
    carried.close();
    encrypted.close();
    await Promise.all(callers.map((each) => each.stop()));
    sdk.destroy();
    keptAlive.destroy();
    secureKeptAlive.destroy();
    for (const each of http2) each.close();
  }
  // With what they carried, those that were replaced end, and wait for no connection that idles: of ours `fetch` keeps some.
  const left = processes().beside.map(({ pid }) => pid);
  expect(left.length).toBeGreaterThan(0);
  await eventually(() => left.every((pid) => !isProcess(pid)), {
    timeoutMs: serverLimits.keepAliveTimeoutMs / 2,
  });
});

test('M-E6: an upgrade survives a controller that dies, and what the one before carries counts after a crash of the next', async () => {
  const carried = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/carried/`, 5);
  carried.start(50);
  try {
    process.kill(bellows.pidOf('controller')!, 'SIGKILL');
    const upgraded = await bellows.cli('upgrade', '--json');
    expect(upgraded.code, upgraded.stderr).toBe(0);
    const { pid, before } = JSON.parse(upgraded.stdout) as { pid: number; before: number };
    expect(processes()).toMatchObject({ children: { gateway: { pid } }, beside: [{ pid: before }] });
    await expect.poll(inUse).toBe(5);

    process.kill(pid, 'SIGKILL');
    await eventually(() => processes().children.gateway.pid !== pid, {
      timeoutMs: 60_000,
      what: () => 'another gateway to take the place of the one that was killed',
    });
    await expect.poll(inUse).toBe(5);
    const limited = await bellows.v1('PUT', '/tenants/default/limits', { connections: 5 });
    expect(limited.status).toBe(200);
    expect((await fetch(`${bellows.url}/w/default/carried/state`)).status).toBe(429);
    expect(await carried.stop()).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
  } finally {
    carried.close();
  }
  await expect.poll(async () => (await fetch(`${bellows.url}/w/default/carried/state`)).status).toBe(200);
  expect((await bellows.v1('PUT', '/tenants/default/limits', { connections: null })).status).toBe(200);
});

test('M-E6: connections that are held for a function go to the next gateway, twice, the one before ends, and nothing is lost', async () => {
  expect((await bellows.v1('PUT', '/workloads/default/talk', await talkingFunction())).status).toBe(201);
  const address = `ws://127.0.0.1:${bellows.port}/w/default/talk/`;
  const talking = await NumberedSockets.open(address, 5);
  const known = new WebSocket(address);
  const management = new ApiGatewayManagementApiClient({
    endpoint: `${bellows.url}/w/default/talk`,
    region: 'us-east-1',
    credentials: bellows.credentials.tenants['default']!,
    maxAttempts: 1,
  });
  const nextMessage = async (): Promise<string> => ((await once(known, 'message')) as [Buffer])[0].toString();
  try {
    await once(known, 'open');
    talking.start(50);
    const told = nextMessage();
    known.send('{"action":"who-am-i"}');
    const ConnectionId = await told;
    expect((await bellows.v1('PUT', '/tenants/default/limits', { connections: 6 })).status).toBe(200);
    const counts = new Set<number>();
    const watching = new SteadyCallers(1, async () => void counts.add(await inUse()));
    for (let upgrade = 0; upgrade < 2; upgrade += 1) {
      const upgraded = await bellows.cli('upgrade', '--json');
      expect(upgraded.code, upgraded.stderr).toBe(0);
      const { before } = JSON.parse(upgraded.stdout) as { before: number };
      // The one before has nothing left to carry, and all clients stay.
      await eventually(() => !isProcess(before), {
        timeoutMs: 60_000,
        what: () => `the gateway before, ${before}, to end:\n${bellows.output.slice(-2_000)}`,
      });
      expect(known.readyState).toBe(WebSocket.OPEN);
    }
    await watching.stop();
    expect(watching.errors).toEqual([]);
    // One that is not ready yet, and lets nobody in, has heard of none.
    expect([...counts].filter((count) => count !== 0)).toEqual([6]);
    expect((await bellows.v1('PUT', '/tenants/default/limits', { connections: null })).status).toBe(200);

    const posted = nextMessage();
    await management.send(new PostToConnectionCommand({ ConnectionId, Data: 'from the next gateway' }));
    expect(await posted).toBe('from the next gateway');
    const seen = await management.send(new GetConnectionCommand({ ConnectionId }));
    expect(seen.Identity?.SourceIp).toBe('127.0.0.1');
    const echoed = nextMessage();
    known.send('still here');
    expect(await echoed).toBe('still here');
    const closed = once(known, 'close');
    await management.send(new DeleteConnectionCommand({ ConnectionId }));
    expect((await closed)[0]).toBe(1000);
    for (const id of [ConnectionId, 'never-was'])
      await expect(management.send(new GetConnectionCommand({ ConnectionId: id }))).rejects.toThrow(
        GoneException,
      );
    const account = await talking.stop();
    console.log(`M-E6: held ${JSON.stringify(account)}`);
    expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
  } finally {
    talking.close();
    known.terminate();
    management.destroy();
  }
});

test('M-E6: the next gateway is killed while held connections go to it: those that it had taken end with it, all others are served on', async () => {
  await bellows.v1('PUT', '/workloads/default/talk', await talkingFunction());
  // So many that they are still on their way when some have been seen to be there.
  const count = 2_000;
  const talking = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/talk/`, count);
  try {
    talking.start(100);
    const before = processes().children.gateway.pid;
    const upgraded = bellows.cli('upgrade', '--json');
    await eventually(() => processes().children.gateway.pid !== before, { everyMs: 1, timeoutMs: 60_000 });
    const { pid } = processes().children.gateway;
    const filesOf = (): number => readdirSync(`/proc/${pid}/fd`).length;
    const others = filesOf();
    await eventually(() => filesOf() > others + 100, { everyMs: 1 });
    process.kill(pid, 'SIGKILL');
    await upgraded;
    await eventually(() => !isProcess(before), {
      timeoutMs: 60_000,
      what: () => `the gateway before, ${before}, to end:\n${bellows.output.slice(-2_000)}`,
    });
    const account = await talking.stop();
    const { stillOpen } = talking;
    console.log(`M-E6: next gateway killed: ${stillOpen} of ${count} stay, ${JSON.stringify(account)}`);
    expect(stillOpen).toBeGreaterThan(0);
    expect(stillOpen).toBeLessThan(count);
    expect(account).toMatchObject({ closes: count - stillOpen, doubled: 0, reordered: 0 });
    // Of one that was closed its message on the way is lost, and of no other.
    expect(account.lost).toBe(account.lostOfClosed);
  } finally {
    talking.close();
  }
});
