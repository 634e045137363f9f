// Three customers on one machine whose limits, requests and work rise and fall: what each may use is at every sample what the
// kernel holds, the ledger adds up, and nobody's clients notice. Each has an app with WebSocket clients and a function.
import { dirname } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Bellows, eventually, type InstanceAnswer } from '../support/bellows.ts';
import { GrantSamples } from '../support/grant-samples.ts';
import { groupDirectory, memoryLimitOf, oomKillsOf } from '../support/kernel.ts';
import { randomFrom } from '../support/random.ts';
import { SharingTenant } from '../support/sharing-tenants.ts';
import { throughout as watchedThroughout } from '../support/throughout.ts';

const names = ['amber', 'birch', 'cedar'] as const;
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
  const kills = new Map<string, number>();
  for (const { id, pid } of await bellows.instances()) {
    try {
      const group = groupDirectory(pid, 'memory');
      for (const each of [group, dirname(group)]) kills.set(each, oomKillsOf(each));
    } catch {
      // Its call's time was over since it was listed, and its group is gone.
      await eventually(async () => (await bellows.instances()).every((other) => other.id !== id));
    }
  }
  return sum([...kills.values()]);
}

/** By the kernel. */
const limitOf = ({ pid }: InstanceAnswer): number => memoryLimitOf(groupDirectory(pid, 'memory'));
const limitsOf = async (of: readonly SharingTenant[]): Promise<number[]> =>
  Promise.all(of.map(async (tenant) => limitOf(await tenant.app()) + limitOf(await tenant.worker())));
const sum = (amounts: readonly number[]): number => amounts.reduce((total, amount) => total + amount, 0);

/** See ../support/throughout.ts; and nobody was killed for it. */
async function throughout(what: string, body: () => Promise<void>): Promise<void> {
  const samples = new GrantSamples(bellows);
  const clients = { socketsEach: 10, messagesPerSecondEach: 40 };
  await watchedThroughout(what, { tenants, samples, everyMs: 20, ...clients }, body);
  expect(await oomKills()).toBe(0);
}

test('M-C3 M-C5 M-E2: three tenants’ limits, requests and work change at random, every grant is the kernel’s, and no client notices', async () => {
  const random = randomFrom(20241120);
  const between = (least: number, most: number): number => least + Math.floor(random() * (most - least));
  const seen: Record<string, number> = { applied: 0, deferred: 0, infeasible: 0 };
  await throughout('M-C3 three tenants', async () => {
    for (let change = 0; change < 90; change += 1) {
      // So that messages go and samples are taken between changes, however fast these are.
      await new Promise((resolve) => setTimeout(resolve, 20));
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

/** Times calls of a function one after another until it is over, in milliseconds. */
async function callTimes(tenant: SharingTenant, isOver: () => boolean): Promise<number[]> {
  const times: number[] = [];
  while (!isOver()) {
    const begunMs = performance.now();
    expect(await tenant.work()).toHaveProperty('heldMib');
    times.push(performance.now() - begunMs);
    // A caller that is in no hurry: the machine is not to be busy with this.
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return times;
}

/** @param share of the times that are shorter */
const at = (times: readonly number[], share: number): number =>
  times.toSorted((one, other) => one - other)[Math.floor(times.length * share)]!;

test('M-B4 M-C2: where two tenants grow at once beyond all there is, the third keeps what it has and is answered as before', async () => {
  const [amber, birch, cedar] = tenants as [SharingTenant, SharingTenant, SharingTenant];
  const growing = [amber, birch];
  await allIdle();
  // Together more than there is, of which each one's third is 341 MiB.
  await bellows.v1('PUT', '/tenants/amber/limits', { memory: null });
  for (const { name } of growing)
    await bellows.v1('PATCH', `/workloads/${name}/worker`, { memory: '640MiB' });
  expect(await cedar.work({ holdMib: 64 })).toEqual({ heldMib: 64 });
  const { id, pid } = await cedar.worker();
  await throughout('M-B4 growth beyond what there is', async () => {
    const forAWhile = (): (() => boolean) => {
      const untilMs = performance.now() + 1_500;
      return () => performance.now() > untilMs;
    };
    const before = await callTimes(cedar, forAWhile());
    let isOver = false;
    const strained = new Map<string, InstanceAnswer['memory']>();
    const growth = Promise.all(growing.map(async (tenant) => tenant.work({ holdMib: 560 }))).finally(() => {
      isOver = true;
    });
    const looking = (async () => {
      while (!isOver) {
        for (const { tenant, memory } of await bellows.instances())
          if (memory.strain === 'waiting') strained.set(tenant, memory);
        expect(await oomKills()).toBe(0);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    })();
    const meanwhile = await callTimes(cedar, () => isOver);
    const answers = await growth;
    await looking;
    const quiet = [...before, ...(await callTimes(cedar, forAWhile()))];
    console.log(
      `M-B4: a call of the third took ${at(quiet, 0.5).toFixed(1)} ms (p99 ${at(quiet, 0.99).toFixed(1)}) before and after, and ${at(meanwhile, 0.5).toFixed(1)} ms (p99 ${at(meanwhile, 0.99).toFixed(1)}) while the others grew; ${quiet.length} and ${meanwhile.length} calls; the others: ${JSON.stringify(answers)}`,
    );
    // Not both can have come to it. Nobody is killed for what it was asked to have: it waits, which is shown and told, until
    // its call's time is over, and its caller is told that in Lambda's own words.
    expect(answers.filter((each) => 'heldMib' in each).length).toBeLessThan(2);
    const { stdout } = await bellows.cli('events', '--json');
    for (const [index, answer] of answers.entries()) {
      if (!('error' in answer)) continue;
      expect(answer.error).toMatch(/Sandbox\.Timedout/);
      const { name } = growing[index]!;
      expect(strained.get(name)).toMatchObject({ requested: '640MiB', strain: 'waiting' });
      expect(strained.get(name)?.reason).toContain('nobody else can spare more now');
      expect(stdout).toMatch(new RegExp(`"type":"memory.waiting","tenant":"${name}"`));
    }
    // It may wait for a processor; it never waits for memory, nor for another process to start, which would be tenths of a second.
    expect(at(meanwhile, 0.5)).toBeLessThan(5 * at(quiet, 0.5));
  });
  expect(await cedar.worker()).toMatchObject({ id, pid });
  expect(await cedar.work()).toEqual({ heldMib: 64 });
});
