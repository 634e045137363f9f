// Any one process of Bellows dies without warning: direct connections go on, what runs is adopted, nothing starts twice.
import { once } from 'node:events';
import { Agent, request, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { InvokeCommand, CreateFunctionCommand } from '@aws-sdk/client-lambda';
import { tarGzOf, zipOf } from '../support/archives.ts';
import { deployStatefulApp } from '../support/apps.ts';
import { Bellows, eventually } from '../support/bellows.ts';
import { groupDirectory, isProcess, memoryLimitOf } from '../support/kernel.ts';
import { NumberedSockets } from '../support/numbered-sockets.ts';
import { SteadyCallers } from '../support/steady-callers.ts';
import { talkingFunction } from '../support/talking-function.ts';

const mib = 1024 ** 2;
let bellows: Bellows;
beforeAll(async () => {
  bellows = await Bellows.start();
});
afterAll(async () => {
  await bellows.stop();
});

test('M-E6: kill -9 of controller, agent and gateway in turn, under load: sockets go on, all is adopted within 5 s, nothing is doubled or orphaned', async () => {
  await deployStatefulApp(bellows);
  const sdk = bellows.lambda();
  await sdk.send(
    new CreateFunctionCommand({
      FunctionName: 'steady',
      Runtime: 'nodejs26.x',
      Role: 'arn:aws:iam::000000000000:role/any',
      Handler: 'index.handler',
      Code: {
        ZipFile: await zipOf({
          'index.mjs': 'let n = 0; export const handler = async () => ({ pid: process.pid, n: ++n });',
        }),
      },
    }),
  );
  const invoke = async (): Promise<{ n: number }> => {
    const answer = await sdk.send(new InvokeCommand({ FunctionName: 'steady' }));
    expect(answer.FunctionError).toBeUndefined();
    return JSON.parse(new TextDecoder().decode(answer.Payload)) as { n: number };
  };
  await invoke();
  const before = await bellows.instances();
  expect(before).toHaveLength(2);
  const clients = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/stateful/`, 20);
  const ports = clients.localPorts;
  clients.start(100);
  try {
    for (const role of ['controller', 'agent', 'gateway'] as const) {
      const pid = bellows.pidOf(role);
      expect(pid, `the ${role}'s process`).toBeDefined();
      process.kill(pid!, 'SIGKILL');
      await eventually(
        async () => {
          const replacement = bellows.pidOf(role);
          if (replacement === undefined || replacement === pid) return false;
          const health = await fetch(`${bellows.url}/healthz`);
          if (((await health.json()) as { status: string }).status !== 'ok') return false;
          const now = await bellows.instances();
          const app = now.find((each) => each.workload.includes('stateful'));
          return app?.connections === 20 && now.length === before.length;
        },
        { timeoutMs: 5_000, what: () => `everything to be right again after the ${role} was killed` },
      );
      const now = await bellows.instances();
      expect(now.map(({ id, pid: process }) => ({ id, process })).sort(byId)).toEqual(
        before.map(({ id, pid: process }) => ({ id, process })).sort(byId),
      );
      for (const { pid: process } of now) expect(isProcess(process)).toBe(true);
      expect((await invoke()).n).toBeGreaterThan(1);
    }
    const account = await clients.stop();
    console.log(`M-E6: ${JSON.stringify(account)}`);
    expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
    expect(clients.localPorts).toEqual(ports);
    const ps = await bellows.cli('ps', '--json');
    expect(ps.code).toBe(0);
    expect(ps.stdout).toContain(before[0]!.id);
  } finally {
    clients.close();
  }
});

test('M-E1: a shrink that waits is applied by itself although the agent, and then the controller, was killed meanwhile', async () => {
  await deployStatefulApp(bellows, 'default', 'waiting');
  const waiting = async (): Promise<{ pid: number }> =>
    (await bellows.instances()).find((each) => each.workload.endsWith('waiting'))!;
  const { pid } = await waiting();
  const group = groupDirectory(pid, 'memory');
  const at = (path: string): string => `${bellows.url}/w/default/waiting${path}`;
  await bellows.v1('PATCH', '/workloads/default/waiting', { memory: '512MiB' });
  for (const [round, role] of (['agent', 'controller'] as const).entries()) {
    const wanted = (128 + round) * mib;
    await fetch(at('/hold?mib=200'));
    const asked = await bellows.v1('PATCH', '/workloads/default/waiting', { memory: wanted });
    expect(asked).toMatchObject({ status: 202, body: { status: 'deferred' } });
    const killed = bellows.pidOf(role)!;
    process.kill(killed, 'SIGKILL');
    await eventually(
      async () => {
        const replacement = bellows.pidOf(role);
        if (replacement === undefined || replacement === killed) return false;
        return (await fetch(`${bellows.url}/healthz`)).ok;
      },
      { timeoutMs: 60_000, what: () => `the ${role} to be back` },
    );
    expect(memoryLimitOf(group)).toBeGreaterThan(200 * mib);
    await fetch(at('/free'));
    await eventually(() => memoryLimitOf(group) === wanted, {
      timeoutMs: 20_000,
      what: () =>
        `the kernel's limit to be ${wanted} after the ${role} was killed; it is ${memoryLimitOf(group)}`,
    });
    expect((await waiting()).pid).toBe(pid);
    await bellows.v1('PATCH', '/workloads/default/waiting', { memory: '512MiB' });
  }
  await bellows.v1('DELETE', '/workloads/default/waiting');
});

