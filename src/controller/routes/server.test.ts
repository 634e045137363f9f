import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import { layoutOf } from '../../sys/layout.ts';
import { acme, eventually, fn, Harness } from '../testing/harness.ts';

/** A controller that came back before any gateway found it, and new code for what an instance of before still runs. */
async function redeployedAfterRestart() {
  const harness = await Harness.start({ gatewayArrivalMs: 5_000 });
  onTestFinished(() => harness.close());
  const before = await harness.gateway();
  const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
  const id = await before.acquire(hello);
  before.client.close();
  await harness.restart();
  const deploy = harness.control.deploy(acme, fn('hello', { env: { NEW: '1' } }), { mustCreate: false });
  await eventually(() => expect(harness.control.listWorkloads()[0]?.env).toEqual({ NEW: '1' }));
  return { harness, id, deploy };
}

test('a controller that stops does not wait for one who connected and said nothing', async () => {
  const harness = await Harness.start();
  const silent = connect(layoutOf(harness.directory).controllerSocket);
  await once(silent, 'connect');
  // The server has it when it has answered somebody who came later.
  const gateway = await harness.gateway({});
  gateway.client.close();
  const ended = once(silent.resume(), 'close');
  await harness.close();
  await ended;
  expect(silent.destroyed).toBe(true);
});

test('a deploy while no gateway is connected is answered when one has come and knows it', async () => {
  const harness = await Harness.start({ gatewayArrivalMs: 10_000 });
  onTestFinished(() => harness.close());
  let synced = 0;
  let deployed = false;
  const deploy = harness.control
    .deploy(acme, fn('hello'), { mustCreate: true })
    .then(() => (deployed = true));
  await eventually(() => expect(harness.control.listWorkloads()).toHaveLength(1));
  expect(deployed).toBe(false);
  const gateway = await harness.gateway({ sync: async () => (synced += 1) && {} });
  onTestFinished(() => gateway.client.close());
  await deploy;
  expect(synced).toBeGreaterThan(0);
  expect(gateway.table.workloads).toHaveLength(1);
});

test('M-E6: what a deployment ends right after a restart is not ended before a gateway has come and has nothing in flight there', async () => {
  const { harness, id, deploy } = await redeployedAfterRestart();
  const ended = Promise.withResolvers<void>();
  const after = await harness.gateway({
    retire: async ({ ids }) => {
      expect(ids).toEqual([id]);
      await ended.promise;
      return {};
    },
  });
  onTestFinished(() => after.client.close());
  const { generation } = await deploy;
  expect(after.table).toMatchObject({ instances: [{ generation }], retiring: [id] });
  expect(await harness.running()).toContain(id);
  ended.resolve();
  await eventually(async () => expect(await harness.running()).not.toContain(id));
});

test('M-E6: what a controller that just came back ends is asked also of the gateway that comes second', async () => {
  const { harness, id, deploy } = await redeployedAfterRestart();
  const first = await harness.gateway({}, { pid: 1, beside: [2] });
  onTestFinished(() => first.client.close());
  // It would have been asked by now, and the instance ended.
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(first.retired).toEqual([]);
  const ended = Promise.withResolvers<void>();
  const second = await harness.gateway(
    { retire: () => ended.promise.then(() => ({})) },
    { pid: 2, beside: [1] },
  );
  onTestFinished(() => second.client.close());
  await deploy;
  await eventually(() => expect(first.retired).toEqual([id]));
  expect(await harness.running()).toContain(id);
  ended.resolve();
  await eventually(async () => expect(await harness.running()).not.toContain(id));
});

test('what tenants have in use is asked of the newest gateway in each place, and unknown without one, or when it does not say', async () => {
  const harness = await Harness.start({ gatewayArrivalMs: 1 });
  onTestFinished(() => harness.close());
  expect(await harness.control.countedUse()).toBeNull();
  const older = await harness.gateway({
    usage: async () => [{ tenant: acme, connections: 1, concurrency: 1, requests: 1 }],
  });
  onTestFinished(() => older.client.close());
  const newer = await harness.gateway({
    usage: async () => [{ tenant: acme, connections: 3, concurrency: 2, requests: 9 }],
  });
  expect(await harness.control.countedUse()).toEqual(
    new Map([[acme, { connections: 3, concurrency: 2, requests: 9 }]]),
  );
  const second = await harness.gateway(
    { usage: async () => [{ tenant: acme, connections: 3, concurrency: 1, requests: 4 }] },
    { place: 1 },
  );
  onTestFinished(() => second.client.close());
  expect(await harness.control.countedUse()).toEqual(
    new Map([[acme, { connections: 3, concurrency: 2, requests: 13 }]]),
  );
  newer.client.close();
  const broken = await harness.gateway({
    usage: () => Promise.reject(new BellowsError('Unavailable', 'No.')),
  });
  onTestFinished(() => broken.client.close());
  expect(await harness.control.countedUse()).toBeNull();
});

test('gateways are listed by place with what they say of themselves, and one that does not answer as silent', async () => {
  const harness = await Harness.start({ gatewayArrivalMs: 1 });
  onTestFinished(() => harness.close());
  expect(await harness.control.gateways()).toEqual([]);
  const says = (state: 'serving' | 'leaving', connections: number) => ({
    look: async () => ({ state, connections }),
  });
  for (const gateway of [
    await harness.gateway(says('serving', 7), { pid: 3, place: 1 }),
    await harness.gateway(says('leaving', 2), { pid: 4, place: 0 }),
    await harness.gateway({ look: () => new Promise(() => {}) }, { pid: 5, place: 0 }),
  ])
    onTestFinished(() => gateway.client.close());
  expect(await harness.control.gateways()).toEqual([
    { pid: 4, place: 0, state: 'leaving', connections: 2 },
    { pid: 5, place: 0, state: 'silent', connections: null },
    { pid: 3, place: 1, state: 'serving', connections: 7 },
  ]);
});

test('queued events are given to the gateways in turn, and to none that only ends what it has', async () => {
  const harness = await Harness.start({ gatewayArrivalMs: 1 });
  onTestFinished(() => harness.close());
  const ran: string[] = [];
  for (const [name, place] of [
    ['leaving', 0],
    ['first', 0],
    ['second', 1],
  ] as const) {
    const invoke = async () => {
      ran.push(name);
      return { outcome: 'ok', payload: '' } as const;
    };
    const gateway = await harness.gateway({ invoke }, { place });
    onTestFinished(() => gateway.client.close());
    if (name === 'leaving') await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
  }
  const [workload] = harness.control.listWorkloads();
  if (workload?.kind !== 'function') throw new Error('no function');
  for (let call = 0; call < 4; call += 1) await harness.control.invoke(workload, '{}');
  expect(ran.toSorted()).toEqual(['first', 'first', 'second', 'second']);
});
