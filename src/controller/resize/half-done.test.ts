// A change whose halves, stored and applied, come apart: what is stored holds in the end, and nobody was told otherwise.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { Millicores } from '../../base/quantity.ts';
import type { Workload } from '../../model/workload.ts';
import { DesiredState } from '../state/desired.ts';
import { acme, app, Harness, mebibytes } from '../testing/harness.ts';

const now = { plan: false, waitMs: 0 } as const;
let harness: Harness;
let chat: Workload;
let id: InstanceId;

beforeEach(async () => {
  harness = await Harness.start();
  const request = { memory: mebibytes(256), cpu: 200 as Millicores };
  chat = await harness.control.deploy(acme, app('chat', { request }), { mustCreate: true });
  [id] = (await harness.running()) as [InstanceId];
});

afterEach(async () => {
  vi.restoreAllMocks();
  await harness.close();
});

const granted = () => harness.agent.instance(id).grant;
const limitOfTenant = async (): Promise<number | null | undefined> =>
  (await harness.agent.handlers.measure({})).tenants.find(({ tenant }) => tenant === acme)?.memoryLimitBytes;
const full = new BellowsError('Unavailable', 'The disk is full.');

test('a size that the store does not take is taken back from the kernel, and refused', async () => {
  vi.spyOn(DesiredState.prototype, 'putCurrent').mockRejectedValueOnce(full);
  const change = harness.control.resizeWorkload(acme, chat.name, { memory: mebibytes(512) }, now);
  await expect(change).rejects.toThrow('The disk is full.');
  expect(granted().memory).toBe(mebibytes(256));
  expect(harness.agent.calls.filter(({ method }) => method === 'resize').length).toBeGreaterThan(1);
  const again = await harness.control.resizeWorkload(acme, chat.name, { memory: mebibytes(512) }, now);
  expect(again.status).toBe('applied');
  expect(granted().memory).toBe(mebibytes(512));
});

test('a limit that the store does not take is taken back from the kernel, and refused', async () => {
  await harness.control.setLimits(acme, { memory: mebibytes(300) }, now);
  vi.spyOn(DesiredState.prototype, 'putTenant').mockRejectedValueOnce(full);
  await expect(harness.control.setLimits(acme, { memory: mebibytes(150) }, now)).rejects.toThrow('full');
  expect(await limitOfTenant()).toBe(mebibytes(300));
  expect(granted().memory).toBe(mebibytes(256));
});

test('what the kernel holds and the store never took is set right by the next controller', async () => {
  await harness.agent.handlers.resize({
    tenants: [{ tenant: acme, uid: 1, memoryBytes: mebibytes(700), cpuMillicores: null, weight: 1 }],
    instances: [{ id, grant: { ...granted(), memory: mebibytes(640) } }],
    waitMs: 0,
  });
  expect(granted().memory).toBe(mebibytes(640));
  await harness.restart();
  expect(granted().memory).toBe(mebibytes(256));
  expect(await limitOfTenant()).toBeNull();
});

test('changes of different resources at the same time are all kept', async () => {
  await Promise.all([
    harness.control.resizeWorkload(acme, chat.name, { memory: mebibytes(320) }, now),
    harness.control.resizeWorkload(acme, chat.name, { cpu: 300 as Millicores }, now),
  ]);
  expect(granted()).toMatchObject({ memory: mebibytes(320), cpu: 300 });
  expect(harness.control.getWorkload(acme, chat.name).request).toMatchObject({
    memory: mebibytes(320),
    cpu: 300,
  });
  await Promise.all([
    harness.control.setLimits(acme, { memory: mebibytes(280) }, now),
    harness.control.setLimits(acme, { cpu: 250 as Millicores }, now),
  ]);
  expect(granted()).toMatchObject({ memory: mebibytes(280), cpu: 250 });
  expect(harness.control.getTenant(acme).limits).toMatchObject({ memory: mebibytes(280), cpu: 250 });
});
