// Two gateways serve one port together: functions, apps, held connections, limits over both, the death of one, an upgrade of both.
// Clients are the AWS SDK, `ws` and plain sockets; which gateway has a connection is read from the kernel.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import {
  ApiGatewayManagementApiClient,
  DeleteConnectionCommand,
  GetConnectionCommand,
  GoneException,
  PostToConnectionCommand,
} from '@aws-sdk/client-apigatewaymanagementapi';
import { CreateFunctionCommand, CreateFunctionUrlConfigCommand, InvokeCommand } from '@aws-sdk/client-lambda';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { deployStatefulApp } from '../support/apps.ts';
import { zipOf } from '../support/archives.ts';
import { Bellows, eventually } from '../support/bellows.ts';
import { isProcess, ownerOfConnection, ownersOfConnections } from '../support/kernel.ts';
import { NumberedSockets } from '../support/numbered-sockets.ts';
import { SteadyCallers } from '../support/steady-callers.ts';
import { talkingFunction } from '../support/talking-function.ts';

interface Processes {
  readonly children: { readonly gateway: { readonly pid: number } };
  readonly gateways: readonly { readonly pid: number }[];
  readonly beside: readonly { readonly pid: number }[];
}

let bellows: Bellows;
beforeAll(async () => {
  bellows = await Bellows.start({ args: ['--no-examples', '--gateways', '2', '--unit', 'host'] });
  await deployStatefulApp(bellows);
  // Not started by Node itself, it listens on a port, and a gateway carries its connections.
  await deployStatefulApp(bellows, 'default', 'carried', { start: 'env node server.js' });
  const lambda = bellows.lambda();
  await lambda.send(
    new CreateFunctionCommand({
      FunctionName: 'echo',
      Runtime: 'nodejs26.x',
      Role: 'arn:aws:iam::000000000000:role/any',
      Handler: 'index.handler',
      Timeout: 20,
      Code: {
        ZipFile: await zipOf({
          'index.mjs': `let runs = 0, most = 0;
            export const handler = async (event) => {
              runs += 1; most = Math.max(most, runs);
              await new Promise((r) => setTimeout(r, event.ms ?? Number(event.queryStringParameters?.ms ?? 0)));
              runs -= 1;
              return { mark: event.mark ?? event.rawPath, most };
            };`,
        }),
      },
    }),
  );
  await lambda.send(new CreateFunctionUrlConfigCommand({ FunctionName: 'echo', AuthType: 'NONE' }));
  lambda.destroy();
});
afterAll(() => bellows.stop());
afterEach(async () => {
  const none = { connections: null, concurrency: null, requests: null };
  expect((await bellows.v1('PUT', '/tenants/default/limits', none)).status).toBe(200);
});

const processes = (): Processes =>
  JSON.parse(readFileSync(join(bellows.dataDirectory, 'run', 'processes.json'), 'utf8')) as Processes;
/** Those that serve, by place. */
const gateways = (): number[] => {
  const { children, gateways: more } = processes();
  return [children.gateway.pid, ...more.map(({ pid }) => pid)];
};

interface Told {
  readonly status: number;
  readonly text: string;
}

function get(agent: Agent, path: string): Promise<Told> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${bellows.url}${path}`, { agent }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text })).on('error', reject);
    });
    outgoing.on('error', reject).end();
  });
}

/** For each gateway, by place, a client whose one connection it has. */
async function clientOfEach(): Promise<Agent[]> {
  const clients = new Map<number, Agent>();
  const pids = gateways();
  for (let tried = 0; clients.size < pids.length; tried += 1) {
    if (tried > 200) throw new Error(`no connection came to each of ${pids.join(', ')}`);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    await get(agent, '/healthz');
    const [socket] = Object.values(agent.freeSockets).flat() as Socket[];
    const owner = ownerOfConnection(socket!.localPort!, bellows.port, pids);
    if (owner === undefined || clients.has(owner)) agent.destroy();
    else clients.set(owner, agent);
  }
  return pids.map((pid) => clients.get(pid)!);
}

const instancesOf = async (workload: string) =>
  (await bellows.instances()).filter((instance) => instance.workload === workload);

const setLimits = async (limits: object): Promise<void> => {
  expect((await bellows.v1('PUT', '/tenants/default/limits', limits)).status).toBe(200);
};

/** Held connections of the function that tells each its id. */
function heldTalkers(count: number) {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${bellows.port}/w/default/talk/`);
      await once(socket, 'open');
      const told = once(socket, 'message') as Promise<[Buffer]>;
      socket.send('{"action":"who-am-i"}');
      return { socket, ConnectionId: (await told)[0].toString() };
    }),
  );
}

