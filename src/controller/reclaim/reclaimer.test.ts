// Whom a reclaim asks, with a unit that is played: what it frees on the real kernel is in tests/.
import { afterEach, expect, test, vi } from 'vitest';
import type { InstanceId, UnitId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import { acme, app, eventually, Harness } from '../testing/harness.ts';

let harness: Harness;
afterEach(() => harness.close());

const trimmed = (): number => harness.agent.calls.filter(({ method }) => method === 'trim').length;

async function instanceOf(megabytes: number): Promise<InstanceId> {
  harness = await Harness.start();
  await harness.control.deploy(acme, app('chat'), { mustCreate: true });
  const [id] = await harness.running();
  if (id === undefined) throw new Error('nothing runs');
  harness.agent.setInUse(id, megabytes * mib);
  return id;
}

test('one that has little to give is not woken for it, and the report says that nobody was asked', async () => {
  await instanceOf(12);
  expect(await harness.control.reclaim({ from: acme })).toMatchObject({
    foundBytes: 0,
    claimedBytes: 0,
    freedBytes: 0,
    from: [],
  });
  expect(trimmed()).toBe(0);
});

test('one that is named by its id is asked, whatever it has', async () => {
  const id = await instanceOf(12);
  expect((await harness.control.reclaim({ from: id })).from).toHaveLength(1);
});

test('one that a trim left with what it has is asked again when it has grown', async () => {
  const id = await instanceOf(60);
  await harness.control.reclaim({ from: acme });
  expect(trimmed()).toBe(1);
  await harness.control.reclaim({ from: acme });
  expect(trimmed()).toBe(1);
  harness.agent.setInUse(id, 70 * mib);
  await harness.control.reclaim({ from: acme });
  expect(trimmed()).toBe(2);
});

test('what was taken back shows as claimed until it is used again, also where a trim sees a part of it only', async () => {
  const id = await instanceOf(60);
  const part = { beforeBytes: 10 * mib, afterBytes: 8 * mib };
  harness.agent.script.next('trim', { do: 'answer', result: part });
  await harness.control.reclaim({ from: acme });
  const claimed = async (): Promise<number | undefined> =>
    (await harness.control.instances())[0]?.claimed.memory;
  harness.agent.setInUse(id, 40 * mib);
  await eventually(async () => expect(await claimed()).toBe(20 * mib));
  harness.agent.setInUse(id, 61 * mib);
  await eventually(async () => expect(await claimed()).toBe(0));
});

test('of a virtual machine what nothing inside has is claimed: the report says so, and what its process gave the host', async () => {
  const id = await instanceOf(12);
  const instance = (await harness.control.instances())[0];
  const measure = harness.agent.handlers.measure;
  let hostPrivateBytes = 700 * mib;
  const machine = { memory: 1024 * mib, cpu: 1000, storage: 0, bandwidth: 0 };
  vi.spyOn(harness.agent.handlers, 'measure').mockImplementation(async (asked) => ({
    ...(await measure(asked)),
    units: [
      {
        id: instance?.unit as UnitId,
        driver: 'vm',
        state: 'bound',
        pid: 7,
        tenant: acme,
        provisioned: machine as Resources,
        claimed: { ...machine, memory: 0 } as Resources,
        hostPrivateBytes,
        hostGroupBytes: null,
        hostStorageBytes: 0,
      },
    ],
  }));
  vi.spyOn(harness.agent.handlers, 'trim').mockImplementation(async () => {
    hostPrivateBytes = 300 * mib;
    return { beforeBytes: 12 * mib, afterBytes: 12 * mib, unit: { claimedBytes: 600 * mib } };
  });
  expect(await harness.control.reclaim({ from: acme })).toMatchObject({
    claimedBytes: 600 * mib,
    freedBytes: 400 * mib,
    from: [{ instance: id, how: 'claim', claimedBytes: 600 * mib }],
  });
});
