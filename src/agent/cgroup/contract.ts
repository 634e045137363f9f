// What every Cgroup keeps, as tests that run against real processes. Imported by tests only. What an implementation can
// not do here, by its own capabilities, stands in the suite's title; then the tests that need it are others: that
// nothing is shown as enforced which is not.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mib } from '../../base/quantity.ts';
import { identify, isAlive } from '../../sys/process.ts';
import type { Cgroup, CgroupCapabilities, GroupPath, LimitOutcome } from './port.ts';

type Capability = Exclude<keyof CgroupCapabilities, 'version'>;

const tenant: GroupPath = ['tenants', 'acme'];
const instance: GroupPath = ['tenants', 'acme', 'i-one'];

/** Holds as many MiB as the last line of its input says, and tells when it does; `ticks` counts 10 ms of being alive. */
const program = `
  let held = []; let ticks = 0;
  setInterval(() => { ticks += 1; }, 10);
  process.stdin.on('data', (data) => {
    const command = data.toString().trim();
    if (command === 'ticks') return void console.log(ticks);
    while (held.length > Number(command)) held.pop();
    if (held.length < Number(command)) while (held.length < Number(command)) held.push(Buffer.alloc(1048576, 1));
    globalThis.gc();
    console.log('holds ' + held.length);
  });
  console.log('ready');
`;

