// What every Cgroup keeps, as tests that run against real processes. Imported by tests only. They know no test runner, so that
// they run wherever there is a kernel to ask: in testing/suite.ts on this machine, and inside a virtual machine. What an
// implementation can not do here, by its own capabilities, is tested for: that nothing is shown as enforced which is not.
import {
  deepStrictEqual as deepEqual,
  ok,
  partialDeepStrictEqual,
  rejects,
  strictEqual as equal,
  throws,
} from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { mib } from '../../base/quantity.ts';
import { identify, isAlive } from '../../sys/process.ts';
import type { Cgroup, CgroupCapabilities, GroupPath, LimitOutcome } from './port.ts';
import { Holder, inScene, type Scene } from './testing/scene.ts';

type Capability = Exclude<keyof CgroupCapabilities, 'version'>;

const tenant: GroupPath = ['tenants', 'acme'];
const instance: GroupPath = ['tenants', 'acme', 'i-one'];
const other: GroupPath = ['tenants', 'acme', 'i-two'];

/** Who is only slowed down has come far beyond its limit by then. */
const heldMs = 5000;

export interface ContractTest {
  readonly title: string;
  /** @param cgroup with a root group of its own, which is removed afterwards. @throws AssertionError */
  readonly run: (cgroup: Cgroup) => Promise<void>;
}

