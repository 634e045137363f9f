// What the project is for: what runs is resized, and no client notices. Checked against the kernel's own files.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { amountOf, deployStatefulApp } from '../support/apps.ts';
import { Bellows, eventually, type InstanceAnswer } from '../support/bellows.ts';
import { cpuLimitOf, groupDirectory, isProcess, memoryLimitOf, oomKillsOf } from '../support/kernel.ts';
import { NumberedSockets } from '../support/numbered-sockets.ts';
import { randomFrom } from '../support/random.ts';

const mib = 1024 * 1024;

interface ResourceChange {
  readonly resource: 'memory' | 'cpu' | 'storage' | 'bandwidth';
  readonly before: string | null;
  readonly after: string | null;
  readonly wanted: string | null;
  readonly status: 'applied' | 'deferred' | 'infeasible';
  readonly reason: string;
  readonly durationMs: number;
}
interface Transaction {
  readonly status: 'applied' | 'deferred' | 'infeasible';
  readonly reason: string;
  readonly connections: { readonly open: number; readonly kept: number; readonly dropped: number };
  readonly tenants: readonly { readonly tenant: string; readonly changes: readonly ResourceChange[] }[];
  readonly instances: readonly { readonly instance: string; readonly changes: readonly ResourceChange[] }[];
}

let bellows: Bellows;
beforeAll(async () => {
  bellows = await Bellows.start();
});
afterAll(async () => {
  await bellows.stop();
});

const theInstance = async (workload: string): Promise<InstanceAnswer> => {
  const found = (await bellows.instances()).filter(
    (each) => each.workload === workload || each.workload.endsWith(`/${workload}`),
  );
  expect(found).toHaveLength(1);
  return found[0]!;
};
const appUrl = (name: string, path: string): string => `${bellows.url}/w/default/${name}${path}`;
const getJson = async <T>(url: string): Promise<T> => (await (await fetch(url)).json()) as T;