const managerOfTalkers = (): ApiGatewayManagementApiClient =>
  new ApiGatewayManagementApiClient({
    endpoint: `${bellows.url}/w/default/talk`,
    region: 'us-east-1',
    credentials: bellows.credentials.tenants['default']!,
    maxAttempts: 1,
  });

test('both serve every function, by the same instance while one is enough, and every app', async () => {
  const clients = await clientOfEach();
  for (let round = 0; round < 20; round += 1)
    for (const client of clients) {
      const { status, text } = await get(client, `/w/default/echo/${round}`);
      expect([status, (JSON.parse(text) as { mark: string }).mark]).toEqual([200, `/${round}`]);
      expect((await get(client, '/w/default/stateful/state')).status).toBe(200);
      expect((await get(client, '/w/default/carried/state')).status).toBe(200);
    }
  expect(await instancesOf('echo')).toHaveLength(1);
  for (const client of clients) client.destroy();
});

test('M-D4: an instance runs one call at a time, whichever gateway it comes from, and both get theirs', async () => {
  const clients = await clientOfEach();
  const perCaller = [...clients, ...(await clientOfEach())];
  const callers = new SteadyCallers(4, async (caller, round) => {
    const { status, text } = await get(
      perCaller[caller]!,
      `/w/default/echo/${caller}.${round}?ms=${round % 5}`,
    );
    expect(status, text).toBe(200);
    expect(JSON.parse(text)).toMatchObject({ mark: `/${caller}.${round}`, most: 1 });
  });
  await eventually(() => callers.fewest >= 50, { timeoutMs: 60_000, what: () => callers.errors.join('\n') });
  await callers.stop();
  expect(callers.errors).toEqual([]);
  for (const client of perCaller) client.destroy();
});

test('M-C2: connections, direct, carried and held, count at both against one limit', async () => {
  const address = (name: string): string => `ws://127.0.0.1:${bellows.port}/w/default/${name}/`;
  const sockets = [
    await NumberedSockets.open(address('stateful'), 4),
    await NumberedSockets.open(address('carried'), 4),
  ];
  const inUse = async (): Promise<number> =>
    (await bellows.v1<{ inUse: { connections: number } }>('GET', '/tenants/default')).body.inUse.connections;
  try {
    await eventually(async () => (await inUse()) === 8);
    await setLimits({ connections: 8 });
    const clients = await clientOfEach();
    for (const client of clients)
      expect((await get(client, '/w/default/carried/state')).text).toContain(
        'The tenant default has 8 connections open, and its limit is 8.',
      );
    await setLimits({ connections: 9 });
    // There is room for one, in turn.
    for (const client of clients) expect((await get(client, '/w/default/carried/state')).status).toBe(200);
    for (const client of clients) client.destroy();
  } finally {
    for (const each of sockets) each.close();
  }
  await eventually(async () => (await inUse()) === 0);
});

test('M-C2: who waits for each answer and asks through the other gateway is never one too many at a limit of one', async () => {
  const clients = await clientOfEach();
  await setLimits({ connections: 1, concurrency: 1 });
  const refused: string[] = [];
  for (const path of ['/w/default/carried/state', '/w/default/echo/one'])
    for (let round = 0; round < 200; round += 1)
      for (const client of clients) {
        const { status, text } = await get(client, path);
        if (status !== 200) refused.push(`${round} ${path}: ${status} ${text}`);
      }
  expect(refused).toEqual([]);
  for (const client of clients) client.destroy();
});

test("M-D4: what runs for one gateway counts at the other against the tenant's concurrency", async () => {
  const [first, second] = await clientOfEach();
  const running = async (): Promise<number> =>
    (await bellows.v1<{ inUse: { concurrency: number } }>('GET', '/tenants/default')).body.inUse.concurrency;
  await setLimits({ concurrency: 1 });
  for (const [runs, waits] of [
    [first!, second!],
    [second!, first!],
  ] as const) {
    let refused: Told = { status: 0, text: '' };
    // Until the other has heard of it one may get in that waits behind it (docs/guides/limits.md): then there is another round.
    for (let round = 0; refused.status !== 429; round += 1) {
      expect(round, `a call for one gateway never counted at the other: ${refused.text}`).toBeLessThan(5);
      // Longer than a busy machine takes to ask what is in use, and the other.
      const slow = get(runs, '/w/default/echo/slow?ms=5000');
      let ended = false;
      void slow.then(() => (ended = true));
      await eventually(async () => (await running()) === 1);
      refused = await get(waits, '/w/default/echo/quick');
      const hadEnded = ended;
      expect(await slow).toMatchObject({ status: 200, text: '{"mark":"/slow","most":1}' });
      if (refused.status === 429) expect(hadEnded).toBe(false);
    }
    expect(JSON.parse(refused.text)).toMatchObject({ Reason: 'ConcurrentInvocationLimitExceeded' });
    // Whoever asks now, with the answer in hand, is served.
    expect((await get(waits, '/w/default/echo/quick')).status).toBe(200);
  }
  first!.destroy();
  second!.destroy();
});