export function cgroupContract(capabilities: CgroupCapabilities): ContractTest[] {
  const tests: ContractTest[] = [];
  const test = (title: string, body: (scene: Scene) => Promise<void>): void =>
    void tests.push({ title, run: (cgroup) => inScene(cgroup, body) });
  const testIf = (can: boolean, title: string, body: (scene: Scene) => Promise<void>): void => {
    if (can) test(title, body);
  };
  const testWith = (
    needed: readonly Capability[],
    title: string,
    body: (scene: Scene) => Promise<void>,
  ): void =>
    testIf(
      needed.every((capability) => capabilities[capability]),
      title,
      body,
    );

  test('a group is made with its parents, as often as one likes, and is listed', async ({ cgroup }) => {
    cgroup.create(instance);
    cgroup.create(instance);
    deepEqual(cgroup.children([]), ['tenants']);
    deepEqual(cgroup.children(tenant), ['i-one']);
    deepEqual(cgroup.children(['nobody']), []);
  });

  test('a group without processes is removed with its children; one that is not there is no error', async ({
    cgroup,
  }) => {
    cgroup.create(instance);
    await cgroup.remove(tenant);
    deepEqual(cgroup.children(['tenants']), []);
    await cgroup.remove(tenant);
  });

  for (const part of ['..', '../x', 'a/b', '', '.hidden']) {
    test(`the name ${JSON.stringify(part)} never leads out of the root group`, async ({ cgroup }) => {
      throws(() => cgroup.create(['tenants', part]), { code: 'InvalidName' });
    });
  }

  test('an attached process is in the group, and what it starts too; the group can not be removed then', async ({
    cgroup,
    processes,
  }) => {
    cgroup.create(instance);
    const child = spawn('sh', ['-c', 'read line; sleep 60 & echo $!; wait'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    processes.push(child);
    const shell = new Holder(child);
    cgroup.attach(instance, shell.pid);
    deepEqual(cgroup.processes(instance), [shell.pid]);
    const started = Number(await shell.ask('go'));
    deepEqual(new Set(cgroup.processes(instance)), new Set([shell.pid, started]));
    deepEqual(cgroup.processes(tenant), []);
    await rejects(cgroup.remove(tenant), { code: 'Conflict' });
  });

  test('several processes move at once, and one that has ended is left out', async ({
    cgroup,
    processes,
  }) => {
    cgroup.create(instance);
    const pids = [0, 1].map(() => {
      const child = spawn('sleep', ['60']);
      processes.push(child);
      return child.pid ?? 0;
    });
    const ended = spawn('true');
    await new Promise((resolve) => ended.once('exit', resolve));
    await cgroup.move(instance, [...pids, ended.pid ?? 0]);
    deepEqual(new Set(cgroup.processes(instance)), new Set(pids));
  });

  test('moves are kept quick without moving anybody, until the process has ended', async ({
    cgroup,
    start,
  }) => {
    equal(cgroup.standingMove(instance), null);
    cgroup.create(instance);
    equal(cgroup.standingMove(instance), null);
    const holder = await start(instance);
    const standing = cgroup.standingMove(instance);
    // Without a kernel's groups nothing is slow.
    equal(standing === null, cgroup.capabilities.version === 'none');
    if (standing === null) return;
    try {
      for (let time = 0; time < 3; time += 1) equal(await standing.repeat(), true);
      deepEqual(cgroup.processes(instance), [holder.pid]);
      const exited = once(holder.child, 'exit');
      await cgroup.kill(instance);
      // Until it is waited for, it has its number.
      await exited;
      equal(await standing.repeat(), false);
      // Whoever holds it open keeps no group.
      await cgroup.remove(instance);
      equal(await standing.repeat(), false);
    } finally {
      standing.close();
    }
  });

  test('a new group has no limits of its own', async ({ cgroup }) => {
    cgroup.create(instance);
    deepEqual(cgroup.limits(instance), { memoryBytes: null, cpuMillicores: null, pids: null });
  });

  test('what is not enforced is never shown as a limit', async ({ cgroup }) => {
    cgroup.create(instance);
    await cgroup.setLimits(instance, { memoryBytes: 256 * mib, cpuMillicores: 500, pids: 64 });
    const { memoryLimit, cpuLimit, pidsLimit } = cgroup.capabilities;
    deepEqual(cgroup.limits(instance), {
      memoryBytes: memoryLimit ? 256 * mib : null,
      cpuMillicores: cpuLimit ? 500 : null,
      pids: pidsLimit ? 64 : null,
    });
    await cgroup.setLimits(instance, { memoryBytes: null, cpuMillicores: null, pids: null });
    deepEqual(cgroup.limits(instance), { memoryBytes: null, cpuMillicores: null, pids: null });
  });

  testWith(['memoryLimit', 'cpuLimit'], 'only the limits that are given are written', async ({ cgroup }) => {
    cgroup.create(instance);
    await cgroup.setLimits(instance, { memoryBytes: 256 * mib, cpuMillicores: 500 });
    await cgroup.setLimits(instance, { cpuMillicores: 250, cpuWeight: 300 });
    partialDeepStrictEqual(cgroup.limits(instance), { memoryBytes: 256 * mib, cpuMillicores: 250 });
  });

  testWith(['cpuLimit'], 'a tenant is given more first and less last', async ({ cgroup }) => {
    cgroup.create(instance);
    await cgroup.setLimits(tenant, { cpuMillicores: 1000 });
    await cgroup.setLimits(instance, { cpuMillicores: 1000 });
    await cgroup.setLimits(instance, { cpuMillicores: 400 });
    await cgroup.setLimits(tenant, { cpuMillicores: 400 });
    equal(cgroup.limits(instance).cpuMillicores, 400);
  });

  // Without any group the figures are summed over processes; a v2 without its memory controller has none.
  const hasFigures = capabilities.exactUsage || capabilities.version === 'none';
  testIf(hasFigures, 'usage follows what a process holds', async ({ cgroup, start }) => {
    cgroup.create(instance);
    const holder = await start(instance);
    const before = cgroup.usage(instance);
    await holder.ask('64');
    const after = cgroup.usage(instance);
    above(after.workingSetBytes - before.workingSetBytes, 60 * mib);
    atLeast(after.memoryBytes, after.workingSetBytes);
    atLeast(after.memoryPeakBytes, after.workingSetBytes);
    above(cgroup.usage(tenant).memoryBytes, 60 * mib);
    await holder.ask('0');
    await eventually(() => cgroup.usage(instance).workingSetBytes < after.workingSetBytes - 40 * mib);
    equal(cgroup.usage(instance).oomKills, 0);
  });

  test('CPU time and threads are counted', async ({ cgroup, start }) => {
    cgroup.create(instance);
    const holder = await start(instance);
    await holder.ask('100');
    above(cgroup.usage(instance).pids, 0);
    above(cgroup.usage(instance).cpuUsageMicros, 0);
  });

  testWith(
    ['memoryLimit'],
    'a memory limit below what is held answers busy, changes nothing and kills nobody',
    async ({ cgroup, start }) => {
      cgroup.create(instance);
      const holder = await start(instance);
      await holder.ask('100');
      await cgroup.setLimits(instance, { memoryBytes: 256 * mib, cpuMillicores: 1000, pids: 100 });
      const outcome = await cgroup.setLimits(instance, {
        memoryBytes: 64 * mib,
        cpuMillicores: 500,
        pids: 50,
      });
      equal(outcome, 'busy');
      deepEqual(cgroup.limits(instance), {
        memoryBytes: 256 * mib,
        cpuMillicores: cgroup.capabilities.cpuLimit ? 1000 : null,
        pids: cgroup.capabilities.pidsLimit ? 100 : null,
      });
      equal(await holder.ask('100'), 'holds 100');
    },
  );

  testWith(
    ['memoryLimit'],
    'a limit below what is held is written once that is given back',
    async ({ cgroup, start }) => {
      cgroup.create(instance);
      const holder = await start(instance);
      await holder.ask('100');
      await cgroup.setLimits(instance, { memoryBytes: 256 * mib });
      await holder.ask('0');
      // The garbage collector gives pages back from a thread of its own.
      const write = (): Promise<LimitOutcome> => cgroup.setLimits(instance, { memoryBytes: 96 * mib });
      await eventually(async () => (await write()) === 'applied');
      equal(cgroup.limits(instance).memoryBytes, 96 * mib);
      equal(await holder.ask('1'), 'holds 1');
    },
  );

  // Kernels before 6.12 keep v2's peak for the life of the group.
  testIf(
    capabilities.memoryLimit && capabilities.version !== 'v2',
    'the peak starts anew',
    async ({ cgroup, start }) => {
      cgroup.create(instance);
      const holder = await start(instance);
      await holder.ask('100');
      const high = cgroup.usage(instance).memoryPeakBytes;
      await holder.ask('0');
      const lower = high - 40 * mib;
      await eventually(() => cgroup.usage(instance).memoryBytes < lower);
      cgroup.resetPeak(instance);
      above(lower, cgroup.usage(instance).memoryPeakBytes);
    },
  );

  testWith(
    ['memoryLimit'],
    'who runs into a held limit lives, however long it stands there, and goes on when the limit rises',
    async ({ cgroup, start }) => {
      cgroup.create(instance);
      const holder = await start(instance);
      await holder.ask('100');
      const limitBytes = cgroup.usage(instance).memoryBytes + 16 * mib;
      cgroup.holdOutOfMemory(instance, true);
      equal(await cgroup.setLimits(instance, { memoryBytes: limitBytes }), 'applied');
      const before = cgroup.memoryStrain(instance);
      const answer = holder.ask('250');
      await eventually(() => cgroup.memoryStrain(instance).limitHits > before.limitHits);
      await sleep(heldMs);
      equal(cgroup.usage(instance).oomKills, 0);
      await cgroup.setLimits(instance, { memoryBytes: 512 * mib });
      equal(await answer, 'holds 250');
      cgroup.holdOutOfMemory(instance, false);
      equal(cgroup.usage(instance).oomKills, 0);
    },
  );

  testWith(
    ['memoryLimit'],
    'whoever watches a held group is told when it comes near its limit, and not any more afterwards',
    async ({ cgroup, start }) => {
      cgroup.create(instance);
      const holder = await start(instance);
      await holder.ask('10');
      const limitBytes = cgroup.usage(instance).memoryBytes + 48 * mib;
      await cgroup.setLimits(instance, { memoryBytes: limitBytes });
      cgroup.holdOutOfMemory(instance, true);
      let told = 0;
      const watch = cgroup.watchMemory(instance, limitBytes - 4 * mib, () => {
        told += 1;
        void cgroup.setLimits(instance, { memoryBytes: 512 * mib });
      });
      equal(await watch.tells, true);
      await holder.ask('20');
      equal(told, 0);
      equal(await holder.ask('120'), 'holds 120');
      await eventually(() => told > 0);
      watch.stop();
      const before = told;
      await holder.ask('0');
      await holder.ask('120');
      equal(told, before);
      cgroup.holdOutOfMemory(instance, false);
      equal(cgroup.usage(instance).oomKills, 0);
    },
  );

  testWith(['memoryLimit'], 'a group made inside a held one is not held', async ({ cgroup, start }) => {
    cgroup.create(tenant);
    cgroup.holdOutOfMemory(tenant, true);
    cgroup.create(instance);
    cgroup.holdOutOfMemory(tenant, false);
    const holder = await start(instance);
    await cgroup.setLimits(instance, { memoryBytes: cgroup.usage(instance).memoryBytes + 16 * mib });
    const exited = once(holder.child, 'exit');
    holder.child.stdin?.write('200\n');
    equal((await exited)[1], 'SIGKILL');
    above(cgroup.usage(instance).oomKills, 0);
  });

  test('dropping cache does no harm to what runs', async ({ cgroup, start }) => {
    cgroup.create(instance);
    const holder = await start(instance);
    await holder.ask('20');
    atLeast(await cgroup.dropCache(instance), 0);
    equal(await holder.ask('21'), 'holds 21');
  });

  testWith(
    ['freeze'],
    'a frozen process stands still, and goes on after the thaw',
    async ({ cgroup, start }) => {
      cgroup.create(instance);
      const holder = await start(instance);
      await cgroup.freeze(instance);
      equal(cgroup.isFrozen(instance), true);
      const micros = cgroup.usage(instance).cpuUsageMicros;
      const answer = holder.ask('ticks');
      await new Promise((resolve) => setTimeout(resolve, 100));
      equal(cgroup.usage(instance).cpuUsageMicros, micros);
      await cgroup.thaw(instance);
      equal(cgroup.isFrozen(instance), false);
      above(Number(await answer), 0);
    },
  );

  test('killing reaches children of the group, frozen processes and those that fork meanwhile', async ({
    cgroup,
    processes,
    start,
  }) => {
    cgroup.create(instance);
    const holder = await start(instance);
    const forker = spawn('sh', ['-c', 'while true; do sleep 0.01 & sleep 0.01; done'], { stdio: 'ignore' });
    processes.push(forker);
    // In a group of its own: those that have children hold no processes.
    cgroup.create(other);
    cgroup.attach(other, forker.pid ?? 0);
    const identity = identify(holder.pid);
    await cgroup.freeze(instance);
    await cgroup.kill(tenant);
    deepEqual(cgroup.processes(other), []);
    deepEqual(cgroup.processes(instance), []);
    // It leaves its group a moment before its last thread has ended.
    await eventually(() => !(identity !== undefined && isAlive(identity)));
    await cgroup.remove(tenant);
  });

  test('a process outside is never touched', async ({ cgroup, start, startOutside }) => {
    cgroup.create(instance);
    const outside = await startOutside();
    await start(instance);
    await cgroup.kill([]);
    equal(await outside.ask('1'), 'holds 1');
  });

  return tests;
}

function above(value: number, bound: number): void {
  ok(value > bound, `${value} is not above ${bound}`);
}

function atLeast(value: number, bound: number): void {
  ok(value >= bound, `${value} is below ${bound}`);
}

/** Kernels and collectors give back from threads of their own; an emulated machine takes its time. */
async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let waitedMs = 0; !(await holds()); waitedMs += 20) {
    ok(waitedMs < 10_000, `it never became true that ${holds.toString()}`);
    await sleep(20);
  }
}