describe('an app with open WebSockets', () => {
  test(
    'M-C3 M-C5 M-A3: 50 sockets with numbered messages through 200 changes of the app and the tenant lose nothing, and every applied limit is the kernel’s',
    { timeout: 240_000 },
    async () => {
      await deployStatefulApp(bellows);
      const before = await theInstance('stateful');
      const memoryGroup = groupDirectory(before.pid, 'memory');
      const cpuGroup = groupDirectory(before.pid, 'cpu');
      const parent = (directory: string): string => directory.slice(0, directory.lastIndexOf('/'));
      const counterBefore = (await getJson<{ counter: number }>(appUrl('stateful', '/state'))).counter;

      const clients = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/stateful/`, 50);
      const portsBefore = clients.localPorts;
      clients.start(100);
      await expect.poll(async () => (await theInstance('stateful')).connections).toBe(50);

      const random = randomFrom(20240214326);
      const seen = { applied: 0, deferred: 0, infeasible: 0 };
      let refused = 0;
      try {
        for (let change = 0; change < 200; change += 1) {
          // A change every 50 ms: 200 of them last 10 s, in which 1,000 messages go.
          await new Promise((resolve) => setTimeout(resolve, 50));
          const between = (least: number, most: number): number =>
            least + Math.floor(random() * (most - least));
          const kind = random();
          const answer =
            kind < 0.6
              ? await bellows.v1<Transaction>('PATCH', '/workloads/default/stateful', {
                  memory: `${between(96, 700)}MiB`,
                  cpu: `${between(200, 1200)}m`,
                })
              : kind < 0.9
                ? await bellows.v1<Transaction>('PUT', '/tenants/default/limits', {
                    memory: `${between(300, 1000)}MiB`,
                    cpu: `${between(600, 1500)}m`,
                  })
                : kind < 0.95
                  ? await bellows.v1<Transaction>('PATCH', '/workloads/default/stateful', { memory: '8MiB' })
                  : await bellows.v1<Transaction>('PATCH', '/workloads/default/stateful', {
                      memory: '9GiB',
                    });
          if (kind >= 0.9 && kind < 0.95) {
            // Below the least that an instance can have: refused at the edge.
            expect(answer.status).toBe(400);
            expect(answer.body).toMatchObject({ error: { code: 'InvalidQuantity' } });
            refused += 1;
            continue;
          }
          expect([200, 202, 422], JSON.stringify(answer.body)).toContain(answer.status);
          seen[answer.body.status] += 1;
          expect(answer.body.connections.dropped).toBe(0);
          for (const instance of answer.body.instances) {
            for (const { resource, after, wanted, status, reason } of instance.changes) {
              if (status !== 'applied') expect(reason).not.toBe('');
              if (after === null || status === 'infeasible') continue;
              // What is deferred may have come about between the answer and this look.
              const held = status === 'deferred' ? [after, wanted ?? after] : [after];
              if (resource === 'memory')
                expect(held.map((each) => amountOf('memory', each))).toContain(memoryLimitOf(memoryGroup));
              if (resource === 'cpu')
                expect(Math.abs(cpuLimitOf(cpuGroup) - amountOf('cpu', after))).toBeLessThanOrEqual(1);
            }
          }
          for (const { resource, after, status } of answer.body.tenants.flatMap((tenant) => tenant.changes)) {
            if (status !== 'applied' || after === null) continue;
            if (resource === 'memory')
              expect(memoryLimitOf(parent(memoryGroup))).toBe(amountOf('memory', after));
            if (resource === 'cpu')
              expect(Math.abs(cpuLimitOf(parent(cpuGroup)) - amountOf('cpu', after))).toBeLessThanOrEqual(1);
          }
        }
        await eventually(() => clients.sent > 500, { what: () => `500 messages; ${clients.sent} were sent` });
        const account = await clients.stop();
        console.log(`M-C5: 200 changes ${JSON.stringify(seen)}; ${JSON.stringify(account)}`);
        expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
        expect(seen.applied).toBeGreaterThan(100);
        expect(seen.infeasible + refused).toBeGreaterThan(5);
        expect(clients.localPorts).toEqual(portsBefore);
        const after = await theInstance('stateful');
        expect(after.pid).toBe(before.pid);
        expect(after.connections).toBe(50);
        expect(oomKillsOf(memoryGroup)).toBe(0);
        expect((await getJson<{ counter: number }>(appUrl('stateful', '/state'))).counter).toBe(
          counterBefore + 1,
        );
      } finally {
        clients.close();
        await bellows.v1('PUT', '/tenants/default/limits', { memory: null, cpu: null });
        await bellows.v1('DELETE', '/workloads/default/stateful');
      }
    },
  );

  test('M-E1 M-C2: a shrink below what is in use is deferred, harms nothing, and is applied by itself when the app frees', async () => {
    await deployStatefulApp(bellows, 'default', 'holder');
    const instance = await theInstance('holder');
    const group = groupDirectory(instance.pid, 'memory');
    const clients = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/holder/`, 5);
    clients.start(50);
    try {
      await fetch(appUrl('holder', '/hold?mib=200'));
      const limitBefore = memoryLimitOf(group);
      const asked = await bellows.v1<Transaction>('PATCH', '/workloads/default/holder', { memory: '128MiB' });
      expect(asked.status).toBe(202);
      expect(asked.body.status).toBe('deferred');
      const change = asked.body.instances[0]?.changes.find((each) => each.resource === 'memory');
      expect(change).toMatchObject({ status: 'deferred' });
      expect(change?.reason).toMatch(/MiB/);
      expect(memoryLimitOf(group)).toBe(limitBefore);
      expect(isProcess(instance.pid)).toBe(true);
      expect((await getJson<{ heldMib: number }>(appUrl('holder', '/state'))).heldMib).toBe(200);

      await fetch(appUrl('holder', '/free'));
      await eventually(() => memoryLimitOf(group) === 128 * mib, {
        timeoutMs: 20_000,
        what: () => 'the shrink to be applied',
      });
      const account = await clients.stop();
      expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
      expect((await theInstance('holder')).pid).toBe(instance.pid);
      expect(oomKillsOf(group)).toBe(0);
    } finally {
      clients.close();
      await bellows.v1('DELETE', '/workloads/default/holder');
    }
  });

  test('M-E1: a deferred shrink is applied within ?wait when the app frees in time', async () => {
    await deployStatefulApp(bellows, 'default', 'waiter');
    const group = groupDirectory((await theInstance('waiter')).pid, 'memory');
    await fetch(appUrl('waiter', '/hold?mib=200'));
    const asked = bellows.v1<Transaction>('PATCH', '/workloads/default/waiter?wait=20', { memory: '128MiB' });
    setTimeout(() => void fetch(appUrl('waiter', '/free')), 500);
    const answer = await asked;
    expect(answer.body.status).toBe('applied');
    expect(memoryLimitOf(group)).toBe(128 * mib);
    await bellows.v1('DELETE', '/workloads/default/waiter');
  });

  test('M-E3: ?plan=true tells what would be done and changes nothing', async () => {
    await deployStatefulApp(bellows, 'default', 'planned');
    const group = groupDirectory((await theInstance('planned')).pid, 'memory');
    const limitBefore = memoryLimitOf(group);
    const plan = await bellows.v1<Transaction>('PATCH', '/workloads/default/planned?plan=true', {
      memory: '256MiB',
    });
    expect(plan.status).toBe(200);
    expect(plan.body.instances[0]?.changes.find((each) => each.resource === 'memory')).toMatchObject({
      before: '384MiB',
    });
    expect(JSON.stringify(plan.body)).toContain('256MiB');
    expect(memoryLimitOf(group)).toBe(limitBefore);
    await bellows.v1('DELETE', '/workloads/default/planned');
  });

  test('M-E5: the app reads its grant from a file and over the Runtime API, and is told of changes', async () => {
    await deployStatefulApp(bellows, 'default', 'aware');
    interface Grant {
      readonly memory: string;
      readonly memoryBytes: number;
      readonly cpu: string;
      readonly storage: string;
      readonly bandwidth: string;
      readonly generation: number;
    }
    const first = await getJson<Grant>(appUrl('aware', '/grant'));
    expect(first).toMatchObject({ memory: '384MiB', cpu: '500m' });
    expect(first.storage).not.toBe('');
    await bellows.v1('PATCH', '/workloads/default/aware', { memory: '256MiB', cpu: '750m' });
    // It is written and told once before the change and once after.
    const inFile = async (): Promise<Grant> => getJson<Grant>(appUrl('aware', '/grant'));
    const wanted = { memory: '256MiB', memoryBytes: 256 * mib, cpu: '750m', phase: 'current' };
    await expect.poll(inFile).toMatchObject(wanted);
    const file = await inFile();
    expect(file.generation).toBeGreaterThan(first.generation);
    const overApi = await getJson<Grant>(appUrl('aware', '/runtime-api'));
    expect(overApi).toMatchObject({ ...wanted, generation: file.generation });
    const lastHeard = async (): Promise<Grant | undefined> =>
      (await getJson<{ grants: Grant[] }>(appUrl('aware', '/state'))).grants.at(-1);
    await expect.poll(lastHeard).toMatchObject(wanted);
    await bellows.v1('DELETE', '/workloads/default/aware');
  });

  test('the command line resizes and sets limits, and its --json is the transaction', async () => {
    await deployStatefulApp(bellows, 'default', 'scripted');
    const { pid } = await theInstance('scripted');
    const group = groupDirectory(pid, 'memory');
    const resized = await bellows.cli('resize', 'scripted', '--memory', '320MiB', '--cpu', '0.7', '--json');
    expect(resized.stderr).toBe('');
    expect(resized.code).toBe(0);
    expect((JSON.parse(resized.stdout) as Transaction).status).toBe('applied');
    expect(memoryLimitOf(group)).toBe(320 * mib);
    const limited = await bellows.cli('limits', 'set', 'default', '--memory', '200MiB', '--json');
    expect(limited.code).toBe(0);
    expect(memoryLimitOf(group)).toBe(200 * mib);
    expect(memoryLimitOf(group.slice(0, group.lastIndexOf('/')))).toBe(200 * mib);
    expect((await theInstance('scripted')).pid).toBe(pid);
    await bellows.v1('PUT', '/tenants/default/limits', { memory: null });
    await eventually(() => memoryLimitOf(group) === 320 * mib, {
      what: () => 'the instance to get its request back',
    });
    await bellows.v1('DELETE', '/workloads/default/scripted');
  });
});
