// What instances demand, and instances that are there before the call that is expected, from outside. A rhythm of minutes is
// not waited for: the store is given what a day of calls would have left there, and is read by the next start as it is.
import { CreateFunctionCommand, InvokeCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { WorkloadKey } from '../../src/base/ids.ts';
import { parseBytes } from '../../src/base/quantity.ts';
import { newMemory, toStored } from '../../src/controller/demand/stored-memory.ts';
import { keys } from '../../src/controller/state/records.ts';
import type { Store } from '../../src/store/port.ts';
import { openSqliteStore } from '../../src/store/sqlite/sqlite-store.ts';
import { layoutOf } from '../../src/sys/layout.ts';
import { zipOf } from '../support/archives.ts';
import { Bellows, eventually, type InstanceAnswer } from '../support/bellows.ts';

const memoryMib = 256;
const handler = `
  let calls = 0;
  exports.handler = async ({ holdMs = 0 }) => {
    calls += 1;
    await new Promise((resolve) => setTimeout(resolve, holdMs));
    return { pid: process.pid, calls };
  };
`;

let bellows: Bellows;
let lambda: LambdaClient;
beforeAll(async () => {
  bellows = await Bellows.start();
  lambda = bellows.lambda();
});
afterAll(() => bellows.stop());

async function create(name: string): Promise<void> {
  await lambda.send(
    new CreateFunctionCommand({
      FunctionName: name,
      Runtime: 'nodejs26.x',
      Role: 'arn:aws:iam::000000000000:role/any',
      Handler: 'index.handler',
      Timeout: 60,
      MemorySize: memoryMib,
      Code: { ZipFile: await zipOf({ 'index.js': handler }) },
    }),
  );
}

async function invoke(name: string, event: unknown = {}): Promise<{ pid: number; calls: number }> {
  const command = new InvokeCommand({ FunctionName: name, Payload: JSON.stringify(event) });
  const { Payload, FunctionError } = await lambda.send(command);
  expect(FunctionError).toBeUndefined();
  return JSON.parse(new TextDecoder().decode(Payload)) as { pid: number; calls: number };
}

async function instancesOf(name: string): Promise<InstanceAnswer[]> {
  return (await bellows.instances()).filter(
    ({ workload }) => workload === name || workload.endsWith(`/${name}`),
  );
}

test('one that works demands what was asked for it, and one that idles what it uses', async () => {
  await create('hold');
  const answered = invoke('hold', { holdMs: 5_000 });
  const demandOf = async (): Promise<number> => {
    const [instance] = await instancesOf('hold');
    return parseBytes(instance!.memory.demand);
  };
  const request = parseBytes(`${memoryMib}MiB`);
  await eventually(async () => (await demandOf()) === request, { timeoutMs: 30_000 });
  await answered;
  await eventually(async () => (await demandOf()) < request / 2, { timeoutMs: 30_000 });
  const [idle] = await instancesOf('hold');
  expect(parseBytes(idle!.memory.grant)).toBe(request);
  const metrics = await (await fetch(`${bellows.url}/metrics`)).text();
  expect(metrics).toMatch(/^bellows_resource_demand\{resource="memory"\} [1-9]\d*$/m);
});

test('M-B1: an instance is there before the call that is expected, and goes when that does not come', async () => {
  for (const name of ['punctual', 'missed', 'unknown']) {
    await create(name);
    await invoke(name);
  }
  expect(await bellows.stop({ keepData: true })).toBe(0);
  // The orderly stop has written what was learned of the one above.
  await withStore(async (store) => {
    expect((await store.get(memoryOf('hold')))?.value).toMatchObject({ version: 1 });
  });
  // Calls every two and a half minutes: an instance is due from about 98 s after one, and until 360 s after it.
  await pretend('punctual', 95_000);
  await pretend('missed', 300_000);
  bellows = await Bellows.start({ dataDirectory: bellows.dataDirectory, port: bellows.port });

  await eventually(async () => (await instancesOf('missed')).length === 1, { timeoutMs: 20_000 });
  await eventually(async () => (await instancesOf('punctual')).length === 1, { timeoutMs: 60_000 });
  const [ahead] = await instancesOf('punctual');
  const answer = await invoke('punctual');
  expect(answer.calls).toBe(1);
  expect((await instancesOf('punctual')).map(({ id }) => id)).toEqual([ahead!.id]);

  await eventually(async () => (await instancesOf('missed')).length === 0, { timeoutMs: 90_000 });
  expect(await instancesOf('unknown')).toEqual([]);
});

/** What a day of calls, the last one so long ago, would have left in the store of a Bellows that does not run. */
async function pretend(name: string, lastEndedAgoMs: number): Promise<void> {
  const periodMs = 150_000;
  const nowMs = Date.now();
  const memory = newMemory(nowMs - 24 * 3_600_000);
  const lastMs = nowMs - lastEndedAgoMs;
  for (let atMs = lastMs - 500 * periodMs; atMs <= lastMs; atMs += periodMs) {
    memory.arrivals.called(0, atMs);
    memory.arrivals.ended(atMs);
  }
  await withStore(async (store) => {
    await store.put(memoryOf(name), toStored(memory, nowMs));
  });
}

function memoryOf(name: string): string {
  return keys.memory(`default/${name}` as WorkloadKey);
}

async function withStore(use: (store: Store) => Promise<void>): Promise<void> {
  const { database, blobs } = layoutOf(bellows.dataDirectory);
  const store = await openSqliteStore({ databasePath: database, blobDirectory: blobs });
  try {
    await use(store);
  } finally {
    await store.close();
  }
}
