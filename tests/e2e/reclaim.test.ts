// Memory that lies idle, seen from outside: what a plan says, what the kernel then has back, what clients notice of it; and the ledger
// beside the kernel's own files. Little may be granted here, so that memory is short without filling the machine's.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { amountOf } from '../support/apps.ts';
import { Bellows, eventually, type InstanceAnswer } from '../support/bellows.ts';
import { groupDirectory, memoryLimitOf, oomKillsOf } from '../support/kernel.ts';
import { NumberedSockets } from '../support/numbered-sockets.ts';
import { SharingTenant } from '../support/sharing-tenants.ts';

const mib = 2 ** 20;
let bellows: Bellows;
let first: SharingTenant;
let second: SharingTenant;

beforeAll(async () => {
  // An app that idles demands some 40 MiB, one that was just asked something the 128 of its request. Both apps and two functions have
  // no room while one of these holds 304 MiB, even when the apps idle; without those they have it, even when the apps do not.
  bellows = await Bellows.start({ args: ['--no-examples', '--pool', '0', '--memory', '700MiB'] });
  const sizes = { app: '128MiB', functionMib: 360, timeoutSeconds: 60 };
  first = await SharingTenant.settle(bellows, 'first', sizes);
  second = await SharingTenant.settle(bellows, 'second', sizes);
});
afterAll(async () => {
  await bellows.stop();
});

interface Reclaimed {
  readonly planned: boolean;
  readonly missing: string;
  readonly from: readonly { instance: string; how: string; before: string; after: string; claimed: string }[];
  readonly connections: { open: number; kept: number; dropped: number };
}
interface Told {
  readonly type: string;
  readonly instance: string | null;
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What the kernel charges an instance's group, read without any of Bellows' code. */
function chargedTo({ pid }: InstanceAnswer): number {
  const directory = groupDirectory(pid, 'memory');
  for (const name of ['memory.usage_in_bytes', 'memory.current']) {
    try {
      return Number(readFileSync(join(directory, name), 'utf8'));
    } catch {
      // The other version's.
    }
  }
  throw new Error(`${directory} has no figure`);
}

/** Much that nothing refers to any more, and that nobody has collected. */
async function leaveGarbage(tenant: SharingTenant, holdMib: number): Promise<void> {
  await fetch(tenant.appUrl(`/hold?mib=${holdMib}`));
  await fetch(tenant.appUrl('/free'));
}

async function events(type: string): Promise<Told[]> {
  const { stdout } = await bellows.cli('events', '--json');
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Told)
    .filter((event) => event.type === type);
}

const steps = ({ from }: Reclaimed): string[] => from.map(({ instance, how }) => `${how} ${instance}`);

test('M-A4 M-B6 M-E3: what is planned is what is done: garbage of a running app is the host’s, and its clients notice nothing', async () => {
  const clients = await NumberedSockets.open(first.socketUrl, 5);
  clients.start(20);
  const app = await first.app();
  const body = { memory: '32MiB', from: 'first/app' };
  const plan = async (): Promise<{ planned: Reclaimed; before: number; after: number }> => {
    await leaveGarbage(first, 80);
    const before = chargedTo(app);
    const { body: planned } = await bellows.v1<Reclaimed>('POST', '/reclaim?plan=true', body);
    return { planned, before, after: chargedTo(app) };
  };
  let { planned, before, after } = await plan();
  // V8 may collect of itself in that moment: a plan that took anything would do so each time.
  for (let again = 0; again < 3 && after <= before - 8 * mib; again += 1)
    ({ planned, before, after } = await plan());
  expect(planned).toMatchObject({ planned: true, connections: { open: 5, kept: 5 } });
  expect(after).toBeGreaterThan(before - 8 * mib);

  const done = (await bellows.v1<Reclaimed>('POST', '/reclaim', body)).body;
  expect(steps(done)).toEqual(steps(planned));
  expect(steps(done)).toEqual([`trim ${app.id}`]);
  expect(before - chargedTo(app)).toBeGreaterThan(32 * mib);
  expect(done).toMatchObject({ planned: false, missing: '0', connections: { open: 5, kept: 5, dropped: 0 } });

  expect(await clients.stop()).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
  expect((await first.app()).pid).toBe(app.pid);
  expect(oomKillsOf(groupDirectory(app.pid, 'memory'))).toBe(0);
  clients.close();
  const [event] = await events('reclaim.taken');
  expect(event?.message).toContain('5 of 5 connections kept');
});

test('the command line plans and does the same', async () => {
  await leaveGarbage(second, 40);
  const planned = await bellows.cli('reclaim', '--from', 'second', '--plan');
  expect(planned).toMatchObject({ code: 0 });
  expect(planned.stdout).toMatch(/Planned, nothing was done/);
  const { id } = await second.app();
  expect(planned.stdout).toMatch(new RegExp(`${id} +app +trim`));
  const done = await bellows.cli('reclaim', '--from', 'second');
  expect(done.stdout).toMatch(/Freed .* claimed/);
  expect(done.stdout).toMatch(new RegExp(`${id} +app +trim`));
});

test('M-B4: a call that finds no room has idle functions trimmed, which then lend: it is served, and nobody is ended or killed', async () => {
  const apps = [await first.app(), await second.app()];
  expect(await first.work({ holdMib: 304 })).toMatchObject({ heldMib: 304 });
  const idle = await first.worker();
  await first.work({ holdMib: 0 });
  expect(await second.work({ holdMib: 48 })).toMatchObject({ heldMib: 48 });
  expect((await first.worker()).pid).toBe(idle.pid);
  const taken = (await events('reclaim.taken')).map(({ message }) => message);
  expect(taken.at(-1)).toContain('since second/worker found no room to start');
  for (const { pid } of [...apps, idle]) expect(oomKillsOf(groupDirectory(pid, 'memory'))).toBe(0);
  expect([(await first.app()).pid, (await second.app()).pid]).toEqual(apps.map(({ pid }) => pid));
});

test('M-E2: until here the ledger and the kernel agreed; when somebody else writes a limit the ledger says the kernel’s, and an event tells of it once', async () => {
  expect(await events('ledger.discrepancy')).toEqual([]);
  // With room for all nothing is divided anew, which would write the limit again before anybody has seen it.
  for (const { name } of [first, second]) await bellows.v1('DELETE', `/workloads/${name}/worker`);
  await eventually(async () => (await second.app()).memory.grant === '128MiB');
  const app = await second.app();
  const group = groupDirectory(app.pid, 'memory');
  const other = memoryLimitOf(group) + 32 * mib;
  writeFileSync(limitFile(group), String(other));
  await eventually(async () => amountOf('memory', (await second.app()).memory.grant) === other, {
    timeoutMs: 30_000,
    what: () => 'the ledger to say what the kernel holds',
  });
  const told = await events('ledger.discrepancy');
  expect(told.map(({ instance }) => instance)).toEqual([app.id]);
  expect(told[0]?.data).toMatchObject({ of: 'limit', resource: 'memory', kernel: other });
});

function limitFile(group: string): string {
  for (const name of ['memory.limit_in_bytes', 'memory.max']) {
    const file = join(group, name);
    try {
      readFileSync(file);
      return file;
    } catch {
      // The other version's.
    }
  }
  throw new Error(`${group} has no limit`);
}
