// The agent inside a virtual machine, on a real one: identity, door, what is reclaimable and claimed, pressure, storage,
// bandwidth, its own death. The host's side of it is played by the test, with QEMU's balloon and the guest's protocol.
import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newInstanceId, type InstanceId } from '../../src/base/ids.ts';
import { kib, mib } from '../../src/base/quantity.ts';
import type { Resources } from '../../src/model/resources.ts';
import { defaultRequest } from '../../src/model/workload.ts';
import { guestOwnStorageBytes } from '../../src/protocol/guest.ts';
import { keepClock } from '../../src/units/vm/guest-clock.ts';
import { suiteNeeding } from '../support/needs.ts';
import { evalHandler, eventually, functionSpec, mebibytes } from './agent-process.ts';
import { GuestMachine, missingForGuests, storageBytes, type GuestMachineOptions } from './guest-machine.ts';

const options: GuestMachineOptions = { ramBytes: 768 * mib, agent: 'agent-with-shell.ts' };
const machineTimeoutMs = 240_000;
/** Emulated, a program of the test's takes seconds for what takes milliseconds on a processor. */
const longMs = 120_000;

suiteNeeding('the agent in a virtual machine', missingForGuests(), () => {
  let machine: GuestMachine;
  let code: string;
  let instance: InstanceId;

  beforeAll(async () => {
    machine = await GuestMachine.boot(options);
    await machine.ready();
  }, machineTimeoutMs);
  afterAll(() => machine?.close());

  const begin = async (memoryMib: number, storageMib = 16): Promise<InstanceId> => {
    const id = newInstanceId();
    const grant = { memory: mebibytes(memoryMib), storage: mebibytes(storageMib) };
    await machine.startFunction(functionSpec(code, { id, grant, timeoutMs: longMs }));
    return id;
  };
  const stop = (id: InstanceId): Promise<unknown> =>
    machine.link.call('stop', { id, graceMs: 0, reason: 'the test is over' });
  /** Answers how many MiB of a file could be written, and what kept it from more. */
  const writing = (name: string, count: number): string =>
    `(() => { const fd = fs.openSync('/tmp/${name}', 'w'); let done = 0; const block = Buffer.alloc(1 << 20, 7);
      try { for (; done < ${count}; done += 1) fs.writeSync(fd, block); fs.fsyncSync(fd); }
      catch (error) { return [done, error.code]; } finally { fs.closeSync(fd); } return [done, 'ok']; })()`;
  const hold = (count: number): string =>
    `state.held = Array.from({ length: ${count} }, () => Buffer.alloc(1048576, 1)); state.held.length`;
  const oomKills = async (): Promise<number> => {
    const { instances } = await machine.link.call('measure', {});
    return instances.reduce((sum, { usage }) => sum + usage.oomKills, 0);
  };
  /** What a group is held to: memory.max, or memory.high while out-of-memory is held. */
  const limitOf = async (group: string): Promise<number> => {
    const files = await machine.shell(
      `cd /sys/fs/cgroup/bellows/tenants/${group} && cat memory.max memory.high`,
    );
    return Math.min(...files.split(/\s+/).flatMap((text) => (text === 'max' ? [] : [Number(text)])));
  };
  const told = (): number => machine.events.filter(({ event }) => event === 'pressure').length;

  test('before it has an identity nothing starts in it, and no process waits in it', async () => {
    await machine.link.call('setPool', { size: 1 });
    const started = machine.link.call('start', functionSpec(`/outside/code/acme/${'a'.repeat(64)}`));
    await expect(started).rejects.toMatchObject({ code: 'NotReady' });
    await expect(machine.through({ kind: 'port', instance: newInstanceId() })).rejects.toThrow();
    expect((await machine.link.call('list', {})).poolReady).toBe(0);
  });

  test(
    'what it rehearses of becoming somebody leaves it nobody',
    async () => {
      const hostName = await machine.shell('hostname');
      await machine.link.call('rehearse', {}, { timeoutMs: longMs });
      expect(await machine.shell('hostname; ls /run | grep bellows-identity || true')).toBe(hostName);
      await expect(machine.link.call('setBandwidth', { bytesPerSecond: 1 })).rejects.toMatchObject({
        code: 'NotReady',
      });
    },
    machineTimeoutMs,
  );

  test(
    'its identity opens the door for its token alone, sets clock and name, and is for good',
    async () => {
      const nowMs = Date.UTC(2031, 4, 5);
      const identity = machine.identity({ nowMs });
      const { doorPort } = await machine.link.call('personalise', identity);
      expect(doorPort).toBeGreaterThan(0);
      expect(Number(await machine.shell('date +%s')) * 1000 - nowMs).toBeLessThan(longMs);
      expect(await machine.shell('hostname')).toBe(identity.unit);
      await keepClock(machine.link, { timeoutMs: longMs });
      expect(Math.abs(Number(await machine.shell('date +%s')) * 1000 - Date.now())).toBeLessThan(longMs);
      await expect(machine.through({ kind: 'port', instance: newInstanceId() }, 'a guess')).rejects.toThrow(
        'token',
      );
      // Again, as after a lost answer; and as somebody else.
      await machine.link.call('personalise', identity);
      await expect(
        machine.link.call('personalise', { ...identity, doorToken: 'another' }),
      ).rejects.toMatchObject({ code: 'Conflict' });
      await expect(machine.link.call('rehearse', {})).rejects.toMatchObject({ code: 'Conflict' });
      await eventually(async () => (await machine.link.call('list', {})).poolReady === 1, longMs);
      await machine.link.call('setPool', { size: 0 });
    },
    machineTimeoutMs,
  );

  test(
    'code goes in through the door, and what runs from it answers through the door',
    async () => {
      code = await machine.sendCode('acme', evalHandler);
      instance = await begin(512);
      expect(await machine.evaluate(instance, '6 * 7')).toBe(42);
      expect(await machine.evaluate(instance, 'fs.readdirSync("/var/task")')).toEqual(['index.js']);
      expect(await machine.evaluate(instance, 'process.getuid()')).toBe(functionSpec(code).uid);
      await expect(
        machine.link.call('start', functionSpec(`/outside/code/acme/${'a'.repeat(64)}`)),
      ).rejects.toMatchObject({ code: 'NotFound' });
    },
    machineTimeoutMs,
  );

  test(
    'M-B3: garbage of an idle instance is found, made claimable, claimed by the balloon, and is the host’s again',
    async () => {
      await machine.evaluate(instance, hold(250), longMs);
      await machine.evaluate(instance, 'delete state.held, 1', longMs);
      await sleep(1000);
      const found = await machine.link.call('identify', {});
      expect(found.instances).toMatchObject([{ id: instance, idle: true }]);
      expect(found.garbageBytes).toBeGreaterThan(50 * mib);
      const hostBefore = machine.hostBytes();

      const wanted = found.freeBytes + 200 * mib;
      const { claimableBytes, steps } = await machine.link.call('makeClaimable', { bytes: wanted });
      expect(steps[0]?.step).toBe('heaps');
      expect(claimableBytes).toBeGreaterThan(found.freeBytes);
      expect(await machine.balloonTo(options.ramBytes - claimableBytes)).toBe(
        options.ramBytes - claimableBytes,
      );
      // Of those 250 MiB nine tenths, by the host's own figure of QEMU.
      expect(hostBefore - machine.hostBytes()).toBeGreaterThan(0.9 * 200 * mib);
      expect(await machine.evaluate(instance, '1 + 1')).toBe(2);
      expect(await oomKills()).toBe(0);
    },
    machineTimeoutMs,
  );

  test(
    'M-B4: a burst in a unit where all is claimed is told at once, and lives on what is released',
    async () => {
      const before = told();
      const burst = machine.evaluate(instance, hold(300), longMs);
      await eventually(() => told() > before, longMs);
      await machine.balloonTo(options.ramBytes);
      expect(await burst).toBe(300);
      expect(await oomKills()).toBe(0);
      expect(await machine.shell('dmesg | grep -c "Killed process" || true')).toBe('0');
    },
    machineTimeoutMs,
  );

  test(
    'what is not usable can not be had inside; less than is in use is refused; a lender in need is told of',
    async () => {
      await machine.evaluate(instance, hold(100), longMs);
      // Garbage would make room without anybody's coming short.
      await machine.link.call('trim', { id: instance });
      await expect(machine.link.call('setUsable', { memoryBytes: 64 * mib })).rejects.toMatchObject({
        code: 'Infeasible',
      });
      const [{ usage } = { usage: undefined }] = (await machine.link.call('measure', {})).instances;
      const usableBytes = (usage?.memoryBytes ?? 0) + 32 * mib;
      await eventually(
        () =>
          machine.link.call('setUsable', { memoryBytes: usableBytes }).then(
            () => true,
            () => false,
          ),
        longMs,
      );
      expect(await limitOf('.')).toBeLessThanOrEqual(usableBytes);
      const before = told();
      const burst = machine.evaluate(instance, hold(250), longMs);
      await eventually(() => told() > before, longMs);
      await machine.link.call('setUsable', { memoryBytes: 640 * mib });
      expect(await burst).toBe(250);
      expect(await oomKills()).toBe(0);
      // Nothing is lent any more, so nothing is held.
      expect(await machine.shell('cat /sys/fs/cgroup/bellows/tenants/memory.high')).toBe('max');
    },
    machineTimeoutMs,
  );

  test(
    'M-B4: what is lent of an instance is given back inside: before it is thawed, and when it needs it, though the machine has not got it',
    async () => {
      const promised = { memory: mebibytes(512) };
      const lend = async (memoryBytes: number) => {
        const grant = { ...defaultRequest, memory: mebibytes(Math.ceil(memoryBytes / mib)) };
        const request = { tenants: [], instances: [{ id: instance, grant, promised }], waitMs: 0 };
        return (await machine.link.call('resize', request, { timeoutMs: longMs })).instances[0]?.changes[0];
      };
      const usedBytes = async (): Promise<number> =>
        (await machine.link.call('measure', {})).instances[0]?.usage.workingSetBytes ?? 0;
      const limit = (): Promise<number> => limitOf('acme/i-*');
      const back = (): string[] =>
        machine.events.flatMap((event) => (event.event === 'givenBack' ? [event.data.why] : []));
      await machine.evaluate(instance, 'delete state.held, 1', longMs);
      await machine.link.call('trim', { id: instance });

      await machine.link.call('freeze', { id: instance });
      expect(await lend(await usedBytes())).toMatchObject({ status: 'applied' });
      expect(await limit()).toBeLessThan(200 * mib);
      await machine.link.call('thaw', { id: instance }, { timeoutMs: longMs });
      expect(await limit()).toBe(512 * mib);
      expect(back()).toEqual(['thaw']);

      // All of what is lent has left the machine.
      const leftBytes = (await usedBytes()) + 48 * mib;
      await eventually(async () => (await lend(leftBytes))?.status === 'applied', longMs);
      await machine.link.call('setUsable', { memoryBytes: leftBytes + 16 * mib });
      const before = told();
      const burst = machine.evaluate(instance, hold(250), longMs);
      await eventually(() => back().length === 2 && told() > before, longMs);
      expect(back()).toEqual(['thaw', 'strain']);
      expect(await limit()).toBe(512 * mib);
      await machine.link.call('setUsable', { memoryBytes: 640 * mib });
      expect(await burst).toBe(250);
      expect(await oomKills()).toBe(0);
      expect(await machine.shell('dmesg | grep -c "Killed process" || true')).toBe('0');
      expect(await machine.shell('cat /sys/fs/cgroup/bellows/tenants/memory.high')).toBe('max');
      await machine.evaluate(instance, 'delete state.held, 1', longMs);
    },
    machineTimeoutMs,
  );

  test(
    'M-A5: what an instance may store changes both ways while it runs; what it deleted leaves the host’s file, also by itself',
    async () => {
      const id = await begin(160, 128);
      const js = (text: string): Promise<unknown> => machine.evaluate(id, text, longMs);
      const store = (name: string, count: number): Promise<unknown> => js(writing(name, count));
      const resizeTo = async (storageMib: number): Promise<unknown> => {
        const grant: Resources = {
          ...defaultRequest,
          memory: mebibytes(160),
          storage: mebibytes(storageMib),
        };
        const { instances } = await machine.link.call('resize', {
          tenants: [],
          instances: [{ id, grant }],
          waitMs: 0,
        });
        return instances[0]?.changes.find(({ resource }) => resource === 'storage');
      };
      const hostBytes = (): number => statSync(machine.scratch).blocks * 512;
      const empty = hostBytes();
      // Of the file systems' own, that comes and goes meanwhile.
      const slack = 8 * mib;
      expect(await js(`(({ bsize, bavail }) => bsize * bavail)(fs.statfsSync('/tmp'))`)).toBe(128 * mib);

      // More than its memory: it is on the disk, and the host's file has it.
      expect(await store('large', 120)).toEqual([120, 'ok']);
      const [, how] = (await store('over', 20)) as [number, string];
      expect(how).toBe('ENOSPC');
      expect(hostBytes() - empty).toBeGreaterThan(120 * mib - slack);
      expect(await resizeTo(64)).toMatchObject({ status: 'deferred', after: 128 * mib });
      expect(await resizeTo(256)).toMatchObject({ status: 'applied', before: 128 * mib, after: 256 * mib });
      expect(await store('over', 100)).toEqual([100, 'ok']);
      const full = hostBytes();
      expect(full - empty).toBeGreaterThan(220 * mib - slack);

      // Nobody asks for it.
      await js(`fs.rmSync('/tmp/large')`);
      await eventually(() => full - hostBytes() > 110 * mib, longMs);
      // Down to what is left is asked for at once: what was deleted is claimed, and given to the host, too.
      await js(`fs.rmSync('/tmp/over')`);
      expect(await resizeTo(32)).toMatchObject({ status: 'applied', after: 32 * mib });
      const { usableBytes } = await machine.link.call('setStorage', { usableBytes: 32 * mib });
      expect(Math.abs(usableBytes - 32 * mib)).toBeLessThan(mib);
      expect(hostBytes() - empty).toBeLessThan(slack);
      expect(await store('large', 24)).toEqual([24, 'ok']);
      expect(((await store('over', 20)) as [number, string])[1]).toBe('ENOSPC');

      // And up again, all of it.
      await machine.link.call('setStorage', { usableBytes: storageBytes });
      expect(await resizeTo(400)).toMatchObject({ status: 'applied', before: 32 * mib, after: 400 * mib });
      expect(await store('over', 300)).toEqual([300, 'ok']);
      expect(await js(`fs.readFileSync('/tmp/large').every((byte) => byte === 7)`)).toBe(true);
      await stop(id);
      await machine.link.call('setStorage', { usableBytes: 64 * mib });
      expect(hostBytes() - empty).toBeLessThan(slack);
      await machine.link.call('setStorage', { usableBytes: storageBytes });
    },
    machineTimeoutMs,
  );

  test(
    'M-A5: what instances were left of the disk can not be had by anything else inside, and code that would take it is refused',
    async () => {
      const free = async (): Promise<number> =>
        Number(await machine.shell(`df -k /var/lib/bellows | tail -n 1 | awk '{ print $4 }'`)) * kib;
      // Somebody else's, as a neighbour's code would be; only root in here could write it.
      const filler = '/var/lib/bellows/filler';
      const fillUpTo = async (leftMib: number): Promise<unknown> =>
        machine.shell(`fallocate -l $(( ${await free()} - ${leftMib * mib} )) ${filler}`);
      await machine.link.call('setStorage', { usableBytes: 100 * mib });
      expect(await free()).toBeLessThanOrEqual(100 * mib + guestOwnStorageBytes);
      await fillUpTo(50);
      // What is claimed makes way for it.
      await machine.sendCode('acme', evalHandler);
      expect(await free()).toBeGreaterThan(90 * mib);
      await machine.shell(`rm ${filler}`);
      await machine.link.call('setStorage', { usableBytes: storageBytes });
      await fillUpTo(300);
      await expect(machine.sendCode('acme', evalHandler)).rejects.toThrow('promised');
      await machine.shell(`rm ${filler}`);
      await machine.sendCode('acme', evalHandler);
      await machine.link.call('setStorage', { usableBytes: storageBytes });
    },
    machineTimeoutMs,
  );

  test(
    'M-A5: bandwidth is limited both ways, and the limit goes, all while it runs',
    async () => {
      const bytes = mib;
      const bytesPerSecond = 200_000;
      const received = async (): Promise<number> => {
        const startedMs = performance.now();
        const text = await machine.evaluate(instance, `'x'.repeat(${bytes})`, longMs);
        expect(text).toHaveLength(bytes);
        return performance.now() - startedMs;
      };
      const sent = async (): Promise<number> => {
        const startedMs = performance.now();
        const js = `'${'x'.repeat(bytes)}'.length`;
        expect(await machine.evaluate(instance, js, longMs)).toBe(bytes);
        return performance.now() - startedMs;
      };
      await machine.link.call('setBandwidth', { bytesPerSecond });
      // The limit alone makes it so long, less what may pass at once.
      const leastMs = ((bytes - 256 * kib) / bytesPerSecond) * 1000;
      expect(await received()).toBeGreaterThan(leastMs);
      expect(await sent()).toBeGreaterThan(leastMs);
      await machine.link.call('setBandwidth', { bytesPerSecond: null });
      expect(await received()).toBeLessThan(leastMs);
      expect(await sent()).toBeLessThan(leastMs);
    },
    machineTimeoutMs,
  );

  test(
    'its agent is killed: another takes over, with the same identity and what runs',
    async () => {
      await machine.evaluate(instance, 'state.kept = 7', longMs);
      await machine.link.call('trim', { id: instance });
      const lent = { ...defaultRequest, memory: mebibytes(300) };
      const { instances: lending } = await machine.link.call('resize', {
        tenants: [],
        instances: [{ id: instance, grant: lent, promised: { memory: mebibytes(512) } }],
        waitMs: 0,
      });
      expect(lending[0]?.changes[0]).toMatchObject({ status: 'applied', after: 300 * mib });
      const { pid } = await machine.link.call('hello', {});
      await machine.shell('kill -9 $PPID').catch(() => '');
      await eventually(
        () =>
          machine.link.call('hello', {}, { timeoutMs: 5000 }).then(
            (hello) => hello.pid !== pid,
            () => false,
          ),
        longMs,
      );
      const { instances } = await machine.link.call('list', {});
      expect(instances.map(({ info }) => info.id)).toEqual([instance]);
      // What the one before had lent is given back.
      expect(instances[0]?.info.grant.memory).toBe(512 * mib);
      expect(await machine.shell('cat /sys/fs/cgroup/bellows/tenants/acme/i-*/memory.max')).toBe(
        String(512 * mib),
      );
      expect(await machine.evaluate(instance, 'state.kept', longMs)).toBe(7);
      await stop(instance);
      expect((await machine.link.call('list', {})).instances).toEqual([]);
    },
    machineTimeoutMs,
  );
});