const byId = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? -1 : 1);

test('an app that crashes is started again, with another pid, and serves', async () => {
  const app = (await bellows.instances()).find((each) => each.workload.includes('stateful'));
  await fetch(`${bellows.url}/w/default/stateful/crash`).catch(() => undefined);
  await eventually(
    async () => {
      const now = (await bellows.instances()).filter((each) => each.workload.includes('stateful'));
      if (now.length !== 1 || now[0]!.pid === app?.pid) return false;
      return (await fetch(`${bellows.url}/w/default/stateful/state`)).ok;
    },
    { timeoutMs: 60_000, what: () => 'the app to be back' },
  );
});

test('M-E6: kill -9 of the supervisor: a new `bellows up` takes over from the gateway as at an upgrade: nobody is refused, no connection is closed', async () => {
  expect((await bellows.v1('PUT', '/workloads/default/talk', await talkingFunction())).status).toBe(201);
  // Not started by Node itself, it listens on a port, and the gateway carries its connections.
  await deployStatefulApp(bellows, 'default', 'carried', { start: 'env node server.js' });
  const open = (name: string): Promise<NumberedSockets> =>
    NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/${name}/`, 5);
  const clients = {
    direct: await open('stateful'),
    carried: await open('carried'),
    held: await open('talk'),
  };
  for (const each of Object.values(clients)) each.start(50);
  const agent = new Agent({ keepAlive: false });
  const callers = new SteadyCallers(2, async () => {
    const asked = request(`${bellows.url}/w/default/carried/state`, { agent }).end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    expect(response.statusCode, await text(response)).toBe(200);
  });
  // One that is starting when its agent is ended has served nobody.
  const running = async (): Promise<string[]> =>
    (await bellows.instances())
      .filter(({ state }) => state !== 'starting')
      .map(({ workload, pid }) => `${workload} ${pid}`);
  try {
    await eventually(() => callers.fewest > 5 && clients.held.outstanding < 5, {
      timeoutMs: 60_000,
      what: () =>
        `all to be served: ${callers.fewest} calls, ${clients.held.outstanding} messages outstanding; ${callers.errors.join()}`,
    });
    const before = await running();
    const gateway = bellows.pidOf('gateway')!;
    bellows.process.kill('SIGKILL');
    await eventually(() => bellows.process.signalCode === 'SIGKILL');
    bellows = await Bellows.start({ port: bellows.port, dataDirectory: bellows.dataDirectory });
    expect(bellows.pidOf('gateway')).not.toBe(gateway);
    let now: string[] = [];
    await eventually(
      async () => {
        now = await running();
        return before.every((each) => now.includes(each));
      },
      { timeoutMs: 60_000, what: () => `what ran before (${before.join()}) to run now: ${now.join()}` },
    );
    // Messages that waited may have been given a second instance of the function. Nothing else is there twice.
    const more = now.filter((each) => !before.includes(each));
    expect(more.filter((each) => !each.startsWith('talk '))).toEqual([]);
    await callers.stop();
    expect(callers.errors).toEqual([]);
    for (const [kind, each] of Object.entries(clients)) {
      const account = await each.stop();
      console.log(`M-E6: ${kind} ${JSON.stringify(account)}`);
      expect(account, kind).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
    }
    // Held ones are the new one's, so of what it carried only these keep the one before.
    expect(isProcess(gateway)).toBe(true);
    clients.carried.close();
    await eventually(() => !isProcess(gateway), {
      timeoutMs: 60_000,
      what: () => `the gateway before, ${gateway}, to end:\n${bellows.output.slice(-2_000)}`,
    });
    expect(clients.held.stillOpen).toBe(5);
  } finally {
    await callers.stop();
    for (const each of Object.values(clients)) each.close();
  }
  for (const name of ['talk', 'carried']) await bellows.v1('DELETE', `/workloads/default/${name}`);
});

test('M-E6: an app that asks for its HTTP connections goes on answering on them when the gateway is killed', async () => {
  const manifest = { kind: 'app', start: 'node server.js', directHttp: true };
  const code = `require('node:http').createServer((request, response) => response.end(request.url)).listen(process.env.PORT);`;
  const archive = await tarGzOf({ 'server.js': code, 'bellows.json': JSON.stringify(manifest) });
  expect(await bellows.v1('PUT', '/workloads/default/shop', archive)).toMatchObject({
    status: 201,
    body: { directHttp: true },
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = async (path: string): Promise<{ body: string; reused: boolean }> => {
    const headers = { host: `shop.default.localhost:${bellows.port}` };
    const asked = request({ host: '127.0.0.1', port: bellows.port, path, headers, agent }).end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    return { body: await text(response), reused: asked.reusedSocket };
  };
  try {
    expect(await ask('/first')).toEqual({ body: '/first', reused: false });
    const gateway = bellows.pidOf('gateway')!;
    process.kill(gateway, 'SIGKILL');
    await eventually(() => !isProcess(gateway));
    expect(await ask('/second')).toEqual({ body: '/second', reused: true });
  } finally {
    agent.destroy();
  }
});