test('M-C2: requests that come to both count against one limit a second', async () => {
  const clients = await clientOfEach();
  // Fewer than two clients ask for on the busiest machine.
  const perSecond = 5;
  await setLimits({ requests: perSecond });
  const beganMs = performance.now();
  let letIn = 0;
  let refused = 0;
  while (performance.now() - beganMs < 4_000 || refused === 0) {
    const told = await Promise.all(clients.map((client) => get(client, '/w/default/stateful/state')));
    letIn += told.filter(({ status }) => status === 200).length;
    refused += told.filter(({ status }) => status === 429).length;
  }
  const seconds = (performance.now() - beganMs) / 1000;
  console.log(
    `M-C2: ${letIn} let in and ${refused} refused in ${seconds.toFixed(1)} s at ${perSecond} a second`,
  );
  // A second's worth at once, the pace, and as much again at most before the other has heard of the first.
  expect(letIn).toBeLessThanOrEqual(perSecond * (seconds + 2));
  expect(letIn).toBeGreaterThanOrEqual(perSecond * 3);
  expect(refused).toBeGreaterThan(0);
  for (const client of clients) client.destroy();
});

test('M-D2: @connections reaches a held connection, whichever gateway has it and whichever is asked', async () => {
  expect((await bellows.v1('PUT', '/workloads/default/talk', await talkingFunction())).status).toBe(201);
  const held = await heldTalkers(8);
  // Each of these has a connection of its own, to the one or the other gateway.
  const managers = Array.from({ length: 8 }, managerOfTalkers);
  for (const { socket, ConnectionId } of held) {
    for (const [index, manager] of managers.entries()) {
      const told = once(socket, 'message') as Promise<[Buffer]>;
      await manager.send(new PostToConnectionCommand({ ConnectionId, Data: `from ${index}` }));
      expect((await told)[0].toString()).toBe(`from ${index}`);
    }
    const closed = once(socket, 'close');
    await managers[0]!.send(new DeleteConnectionCommand({ ConnectionId }));
    expect((await closed)[0]).toBe(1000);
    for (const manager of managers)
      await expect(manager.send(new GetConnectionCommand({ ConnectionId }))).rejects.toThrow(GoneException);
  }
  for (const manager of managers) manager.destroy();
});

