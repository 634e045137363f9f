// Three customers on one machine whose limits, requests and work rise and fall: what each may use is at every sample what the
// kernel holds, the ledger adds up, and nobody's clients notice. Each has an app with WebSocket clients and a function.
import { dirname } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Bellows, eventually, type InstanceAnswer } from '../support/bellows.ts';
import { GrantSamples, type SamplesAccount } from '../support/grant-samples.ts';
import { groupDirectory, memoryLimitOf, oomKillsOf } from '../support/kernel.ts';
import { NumberedSockets } from '../support/numbered-sockets.ts';
import { randomFrom } from '../support/random.ts';
import { SharingTenant } from '../support/sharing-tenants.ts';

const names = ['amber', 'birch', 'cedar'] as const;
const socketsEach = 10;
const messagesPerSecondEach = 40;
const mib = 1024 * 1024;
/** What may be granted in all: less than all three ask for. The machine has more, so that nothing here is about its own memory. */
const roomMib = 1024;

let bellows: Bellows;
let tenants: readonly SharingTenant[];
beforeAll(async () => {
  bellows = await Bellows.start({ args: ['--no-examples', '--pool', '2', '--memory', `${roomMib}MiB`] });
  tenants = await Promise.all(
    names.map((name) =>
      SharingTenant.settle(bellows, name, { app: '128MiB', functionMib: 256, timeoutSeconds: 10 }),
    ),
  );
  await allIdle();
});
/** One after another, since there is room for all three functions only while some of them idle. */
async function allIdle(): Promise<void> {
  for (const tenant of tenants) {
    expect(await tenant.work({ holdMib: 0 })).toEqual({ heldMib: 0 });
    await eventually(async () => (await tenant.worker()).state === 'frozen', {
      what: () => `the function of ${tenant.name} to stand still`,
    });
  }
}
afterAll(async () => {
  await bellows.stop();
});

/** In the groups of all that runs and of their tenants. What was killed earlier is shown by another process being there. */
async function oomKills(): Promise<number> {
  const groups = new Set(
    (await bellows.instances()).flatMap(({ pid }) => {
      const group = groupDirectory(pid, 'memory');
      return [group, dirname(group)];
    }),
  );
  return [...groups].reduce((total, group) => total + oomKillsOf(group), 0);
}

/** By the kernel. */
const limitOf = ({ pid }: InstanceAnswer): number => memoryLimitOf(groupDirectory(pid, 'memory'));
const limitsOf = async (of: readonly SharingTenant[]): Promise<number[]> =>
  Promise.all(of.map(async (tenant) => limitOf(await tenant.app()) + limitOf(await tenant.worker())));
const sum = (amounts: readonly number[]): number => amounts.reduce((total, amount) => total + amount, 0);

/**
 * Runs `body` while clients of all three apps send numbered messages and grants are compared with the kernel's limits; then
 * asserts what has to hold whatever `body` does.
 */
async function throughout(what: string, body: () => Promise<void>): Promise<SamplesAccount> {
  const before = await Promise.all(tenants.map(async (tenant) => tenant.app()));
  const clients = await Promise.all(
    tenants.map(async ({ socketUrl }) => NumberedSockets.open(socketUrl, socketsEach)),
  );
  const samples = new GrantSamples(bellows);
  try {
    const ports = clients.map(({ localPorts }) => localPorts);
    for (const each of clients) each.start(messagesPerSecondEach);
    samples.start(50);
    await body();
    const seen = await samples.stop();
    const accounts = await Promise.all(clients.map(async (each) => each.stop()));
    console.log(`${what}: ${JSON.stringify(seen)}; sockets ${JSON.stringify(accounts)}`);
    for (const account of accounts)
      expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
    expect(clients.map(({ localPorts }) => localPorts)).toEqual(ports);
    expect(seen.wrong).toEqual([]);
    expect(seen.samples).toBeGreaterThan(10);
    const after = await Promise.all(tenants.map(async (tenant) => tenant.app()));
    expect(after.map(({ id, pid }) => ({ id, pid }))).toEqual(before.map(({ id, pid }) => ({ id, pid })));
    expect(await oomKills()).toBe(0);
    return seen;
  } finally {
    await samples.stop();
    for (const each of clients) each.close();
  }
}

