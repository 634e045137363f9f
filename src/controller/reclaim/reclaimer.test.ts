// Whom a reclaim asks, with a unit that is played: what it frees on the real kernel is in tests/.
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { InstanceId, UnitId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { Tuning } from '../config.ts';
import { acme, app, eventually, Harness } from '../testing/harness.ts';

let harness: Harness;
afterEach(() => harness.close());

const trimmed = (): number => harness.agent.calls.filter(({ method }) => method === 'trim').length;

async function instanceOf(megabytes: number, tuning: Partial<Tuning> = {}): Promise<InstanceId> {
  harness = await Harness.start(tuning);
  await harness.control.deploy(acme, app('chat'), { mustCreate: true });
  const [id] = await harness.running();
  if (id === undefined) throw new Error('nothing runs');
  harness.agent.setInUse(id, megabytes * mib);
  return id;
}

/** Has the unit of what runs be a virtual machine of 1 GiB. */
async function inMachine(claimedBytes: number, hostPrivateBytes: () => number): Promise<UnitId> {
  const { unit } = (await harness.control.instances())[0]!;
  const measure = harness.agent.handlers.measure;
  const machine = { memory: 1024 * mib, cpu: 1000, storage: 0, bandwidth: 0 };
  vi.spyOn(harness.agent.handlers, 'measure').mockImplementation(async (asked) => ({
    ...(await measure(asked)),
    units: [
      {
        id: unit,
        driver: 'vm',
        state: 'bound',
        pid: 7,
        tenant: acme,
        provisioned: machine as Resources,
        claimed: { ...machine, memory: claimedBytes } as Resources,
        mayHibernate: true,
        carriedPackets: 5,
        hostPrivateBytes: hostPrivateBytes(),
        hostGroupBytes: null,
        hostStorageBytes: 0,
      },
    ],
  }));
  return unit;
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
  let hostPrivateBytes = 700 * mib;
  await inMachine(0, () => hostPrivateBytes);
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

describe('M-C4: a virtual machine in which nothing has happened for long', () => {
  const asleepFor = async (hibernateIdleMs: number) => {
    await instanceOf(90, { hibernateIdleMs });
    let hostPrivateBytes = 300 * mib;
    const unit = await inMachine(900 * mib, () => hostPrivateBytes);
    const hibernate = vi.spyOn(harness.agent.handlers, 'hibernate').mockImplementation(async () => {
      const beforeBytes = hostPrivateBytes;
      hostPrivateBytes = 0;
      return { beforeBytes, afterBytes: 0, storedBytes: mib, durationMs: 1 };
    });
    // Since when it idles is known from samples.
    await harness.control.ledger();
    return { unit, hibernate };
  };

  test('is put on disk with its app when its memory is needed, after all that costs less', async () => {
    const { unit, hibernate } = await asleepFor(0);
    const asked = { memoryBytes: 200 * mib };
    await eventually(async () =>
      expect((await harness.control.reclaim({ ...asked, plan: true })).from.at(-1)?.how).toBe('hibernate'),
    );
    expect(hibernate).not.toHaveBeenCalled();
    const report = await harness.control.reclaim(asked);
    expect(report).toMatchObject({ claimedBytes: 300 * mib, freedBytes: 300 * mib, missingBytes: 0 });
    expect(report.from.at(-1)).toMatchObject({ how: 'hibernate', beforeBytes: 300 * mib, afterBytes: 0 });
    expect(hibernate.mock.calls.map(([params]) => params)).toEqual([
      { unit, why: 'since it was asked for', carriedPackets: 5 },
    ]);
  });

  test('is let be while that is not long, and when all that is free is asked for', async () => {
    const { hibernate } = await asleepFor(600_000);
    expect((await harness.control.reclaim({ memoryBytes: 200 * mib })).missingBytes).toBeGreaterThan(0);
    expect(hibernate).not.toHaveBeenCalled();
    await harness.close();
    const other = await asleepFor(0);
    await harness.control.reclaim({});
    expect(other.hibernate).not.toHaveBeenCalled();
  });
});
