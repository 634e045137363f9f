// A machine whose memory is short for all that is asked for: what idles lends of its share while it idles, and has it back before
// its code goes on. Seen from outside: by /v1, by clients, and by the kernel.
import { dirname } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { amountOf } from '../support/apps.ts';
import { Bellows, eventually, type InstanceAnswer } from '../support/bellows.ts';
import { GrantSamples } from '../support/grant-samples.ts';
import { groupDirectory, memoryLimitOf, oomKillsOf } from '../support/kernel.ts';
import { NumberedSockets } from '../support/numbered-sockets.ts';
import { SharingTenant } from '../support/sharing-tenants.ts';

const mib = 2 ** 20;
let bellows: Bellows;
let lender: SharingTenant;
let borrower: SharingTenant;
let clients: NumberedSockets;
let samples: GrantSamples;

beforeAll(async () => {
  bellows = await Bellows.start({ args: ['--no-examples', '--pool', '0', '--memory', '640MiB'] });
  const sizes = { app: '64MiB', functionMib: 256, timeoutSeconds: 30 };
  lender = await SharingTenant.settle(bellows, 'lender', sizes);
  borrower = await SharingTenant.settle(bellows, 'borrower', sizes);
  await lender.work();
  clients = await NumberedSockets.open(borrower.socketUrl, 5);
  clients.start(20);
  samples = new GrantSamples(bellows);
  samples.start(50);
});
afterAll(async () => {
  await samples.stop();
  clients.close();
  await bellows.stop();
});

const memoryOf = ({ memory }: InstanceAnswer): number => amountOf('memory', memory.grant) / mib;
const kernelOf = ({ pid }: InstanceAnswer): number => memoryLimitOf(groupDirectory(pid, 'memory')) / mib;

test('M-C2 M-B1: the ledger’s capacity is what the operator lets be granted, and nobody is granted less while it is enough', async () => {
  const { body } = await bellows.v1<{ resource: string; capacity: string }[]>('GET', '/ledger');
  expect(body.find(({ resource }) => resource === 'memory')?.capacity).toBe('640MiB');
  const instances = await bellows.instances();
  expect(instances.map(memoryOf).sort((a, b) => a - b)).toEqual([64, 64, 256]);
});

test('M-C2 M-B4: an idle function lends to another tenant’s app that asks for more, and has it back when it is called', async () => {
  await eventually(async () => (await lender.worker()).state === 'frozen', { what: () => 'it to freeze' });
  const change = await bellows.v1<{ status: string; instances: { tenant: string }[] }>(
    'PATCH',
    '/workloads/borrower/app?wait=20',
    { memory: '500MiB' },
  );
  expect(change.body.status).toBe('applied');
  expect(change.body.instances.map(({ tenant }) => tenant)).toContain('lender');
  const [idle, app] = [await lender.worker(), await borrower.app()];
  expect(memoryOf(app)).toBe(500);
  expect(memoryOf(idle)).toBeLessThan(128);
  expect(amountOf('memory', idle.memory.promised ?? '0') / mib).toBeGreaterThanOrEqual(200);
  expect([kernelOf(idle), kernelOf(app)]).toEqual([memoryOf(idle), memoryOf(app)]);

  // More than it was left with: without its promise it would be killed for it, or not get on.
  expect(await lender.work({ holdMib: 160 })).toEqual({ heldMib: 160 });
  const woken = await lender.worker();
  expect(woken.pid).toBe(idle.pid);
  expect(woken.memory).not.toHaveProperty('promised');
  expect(memoryOf(woken)).toBeGreaterThanOrEqual(200);
  await eventually(async () => memoryOf(await borrower.app()) <= 384, {
    what: () => 'the borrower to shrink',
  });
  expect(oomKillsOf(groupDirectory(woken.pid, 'memory'))).toBe(0);
});

test('M-E1 M-B4: a call that finds no room has others lend first: nobody is ended for it, and nobody’s client notices', async () => {
  await bellows.v1('PATCH', '/workloads/borrower/app', { memory: '128MiB' });
  await eventually(async () => (await lender.worker()).state === 'frozen', { what: () => 'it to freeze' });
  const before = (await bellows.instances()).map(({ pid }) => pid);
  expect(await borrower.work({ holdMib: 64 })).toEqual({ heldMib: 64 });
  const after = (await bellows.instances()).map(({ pid }) => pid);
  for (const pid of before) expect(after).toContain(pid);
  const account = await clients.stop();
  expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
  const seen = await samples.stop();
  expect(seen.wrong).toEqual([]);
  for (const { pid } of await bellows.instances()) {
    const group = groupDirectory(pid, 'memory');
    expect([oomKillsOf(group), oomKillsOf(dirname(group))]).toEqual([0, 0]);
  }
});