test('M-C3 M-C5 M-E2: three tenants’ limits, requests and work change at random, every grant is the kernel’s, and no client notices', async () => {
  const random = randomFrom(20241120);
  const between = (least: number, most: number): number => least + Math.floor(random() * (most - least));
  const seen: Record<string, number> = { applied: 0, deferred: 0, infeasible: 0 };
  await throughout('M-C3 three tenants', async () => {
    for (let change = 0; change < 90; change += 1) {
      const tenant = tenants[change % tenants.length]!;
      const kind = random();
      if (kind < 0.2) {
        // It has room for this at every limit below, so it has to come about.
        expect(await tenant.work({ holdMib: between(0, 8) * 8 })).toHaveProperty('heldMib');
        continue;
      }
      const [method, path, least, most] =
        kind < 0.6
          ? (['PUT', `/tenants/${tenant.name}/limits`, 288, 500] as const)
          : kind < 0.8
            ? (['PATCH', `/workloads/${tenant.name}/app`, 64, 300] as const)
            : (['PATCH', `/workloads/${tenant.name}/worker`, 160, 400] as const);
      const answer = await bellows.v1<{ status: string; connections: { dropped: number } }>(method, path, {
        memory: `${between(least, most)}MiB`,
      });
      expect([200, 202, 422], JSON.stringify(answer.body)).toContain(answer.status);
      expect(answer.body.connections.dropped).toBe(0);
      seen[answer.body.status]! += 1;
    }
  });
  console.log(`M-C3 three tenants: changes ${JSON.stringify(seen)}`);
  expect(seen['applied']).toBeGreaterThan(30);
  for (const { name } of tenants) {
    await bellows.v1('PUT', `/tenants/${name}/limits`, { memory: null });
    await bellows.v1('PATCH', `/workloads/${name}/app`, { memory: '128MiB' });
    await bellows.v1('PATCH', `/workloads/${name}/worker`, { memory: '256MiB' });
  }
});

test('M-C2 M-C3 M-B4: a raised limit takes what others leave idle, and who lent it has it back as soon as it works', async () => {
  const [amber, birch, cedar] = tenants as [SharingTenant, SharingTenant, SharingTenant];
  const lenders = [birch, cedar];
  const setLimit = async (memory: string | null) =>
    bellows.v1<{ status: string }>('PUT', '/tenants/amber/limits', { memory });
  // In this order: more than the limit could ever give is refused.
  await bellows.v1('PATCH', '/workloads/amber/worker', { memory: '512MiB' });
  await setLimit('256MiB');
  await allIdle();
  await throughout('M-C2 lending', async () => {
    // All that is asked for within limits fits: nobody lends anything.
    await eventually(async () => (await limitsOf(lenders)).every((bytes) => bytes === 384 * mib));

    const working = amber.work({ forMs: 3_000 });
    const group = groupDirectory((await amber.worker()).pid, 'memory');
    await eventually(async () => (await amber.worker()).state === 'busy');
    const beforeBytes = memoryLimitOf(group);
    const begunMs = performance.now();
    let grownMs: number | undefined;
    const watching = setInterval(() => {
      if (memoryLimitOf(group) > (roomMib / 3) * mib) grownMs ??= performance.now() - begunMs;
    }, 1);
    const answer = await setLimit('640MiB').finally(() => clearInterval(watching));
    const answeredMs = performance.now() - begunMs;
    expect(answer.body.status, JSON.stringify(answer.body)).toBe('applied');
    // More than a third, which it would have if all three worked; and it has it when the answer is there.
    expect(memoryLimitOf(group), JSON.stringify(answer.body)).toBeGreaterThan((roomMib / 3) * mib);
    const lent = await limitsOf(lenders);
    for (const bytes of lent) expect(bytes).toBeLessThan((roomMib / 3) * mib);
    console.log(
      `M-C2 lending: ${beforeBytes / mib} MiB grew to ${memoryLimitOf(group) / mib} after ${grownMs?.toFixed(1)} ms, answered after ${answeredMs.toFixed(1)} ms; the others have ${lent.map((bytes) => Math.round(bytes / mib))} MiB`,
    );
    expect(await working).toHaveProperty('heldMib');

    // It is there to be used, and more of it than a third.
    expect(await amber.work({ holdMib: 400 })).toEqual({ heldMib: 400 });
    // Whoever lent and works again has its own at once, though the borrower still holds what it borrowed.
    expect(await birch.work({ holdMib: 120 })).toEqual({ heldMib: 120 });
    expect(await cedar.work({ holdMib: 120 })).toEqual({ heldMib: 120 });

    expect(await amber.work({ holdMib: 0 })).toEqual({ heldMib: 0 });
    await eventually(async () => sum(await limitsOf(tenants)) <= roomMib * mib, {
      timeoutMs: 30_000,
      what: () => 'all grants together to be within what may be granted',
    });
  });
});