/** @param make gives one with a root group of its own for each test; the contract removes that group. */
export function cgroupContract(name: string, make: () => Cgroup): void {
  const { capabilities } = make();
  const missing = Object.entries(capabilities).flatMap(([what, has]) => (has === false ? [what] : []));
  const without = missing.length === 0 ? '' : `, which has here no ${missing.join(', ')}`;
  describe(`the contract of ${name}${without}`, () => {
    let cgroup: Cgroup;
    let processes: ChildProcess[] = [];

    beforeEach(() => {
      cgroup = make();
    });
    afterEach(async () => {
      await cgroup.kill([]);
      await cgroup.remove([]);
      for (const child of processes) child.kill('SIGKILL');
      processes = [];
    });

    function testIf(can: boolean, title: string, body: () => Promise<void>): void {
      if (can) test(title, body);
    }

    function testWith(needed: readonly Capability[], title: string, body: () => Promise<void>): void {
      testIf(
        needed.every((capability) => capabilities[capability]),
        title,
        body,
      );
    }

    async function start(group: GroupPath): Promise<Holder> {
      const child = spawn(process.execPath, ['--expose-gc', '-e', program], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      processes.push(child);
      const holder = new Holder(child);
      await holder.line();
      cgroup.attach(group, holder.pid);
      return holder;
    }

    test('a group is made with its parents, as often as one likes, and is listed', () => {
      cgroup.create(instance);
      cgroup.create(instance);
      expect(cgroup.children([])).toEqual(['tenants']);
      expect(cgroup.children(tenant)).toEqual(['i-one']);
      expect(cgroup.children(['nobody'])).toEqual([]);
    });

    test('a group without processes is removed with its children; one that is not there is no error', async () => {
      cgroup.create(instance);
      await cgroup.remove(tenant);
      expect(cgroup.children(['tenants'])).toEqual([]);
      await cgroup.remove(tenant);
    });

    test.each([['..'], ['../x'], ['a/b'], [''], ['.hidden']])(
      'the name %j never leads out of the root group',
      (part) => {
        expect(() => cgroup.create(['tenants', part])).toThrow(
          expect.objectContaining({ code: 'InvalidName' }),
        );
      },
    );

    test('an attached process is in the group, and what it starts too; the group can not be removed then', async () => {
      cgroup.create(instance);
      const child = spawn('sh', ['-c', 'read line; sleep 60 & echo $!; wait'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      processes.push(child);
      const shell = new Holder(child);
      cgroup.attach(instance, shell.pid);
      expect(cgroup.processes(instance)).toEqual([shell.pid]);
      const started = Number(await shell.ask('go'));
      expect(new Set(cgroup.processes(instance))).toEqual(new Set([shell.pid, started]));
      expect(cgroup.processes(tenant)).toEqual([]);
      await expect(cgroup.remove(tenant)).rejects.toMatchObject({ code: 'Conflict' });
    });

    test('several processes move at once, and one that has ended is left out', async () => {
      cgroup.create(instance);
      const pids = [0, 1].map(() => {
        const child = spawn('sleep', ['60']);
        processes.push(child);
        return child.pid ?? 0;
      });
      const ended = spawn('true');
      await new Promise((resolve) => ended.once('exit', resolve));
      await cgroup.move(instance, [...pids, ended.pid ?? 0]);
      expect(new Set(cgroup.processes(instance))).toEqual(new Set(pids));
    });

    test('a new group has no limits of its own', () => {
      cgroup.create(instance);
      expect(cgroup.limits(instance)).toEqual({ memoryBytes: null, cpuMillicores: null, pids: null });
    });

    test('what is not enforced is never shown as a limit', async () => {
      cgroup.create(instance);
      await cgroup.setLimits(instance, { memoryBytes: 256 * mib, cpuMillicores: 500, pids: 64 });
      const { memoryLimit, cpuLimit, pidsLimit } = cgroup.capabilities;
      expect(cgroup.limits(instance)).toEqual({
        memoryBytes: memoryLimit ? 256 * mib : null,
        cpuMillicores: cpuLimit ? 500 : null,
        pids: pidsLimit ? 64 : null,
      });
      await cgroup.setLimits(instance, { memoryBytes: null, cpuMillicores: null, pids: null });
      expect(cgroup.limits(instance)).toEqual({ memoryBytes: null, cpuMillicores: null, pids: null });
    });

    testWith(['memoryLimit', 'cpuLimit'], 'only the limits that are given are written', async () => {
      cgroup.create(instance);
      await cgroup.setLimits(instance, { memoryBytes: 256 * mib, cpuMillicores: 500 });
      await cgroup.setLimits(instance, { cpuMillicores: 250, cpuWeight: 300 });
      expect(cgroup.limits(instance)).toMatchObject({ memoryBytes: 256 * mib, cpuMillicores: 250 });
    });

    testWith(['cpuLimit'], 'a tenant is given more first and less last', async () => {
      cgroup.create(instance);
      await cgroup.setLimits(tenant, { cpuMillicores: 1000 });
      await cgroup.setLimits(instance, { cpuMillicores: 1000 });
      await cgroup.setLimits(instance, { cpuMillicores: 400 });
      await cgroup.setLimits(tenant, { cpuMillicores: 400 });
      expect(cgroup.limits(instance).cpuMillicores).toBe(400);
    });

    // Without any group the figures are summed over processes; a v2 without its memory controller has none.
    const hasFigures = capabilities.exactUsage || capabilities.version === 'none';
    testIf(hasFigures, 'usage follows what a process holds', async () => {
      cgroup.create(instance);
      const holder = await start(instance);
      const before = cgroup.usage(instance);
      await holder.ask('64');
      const after = cgroup.usage(instance);
      expect(after.workingSetBytes - before.workingSetBytes).toBeGreaterThan(60 * mib);
      expect(after.memoryBytes).toBeGreaterThanOrEqual(after.workingSetBytes);
      expect(after.memoryPeakBytes).toBeGreaterThanOrEqual(after.workingSetBytes);
      expect(cgroup.usage(tenant).memoryBytes).toBeGreaterThan(60 * mib);
      await holder.ask('0');
      await expect
        .poll(() => cgroup.usage(instance).workingSetBytes, { timeout: 5000 })
        .toBeLessThan(after.workingSetBytes - 40 * mib);
      expect(cgroup.usage(instance).oomKills).toBe(0);
    });

    test('CPU time and threads are counted', async () => {
      cgroup.create(instance);
      const holder = await start(instance);
      await holder.ask('100');
      expect(cgroup.usage(instance).pids).toBeGreaterThan(0);
      expect(cgroup.usage(instance).cpuUsageMicros).toBeGreaterThan(0);
    });

    testWith(
      ['memoryLimit'],
      'a memory limit below what is held answers busy, changes nothing and kills nobody',
      async () => {
        cgroup.create(instance);
        const holder = await start(instance);
        await holder.ask('100');
        await cgroup.setLimits(instance, { memoryBytes: 256 * mib, cpuMillicores: 1000, pids: 100 });
        const outcome = await cgroup.setLimits(instance, {
          memoryBytes: 64 * mib,
          cpuMillicores: 500,
          pids: 50,
        });
        expect(outcome).toBe('busy');
        expect(cgroup.limits(instance)).toEqual({
          memoryBytes: 256 * mib,
          cpuMillicores: cgroup.capabilities.cpuLimit ? 1000 : null,
          pids: cgroup.capabilities.pidsLimit ? 100 : null,
        });
        expect(await holder.ask('100')).toBe('holds 100');
      },
    );

    testWith(['memoryLimit'], 'a limit below what is held is written once that is given back', async () => {
      cgroup.create(instance);
      const holder = await start(instance);
      await holder.ask('100');
      await cgroup.setLimits(instance, { memoryBytes: 256 * mib });
      await holder.ask('0');
      // The garbage collector gives pages back from a thread of its own.
      const write = (): Promise<LimitOutcome> => cgroup.setLimits(instance, { memoryBytes: 96 * mib });
      await expect.poll(write, { timeout: 5000 }).toBe('applied');
      expect(cgroup.limits(instance).memoryBytes).toBe(96 * mib);
      expect(await holder.ask('1')).toBe('holds 1');
    });

    // Kernels before 6.12 keep v2's peak for the life of the group.
    testIf(capabilities.memoryLimit && capabilities.version !== 'v2', 'the peak starts anew', async () => {
      cgroup.create(instance);
      const holder = await start(instance);
      await holder.ask('100');
      const high = cgroup.usage(instance).memoryPeakBytes;
      await holder.ask('0');
      const lower = high - 40 * mib;
      await expect.poll(() => cgroup.usage(instance).memoryBytes, { timeout: 5000 }).toBeLessThan(lower);
      cgroup.resetPeak(instance);
      expect(cgroup.usage(instance).memoryPeakBytes).toBeLessThan(lower);
    });

    testWith(
      ['memoryLimit'],
      'who runs into a held limit lives, and goes on when the limit rises',
      async () => {
        cgroup.create(instance);
        const holder = await start(instance);
        await holder.ask('10');
        const limitBytes = cgroup.usage(instance).memoryBytes + 16 * mib;
        cgroup.holdOutOfMemory(instance, true);
        expect(await cgroup.setLimits(instance, { memoryBytes: limitBytes })).toBe('applied');
        const before = cgroup.memoryStrain(instance);
        const answer = holder.ask('80');
        await expect
          .poll(() => cgroup.memoryStrain(instance).limitHits, { timeout: 5000 })
          .toBeGreaterThan(before.limitHits);
        await cgroup.setLimits(instance, { memoryBytes: 512 * mib });
        expect(await answer).toBe('holds 80');
        cgroup.holdOutOfMemory(instance, false);
        expect(cgroup.usage(instance).oomKills).toBe(0);
      },
    );

    testWith(['memoryLimit'], 'a group made inside a held one is not held', async () => {
      cgroup.create(tenant);
      cgroup.holdOutOfMemory(tenant, true);
      cgroup.create(instance);
      cgroup.holdOutOfMemory(tenant, false);
      const holder = await start(instance);
      await cgroup.setLimits(instance, { memoryBytes: cgroup.usage(instance).memoryBytes + 16 * mib });
      const exited = once(holder.child, 'exit');
      holder.child.stdin?.write('200\n');
      expect((await exited)[1]).toBe('SIGKILL');
      expect(cgroup.usage(instance).oomKills).toBeGreaterThan(0);
    });

    test('dropping cache does no harm to what runs', async () => {
      cgroup.create(instance);
      const holder = await start(instance);
      await holder.ask('20');
      expect(await cgroup.dropCache(instance)).toBeGreaterThanOrEqual(0);
      expect(await holder.ask('21')).toBe('holds 21');
    });

    testWith(['freeze'], 'a frozen process stands still, and goes on after the thaw', async () => {
      cgroup.create(instance);
      const holder = await start(instance);
      await cgroup.freeze(instance);
      expect(cgroup.isFrozen(instance)).toBe(true);
      const micros = cgroup.usage(instance).cpuUsageMicros;
      const answer = holder.ask('ticks');
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(cgroup.usage(instance).cpuUsageMicros).toBe(micros);
      await cgroup.thaw(instance);
      expect(cgroup.isFrozen(instance)).toBe(false);
      expect(Number(await answer)).toBeGreaterThan(0);
    });

    test('killing reaches children of the group, frozen processes and those that fork meanwhile', async () => {
      cgroup.create(instance);
      const holder = await start(instance);
      const forker = spawn('sh', ['-c', 'while true; do sleep 0.01 & sleep 0.01; done'], { stdio: 'ignore' });
      processes.push(forker);
      cgroup.attach(tenant, forker.pid ?? 0);
      const identity = identify(holder.pid);
      await cgroup.freeze(instance);
      await cgroup.kill(tenant);
      expect(cgroup.processes(tenant)).toEqual([]);
      expect(cgroup.processes(instance)).toEqual([]);
      // It leaves its group a moment before its last thread has ended.
      await expect.poll(() => identity !== undefined && isAlive(identity)).toBe(false);
      await cgroup.remove(tenant);
    });

    test('a process outside is never touched', async () => {
      cgroup.create(instance);
      const outside = new Holder(
        spawn(process.execPath, ['--expose-gc', '-e', program], { stdio: ['pipe', 'pipe', 'inherit'] }),
      );
      processes.push(outside.child);
      await outside.line();
      await start(instance);
      await cgroup.kill([]);
      expect(await outside.ask('1')).toBe('holds 1');
    });
  });
}

/** A process that answers each line with a line. */
class Holder {
  readonly child: ChildProcess;
  #buffered = '';
  #waiting: ((line: string) => void) | undefined;

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.on('data', (data: Buffer) => {
      this.#buffered += data.toString();
      this.#deliver();
    });
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('the process did not start');
    return this.child.pid;
  }

  ask(line: string): Promise<string> {
    this.child.stdin?.write(`${line}\n`);
    return this.line();
  }

  line(): Promise<string> {
    return new Promise((resolve) => {
      this.#waiting = resolve;
      this.#deliver();
    });
  }

  #deliver(): void {
    const end = this.#buffered.indexOf('\n');
    if (end < 0 || this.#waiting === undefined) return;
    const line = this.#buffered.slice(0, end);
    this.#buffered = this.#buffered.slice(end + 1);
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting(line);
  }
}