suiteNeeding('copies of a virtual machine', missingForGuests(), () => {
  test(
    'M-A7: two that are copies of one say different random numbers once they have their identities',
    async () => {
      await using machines = new AsyncDisposableStack();
      const started = async (...args: Parameters<typeof GuestMachine.boot>): Promise<GuestMachine> => {
        const machine = await GuestMachine.boot(...args);
        machines.defer(() => machine.close());
        await machine.ready();
        return machine;
      };
      const original = await started({ ...options, ramBytes: 512 * mib });
      // A generator takes its seed when it is first used.
      await original.shell('random');
      const photograph = await original.photograph();
      const copies = [
        await started(photograph.options, photograph),
        await started(photograph.options, photograph),
      ];
      const each = <T>(ask: (machine: GuestMachine) => Promise<T>): Promise<T[]> =>
        Promise.all(copies.map(ask));

      // What it is about: until then the agent's own generator says the same in both.
      const before = await each((machine) => machine.shell('random'));
      expect(before[0]).toBe(before[1]);

      await each((machine) => machine.link.call('personalise', machine.identity()));
      const random = await each(async (machine) => {
        const code = await machine.sendCode('acme', evalHandler);
        const id = newInstanceId();
        await machine.startFunction(functionSpec(code, { id }));
        return {
          agent: await machine.shell('random'),
          kernel: await machine.shell('head -c 16 /dev/urandom | od -An -tx1'),
          math: await machine.evaluate(id, 'Math.random()'),
          uuid: await machine.evaluate(id, 'require("node:crypto").randomUUID()'),
        };
      });
      for (const kind of ['agent', 'kernel', 'math', 'uuid'] as const)
        expect(random[0]?.[kind]).not.toEqual(random[1]?.[kind]);
    },
    2 * machineTimeoutMs,
  );
});