test('M-E6: when one of them is killed the clients of the other notice nothing, direct connections go on, and it is back in its place', async () => {
  const direct = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/stateful/`, 10);
  direct.start(100);
  const clients = await clientOfEach();
  for (const client of clients) await get(client, '/w/default/echo/before');
  const [killed = 0, other = 0] = gateways();
  const ofOther = new SteadyCallers(1, async (_, round) => {
    const { status, text } = await get(clients[1]!, `/w/default/echo/${round}`);
    expect(status, text).toBe(200);
  });
  try {
    await eventually(() => ofOther.fewest >= 5);
    process.kill(killed, 'SIGKILL');
    // Who comes now and is to be served by the one that is not there waits for it.
    const came = await Promise.all(
      Array.from({ length: 20 }, () => get(new Agent({ keepAlive: false }), '/w/default/echo/new')),
    );
    expect(came.map(({ status }) => status)).toEqual(came.map(() => 200));
    await eventually(() => gateways()[0] !== killed && gateways()[1] === other);
    const before = ofOther.fewest;
    await eventually(() => ofOther.fewest >= before + 20);
    await ofOther.stop();
    expect(ofOther.errors).toEqual([]);
    const again = await clientOfEach();
    for (const client of again) expect((await get(client, '/w/default/echo/after')).status).toBe(200);
    for (const client of again) client.destroy();
    const account = await direct.stop();
    console.log(`M-E6: direct ${JSON.stringify(account)}`);
    expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
  } finally {
    direct.close();
    await ofOther.stop();
    for (const client of clients) client.destroy();
  }
});

test('M-E6: an upgrade replaces both, one after the other: no call fails, no connection is refused or closed, no message is lost', async () => {
  const direct = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/stateful/`, 5);
  const carried = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/carried/`, 5);
  direct.start(50);
  carried.start(50);
  const sdk = bellows.lambda('default', { maxAttempts: 1 });
  const anew = new Agent({ keepAlive: false });
  const callers = [
    new SteadyCallers(2, async (caller, round) => {
      const mark = `${caller}.${round}`;
      const { Payload } = await sdk.send(
        new InvokeCommand({ FunctionName: 'echo', Payload: JSON.stringify({ mark, ms: 5 }) }),
      );
      expect(JSON.parse(new TextDecoder().decode(Payload))).toMatchObject({ mark, most: 1 });
    }),
    new SteadyCallers(2, async () => {
      const { status, text } = await get(anew, '/w/default/echo/anew');
      expect(status, text).toBe(200);
    }),
  ];
  const someCalls = async (): Promise<void> => {
    const before = callers.map(({ fewest }) => fewest);
    await eventually(() => callers.every(({ fewest }, index) => fewest >= before[index]! + 10), {
      timeoutMs: 60_000,
      what: () => `calls; errors: ${callers.flatMap(({ errors }) => errors).join('\n')}`,
    });
  };
  try {
    await someCalls();
    const before = gateways();
    const upgraded = await bellows.cli('upgrade', '--json');
    expect(upgraded.code, upgraded.stderr).toBe(0);
    expect(JSON.parse(upgraded.stdout)).toMatchObject(before.map((pid) => ({ before: pid })));
    expect(gateways()).toHaveLength(2);
    for (const pid of before) expect(gateways()).not.toContain(pid);
    // One that is slow to answer is said to be silent.
    await eventually(async () => {
      const { stdout } = await bellows.cli('gateways', '--json');
      const told = JSON.parse(stdout) as { pid: number; state: string; connections: number }[];
      const serving = told.filter(({ state }) => state === 'serving');
      const leaving = told.filter(({ state }) => state === 'leaving');
      expect(serving.map(({ pid }) => pid)).toEqual(gateways());
      expect(before).toEqual(expect.arrayContaining(leaving.map(({ pid }) => pid)));
      const open = leaving.reduce((sum, { connections }) => sum + connections, 0);
      expect(open).toBeGreaterThanOrEqual(carried.stillOpen);
      return true;
    });
    await someCalls();
    for (const each of callers) await each.stop();
    expect(callers.flatMap(({ errors }) => errors)).toEqual([]);
    for (const [kind, sockets] of Object.entries({ direct, carried })) {
      const account = await sockets.stop();
      console.log(`M-E6: ${kind} ${JSON.stringify(account)}`);
      expect(account, kind).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
    }
    direct.close();
    carried.close();
    sdk.destroy();
    // What they carried has ended, and so do they.
    await eventually(() => before.every((pid) => !isProcess(pid)), { timeoutMs: 100_000 });
  } finally {
    for (const each of callers) await each.stop();
    direct.close();
    carried.close();
    sdk.destroy();
  }
});

test('M-E6: held connections go to the next gateway in the same place, and @connections finds each of them at any moment', async () => {
  const deployed = await bellows.v1('PUT', '/workloads/default/talk', await talkingFunction());
  expect([200, 201]).toContain(deployed.status);
  const talking = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/talk/`, 100);
  const known = await heldTalkers(4);
  const managers = known.map(managerOfTalkers);
  /** The table that the kernel prints may lack a row while others come and go. */
  const placesOf = async (pids: readonly number[]): Promise<number[]> => {
    const ports = talking.localPorts.map((port) => port!);
    let places: number[] = [];
    await eventually(() => {
      places = ownersOfConnections(ports, bellows.port, pids).map((owner) => pids.indexOf(owner ?? 0));
      return !places.includes(-1);
    });
    return places;
  };
  // Each asks for all of them in turn.
  const callers = new SteadyCallers(managers.length, async (caller, round) => {
    const { ConnectionId } = known[(caller + round) % known.length]!;
    await managers[caller]!.send(new GetConnectionCommand({ ConnectionId }));
  });
  talking.start(100);
  try {
    const before = gateways();
    const places = await placesOf(before);
    expect(new Set(places)).toEqual(new Set([0, 1]));
    const upgraded = await bellows.cli('upgrade', '--json');
    expect(upgraded.code, upgraded.stderr).toBe(0);
    await eventually(() => before.every((pid) => !isProcess(pid)), { timeoutMs: 60_000 });
    expect(await placesOf(gateways())).toEqual(places);
    await callers.stop();
    expect(callers.errors).toEqual([]);
    expect(await talking.stop()).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
  } finally {
    await callers.stop();
    talking.close();
    for (const { socket } of known) socket.terminate();
    for (const each of managers) each.destroy();
  }
});
