// Real virtual machines, emulated where there is no KVM: what a unit is to its owner and what it costs the host. One
// template for the file, so that the tests cost clones; the last one boots once more.
import { createHash, randomBytes } from 'node:crypto';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { TenantId, UnitId } from '../../src/base/ids.ts';
import { mib } from '../../src/base/quantity.ts';
import type { Resources } from '../../src/model/resources.ts';
import { unitDriverContract } from '../../src/units/contract.ts';
import { sendCode } from '../../src/units/fleet/code-transfer.ts';
import type { Unit, UnitDriver, UnitEvent, UnitHandle } from '../../src/units/port.ts';
import type { QemuDriver } from '../../src/units/vm/driver.ts';
import type { VmUnit } from '../../src/units/vm/port.ts';
import { UnitView } from '../../src/units/vm/view.ts';
import { suiteNeeding } from '../support/needs.ts';
import { isRoot } from './agent-process.ts';
import { missingForGuests } from './guest-machine.ts';
import { SerialProxy } from './serial-proxy.ts';
import { unitSize, VmPlace } from './vm-place.ts';
import { VmTenant } from './vm-tenant.ts';

const bootMs = 240_000;

suiteNeeding(
  'virtual machines',
  isRoot ? missingForGuests() : 'root is needed for taps and loop devices',
  () => {
    let place: VmPlace;
    let driver: QemuDriver;
    let templateMs: number;
    const units: VmUnit[] = [];

    beforeAll(async () => {
      place = await VmPlace.make();
      driver = await place.driver();
      await driver.open();
      const startedMs = performance.now();
      await driver.prepareTemplate(unitSize);
      templateMs = performance.now() - startedMs;
    }, bootMs);
    afterEach(async () => {
      for (const unit of units.splice(0)) await driver.destroy(unit);
      expect(place.leftovers()).toEqual([]);
    });
    afterAll(async () => {
      await driver.close();
      const bridge = readdirSync('/sys/class/net').filter((name) => name.startsWith(`bw${place.hash}`));
      await place.remove();
      expect(bridge).toEqual([]);
    });

    const clone = async (): Promise<VmUnit> => {
      const unit = await driver.provision(place.newId(), unitSize);
      units.push(unit);
      return unit;
    };
    /** Brings random bytes into the guest, which then holds them as its disk and as its cache. */
    const fill = async (unit: VmUnit, bytes: number): Promise<void> => {
      const directory = mkdtempSync(join(place.data, 'code-'));
      const content = randomBytes(bytes);
      writeFileSync(join(directory, 'content'), content);
      const sha256 = createHash('sha256').update(content).digest('hex');
      await sendCode(unit.door, { tenant: 'acme', sha256, directory });
      rmSync(directory, { recursive: true });
    };
    const agentPid = async (unit: Unit): Promise<number> => (await unit.agent.call('hello', {})).pid;

    unitDriverContract('vm', async () => {
      const id = place.newId();
      let proxy: SerialProxy | undefined;
      /** The driver itself, but that the link of what it provisions goes through the proxy. */
      const proxied: UnitDriver = {
        name: driver.name,
        capabilities: driver.capabilities,
        provision: async (unitId, size) => {
          const unit = await driver.provision(unitId, size);
          proxy = new SerialProxy(place.runDirectory(unitId));
          await proxy.listen();
          const connected = new Promise<void>((resolve) => {
            const end = unit.subscribe((event) => {
              if (event.type !== 'connected') return;
              end();
              resolve();
            });
          });
          if (unit instanceof UnitView) unit.core.link.renew();
          await connected;
          return unit;
        },
        adopt: (handle) => driver.adopt(handle),
        resize: (unit, size) => driver.resize(unit, size),
        claim: (unit, amount) => driver.claim(unit, amount),
        release: (unit, amount) => driver.release(unit, amount),
        snapshot: (unit) => driver.snapshot(unit),
        destroy: (unit) => driver.destroy(unit),
      };
      return {
        driver: proxied,
        id,
        size: unitSize,
        emitPoolChanged: (ready) => proxy?.emit('poolChanged', { ready }),
        disconnect: async () => proxy?.close(),
        reconnect: async () => proxy?.listen(),
        remove: async () => {
          const handle: UnitHandle = { version: 1, driver: driver.name, id, data: {} };
          const unit = await driver.adopt(handle).catch(() => undefined);
          await proxy?.close();
          if (unit !== undefined) await driver.destroy(unit);
        },
      };
    });

    test('M-A1: a clone answers far sooner than a boot, and shares with its template what it has not changed', async () => {
      const unit = await clone();
      const report = driver.provisionReport(unit);
      expect(report?.from).toBe('template');
      expect(report?.firstAnswerMs).toBeLessThan(templateMs / 5);
      const { hostPrivateBytes } = driver.measure(unit);
      expect(hostPrivateBytes).toBeGreaterThan(0);
      // The guest alone has 256 MiB and what its system needs.
      expect(hostPrivateBytes).toBeLessThan(160 * mib);
    });

    test('two clones are two units: each has its own address, token and process', async () => {
      const [one, other] = [await clone(), await clone()];
      expect(one.door.host).not.toBe(other.door.host);
      expect(one.door.token).not.toBe(other.door.token);
      expect(one.pid).not.toBe(other.pid);
      await Promise.all([fill(one, mib), fill(other, mib)]);
      const users = [one, other].map(
        ({ pid }) => /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1],
      );
      expect(new Set(users).size).toBe(2);
      expect(users).not.toContain('0');
    });

    test('QEMU has no rights of its own: no capabilities, no new ones, and filters of its system calls', async () => {
      const status = readFileSync(`/proc/${(await clone()).pid}/status`, 'utf8');
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
        expect(status).toMatch(new RegExp(`^${set}:\\s+0+$`, 'm'));
      expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
      expect(status).toMatch(/^Seccomp_filters:\s+2$/m);
    });

    test('M-A4: what is claimed of touched memory is free on the host, the template stays as it is, and release gives all back', async () => {
      const [unit, witness] = [await clone(), await clone()];
      const before = templateSha256(unit.pid);
      // What the template's guest had read is shared with it, and to claim that frees nothing here: it goes first.
      const { totalBytes } = await unit.guest.call('identify', {});
      await unit.guest.call('makeClaimable', { bytes: totalBytes });
      // The file's cache takes most of the guest: a claim can not be had of what was never touched.
      await fill(unit, 190 * mib);
      const touchedBytes = driver.measure(unit).hostPrivateBytes;
      const { freeBytes } = await unit.guest.call('identify', {});
      const { claimedBytes, stalled } = await driver.claimMemory(unit, 224 * mib);
      expect(stalled).toBe(false);
      expect(unit.claimed.memory).toBe(claimedBytes);
      const claimedOfTouchedBytes = claimedBytes - freeBytes;
      expect(claimedOfTouchedBytes).toBeGreaterThanOrEqual(64 * mib);
      const freedBytes = touchedBytes - driver.measure(unit).hostPrivateBytes;
      console.log(
        `M-A4: ${Math.round(claimedOfTouchedBytes / mib)} MiB claimed of what was touched, ${Math.round(freedBytes / mib)} freed`,
      );
      expect(freedBytes).toBeGreaterThanOrEqual(0.9 * claimedOfTouchedBytes);
      expect(templateSha256(witness.pid)).toBe(before);
      await driver.releaseMemory(unit, claimedBytes);
      expect(unit.claimed.memory).toBe(0);
      await Promise.all([agentPid(unit), agentPid(witness)]);
      await clone();
    });

    test('M-A3: a unit is made smaller and larger again, in all four resources, and can not be made what it is not', async () => {
      const unit = await clone();
      const small = { memory: 128 * mib, cpu: 500, storage: 64 * mib, bandwidth: 1_000_000 } as Resources;
      await driver.resize(unit, small);
      const left = (kind: keyof Resources): number => unit.provisioned[kind] - unit.claimed[kind];
      expect(left('memory')).toBe(small.memory);
      expect(left('cpu')).toBe(small.cpu);
      expect(left('bandwidth')).toBe(small.bandwidth);
      expect(Math.abs(left('storage') - small.storage)).toBeLessThanOrEqual(mib);
      expect(place.cgroup.limits(['pool', unit.handle.id]).cpuMillicores).toBe(500);
      await driver.resize(unit, unitSize);
      expect(unit.claimed).toEqual({ memory: 0, cpu: 0, storage: 0, bandwidth: 0 });
      expect(place.cgroup.limits(['pool', unit.handle.id]).cpuMillicores).toBeNull();
      await expect(driver.resize(unit, { ...unitSize, memory: 512 * mib } as Resources)).rejects.toThrow(
        expect.objectContaining({ code: 'Infeasible', message: expect.stringContaining('256MiB') }),
      );
      await driver.claim(unit, { memory: 64 * mib } as Partial<Resources>);
      await driver.release(unit, { memory: 32 * mib } as Partial<Resources>);
      expect(unit.claimed.memory).toBe(32 * mib);
    });

    test('M-A5: bandwidth is limited both ways, and the limit is lifted while the unit runs', async () => {
      const unit = await clone();
      const timed = async (): Promise<number> => {
        const startedMs = performance.now();
        await fill(unit, 4 * mib);
        return performance.now() - startedMs;
      };
      await driver.setBandwidth(unit, 1_000_000);
      // Four million bytes at a million a second, but for what may go in one burst.
      expect(await timed()).toBeGreaterThan(3_500);
      // What the guest answered, and its acknowledgements of 4 MiB, went through the other direction's limit.
      const shaper = readdirSync('/sys/class/net').find((name) => name.startsWith(`bw${place.hash}i`)) ?? '';
      expect(Number(readFileSync(`/sys/class/net/${shaper}/statistics/tx_bytes`, 'utf8'))).toBeGreaterThan(
        1_000,
      );
      await driver.setBandwidth(unit, null);
      await timed();
      expect(unit.claimed.bandwidth).toBe(0);
    });

    test('a unit moves into its tenant’s group, with its quota, and leaves none behind', async () => {
      const unit = await clone();
      await driver.setCpu(unit, 700);
      const group = ['tenants', 'acme', unit.handle.id];
      await driver.moveToGroup(unit, group);
      expect(place.cgroup.processes(group)).toContain(unit.pid);
      expect(place.cgroup.limits(group).cpuMillicores).toBe(700);
      expect(place.cgroup.children(['pool'])).toEqual([]);
      await driver.destroy(unit);
      await place.cgroup.remove(['tenants', 'acme']);
    });

    test('a unit outlives its owner: the next one adopts it with all that is claimed, and clones from the same memory', async () => {
      const unit = await clone();
      units.length = 0;
      const pid = await agentPid(unit);
      await driver.claimMemory(unit, 64 * mib);
      const { claimed, door, handle } = unit;
      const [tap, memory] = [`bw${place.hash}-`, templateInode(unit.pid)];
      // An owner that died leaves everything as it is.
      await driver.close();
      expect(place.leftovers().some((name) => name.startsWith(tap))).toBe(true);
      driver = await place.driver();
      expect(await driver.open()).toEqual([handle]);
      const adopted = await driver.adopt(handle);
      units.push(adopted);
      expect(await agentPid(adopted)).toBe(pid);
      expect(adopted.claimed).toEqual(claimed);
      expect(adopted.door).toEqual(door);
      await fill(adopted, mib);
      expect(templateInode((await clone()).pid)).toBe(memory);
    });

    test('M-C4: a unit that is put to rest has no process, and wakes as it was, with all that was claimed of it', async () => {
      const unit = await clone();
      units.length = 0;
      await fill(unit, mib);
      const pid = await agentPid(unit);
      await driver.claimMemory(unit, 64 * mib);
      const claimed = unit.claimed.memory;
      const handle = await driver.snapshot(unit);
      expect(place.processes()).toEqual([]);
      await driver.close();
      driver = await place.driver();
      expect(await driver.open()).toEqual([handle]);
      // Whoever comes next may leave it there: it is what is on record, and nobody is asked.
      const resting = await driver.resting(handle);
      if (resting === undefined) throw new Error('it does not rest');
      expect(driver.measure(resting)).toMatchObject({
        pid: null,
        hostPrivateBytes: 0,
        provisioned: unitSize,
      });
      expect(resting.door).toEqual(unit.door);
      await expect(resting.guest.call('list', {})).rejects.toThrow(/rests/);
      expect(place.processes()).toEqual([]);
      const woken = await driver.adopt(handle);
      units.push(woken);
      expect(await agentPid(woken)).toBe(pid);
      expect(woken.claimed.memory).toBe(claimed);
      expect(woken.door).toEqual(unit.door);
      await fill(woken, mib);
      expect(readdirSync(join(place.data, 'snapshots'))).toEqual([]);
      expect(await driver.resting(woken.handle)).toBeUndefined();
    });

    test('M-C4: a unit that rests is ended by an owner who never ran it, and leaves nothing', async () => {
      const unit = await clone();
      units.length = 0;
      const handle = await driver.snapshot(unit);
      await driver.close();
      driver = await place.driver();
      await driver.open();
      const resting = await driver.resting(handle);
      if (resting === undefined) throw new Error('it does not rest');
      await driver.destroy(resting);
      expect(await driver.open()).toEqual([]);
      expect(readdirSync(join(place.data, 'snapshots'))).toEqual([]);
      await expect(driver.adopt(handle)).rejects.toThrow(expect.objectContaining({ code: 'NotFound' }));
    });

    test('M-C4: a unit into which something came since it was counted is not put to rest, and goes on', async () => {
      const unit = await clone();
      const tenant = await VmTenant.start(unit, {
        tenant: 'acme' as TenantId,
        index: 1,
        memoryBytes: unitSize.memory,
        storageBytes: 64 * mib,
      });
      const before = driver.measure(unit).carriedPackets;
      if (before === null) throw new Error('it has no tap');
      await tenant.evaluate('1');
      expect(driver.measure(unit).carriedPackets).toBeGreaterThan(before);
      await expect(driver.snapshot(unit, before)).rejects.toThrow(
        expect.objectContaining({ code: 'Conflict' }),
      );
      await tenant.evaluate('1');
      expect(readdirSync(join(place.data, 'snapshots'))).toEqual([]);
    });

    test('M-C4: a connection into a unit outlives its rest: what is sent meanwhile is answered in order afterwards, and its memory is the host’s', async () => {
      const unit = await clone();
      const tenant = await VmTenant.start(unit, {
        tenant: 'acme' as TenantId,
        index: 1,
        memoryBytes: unitSize.memory,
        storageBytes: 64 * mib,
      });
      // Each answer's number is of the same program's memory; all go over the one connection that it was asked by first.
      const next = (): Promise<unknown> => tenant.evaluate('state.count = (state.count ?? 0) + 1');
      await tenant.evaluate(`(state.held = Buffer.alloc(${64 * mib}, 1)).length`);
      expect([await next(), await next()]).toEqual([1, 2]);
      const held = () => ({ ...driver.measure(unit), templateBytes: templateBytes() });
      const awake = held();
      const handle = await driver.snapshot(unit);
      units.length = 0;
      expect(place.processes()).toEqual([]);
      const resting = held();
      const storedBytes = resting.hostStorageBytes - awake.hostStorageBytes;
      // What it costs the host beyond what others share, and what they share is no more for it.
      const leftBytes = resting.hostPrivateBytes + Math.max(0, resting.templateBytes - awake.templateBytes);
      console.log(
        `M-C4: ${show(awake.hostPrivateBytes)} of its own awake, ${show(leftBytes)} at rest, ${show(storedBytes)} on disk`,
      );
      expect(resting.pid).toBeNull();
      expect(awake.hostPrivateBytes).toBeGreaterThan(64 * mib);
      expect(leftBytes).toBeLessThan(0.05 * awake.hostPrivateBytes);
      expect(storedBytes).toBeGreaterThan(32 * mib);
      expect(storedBytes).toBeLessThan(awake.hostPrivateBytes);
      const meanwhile = [next(), next(), next()];
      const woken = await driver.adopt(handle);
      units.push(woken);
      expect(await Promise.all(meanwhile)).toEqual([3, 4, 5]);
      expect(await next()).toBe(6);
      expect(driver.measure(woken).pid).toBe(woken.pid);
      tenant.disconnect();
    });

    describe('M-C4: a unit whose owner is killed while it wakes it', () => {
      /** An owner that is killed just there: `until` is when it may be. */
      const killedWaker = async (
        handle: UnitHandle,
        step: readonly ['before' | 'after', 'migrate-incoming' | 'cont'],
        until: () => Promise<unknown>,
      ): Promise<void> => {
        const waker = spawn(
          process.execPath,
          [
            '--disable-warning=ExperimentalWarning',
            join(import.meta.dirname, 'fixtures/waker.ts'),
            ...[place.data, place.cgroupRoot, JSON.stringify(handle), ...step],
          ],
          { stdio: ['ignore', 'pipe', 'inherit'] },
        );
        const ended = once(waker, 'exit');
        try {
          await once(waker.stdout, 'data');
          await until();
        } finally {
          waker.kill('SIGKILL');
          await ended;
        }
      };
      const atRest = async (): Promise<{ handle: UnitHandle; next: () => Promise<unknown> }> => {
        const unit = await clone();
        const tenant = await VmTenant.start(unit, {
          tenant: 'acme' as TenantId,
          index: 1,
          memoryBytes: unitSize.memory,
          storageBytes: 64 * mib,
        });
        const next = (): Promise<unknown> => tenant.evaluate('state.count = (state.count ?? 0) + 1');
        expect(await next()).toBe(1);
        const handle = await driver.snapshot(unit);
        units.length = 0;
        await driver.close();
        return { handle, next };
      };
      const nextOwner = async (): Promise<void> => {
        driver = await place.driver();
        await driver.open();
      };

      test.each([['before', 'migrate-incoming'] as const, ['after', 'migrate-incoming'] as const])(
        'before it runs (%s %s): it rests on, and wakes once',
        async (...step) => {
          const { handle, next } = await atRest();
          await killedWaker(handle, step, async () => undefined);
          await nextOwner();
          expect(await driver.resting(handle)).toBeDefined();
          expect(place.processes()).toEqual([]);
          units.push(await driver.adopt(handle));
          expect(await next()).toBe(2);
        },
      );

      test('when it was about to run: it goes on as the same process', async () => {
        const { handle, next } = await atRest();
        await killedWaker(handle, ['before', 'cont'], async () => undefined);
        const left = place.processes();
        await nextOwner();
        expect(await driver.resting(handle)).toBeUndefined();
        units.push(await driver.adopt(handle));
        expect(place.processes()).toEqual(left);
        expect(await next()).toBe(2);
        expect(readdirSync(join(place.data, 'snapshots'))).toEqual([]);
      });

      test('when it has run: it goes on, and what it has answered by then is not done twice', async () => {
        const { handle, next } = await atRest();
        await killedWaker(handle, ['after', 'cont'], async () => expect(await next()).toBe(2));
        await nextOwner();
        expect(await driver.resting(handle)).toBeUndefined();
        units.push(await driver.adopt(handle));
        expect(await next()).toBe(3);
        expect(readdirSync(join(place.data, 'snapshots'))).toEqual([]);
      });

      test('when it has run, and its process is gone: it is gone, with its snapshot', async () => {
        const { handle, next } = await atRest();
        await killedWaker(handle, ['after', 'cont'], async () => expect(await next()).toBe(2));
        for (const pid of place.processes()) process.kill(Number(pid), 'SIGKILL');
        await expect.poll(() => place.processes()).toEqual([]);
        await nextOwner();
        await expect(driver.adopt(handle)).rejects.toThrow(expect.objectContaining({ code: 'NotFound' }));
        expect(place.leftovers()).toEqual([]);
        expect(readdirSync(join(place.data, 'snapshots'))).toEqual([]);
      });
    });

    test('a killed QEMU is told, with the reason, and nothing of it is left', async () => {
      const unit = await clone();
      units.length = 0;
      const events: UnitEvent[] = [];
      unit.subscribe((event) => events.push(event));
      process.kill(unit.pid, 'SIGKILL');
      await expect
        .poll(() => events.at(-1), { timeout: 10_000 })
        .toMatchObject({
          type: 'lost',
          reason: expect.stringContaining(String(unit.pid)),
        });
      await expect(unit.agent.call('hello', {})).rejects.toThrow(
        expect.objectContaining({ code: 'Unavailable' }),
      );
      await expect.poll(() => place.leftovers(), { timeout: 10_000 }).toEqual([]);
      await driver.destroy(unit);
    });

    test('a QEMU that stops answering is an error in time, is told as lost, and is ended', async () => {
      const unit = await clone();
      units.length = 0;
      const events: UnitEvent[] = [];
      unit.subscribe((event) => events.push(event));
      process.kill(unit.pid, 'SIGSTOP');
      await expect(driver.releaseMemory(unit, mib)).rejects.toThrow(
        expect.objectContaining({ code: 'Unavailable', message: expect.stringContaining('query-balloon') }),
      );
      await expect.poll(() => events.at(-1), { timeout: 30_000 }).toMatchObject({ type: 'lost' });
      await expect.poll(() => place.leftovers(), { timeout: 20_000 }).toEqual([]);
    });

    test('two who adopt a unit at once hold the same', async () => {
      const unit = await clone();
      await unit.close();
      const both = await Promise.all([driver.adopt(unit.handle), driver.adopt(unit.handle)]);
      units.push(...both);
      expect(both.map(({ pid }) => pid)).toEqual([unit.pid, unit.pid]);
      expect(new Set(await Promise.all(both.map(agentPid))).size).toBe(1);
    });

    test('a full disk is no room, and nothing of the unit is left', async () => {
      const scratch = join(place.data, 'scratch');
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', scratch]);
      try {
        await expect(driver.provision(place.newId(), unitSize)).rejects.toThrow(
          expect.objectContaining({ code: 'NoRoom' }),
        );
        expect(place.leftovers()).toEqual([]);
      } finally {
        execFileSync('umount', [scratch]);
      }
    });

    test('on a full disk a unit can not be put to rest, and goes on', async () => {
      const unit = await clone();
      const snapshots = join(place.data, 'snapshots');
      mkdirSync(snapshots, { recursive: true });
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', snapshots]);
      try {
        await expect(driver.snapshot(unit)).rejects.toThrow(expect.objectContaining({ code: 'NoRoom' }));
        expect(readdirSync(snapshots)).toEqual([]);
        await agentPid(unit);
      } finally {
        execFileSync('umount', [snapshots]);
      }
    });

    test('what a dead owner left half made is swept', async () => {
      const unit = await clone();
      const record = JSON.parse(
        readFileSync(join(place.data, 'units', `${unit.handle.id}.json`), 'utf8'),
      ) as object;
      await driver.destroy(unit);
      units.length = 0;
      const half = {
        ...record,
        id: 'u-half',
        slot: 77,
        processes: null,
        door: null,
        group: ['pool', 'u-half'],
      };
      writeFileSync(join(place.data, 'units/u-half.json'), JSON.stringify(half));
      writeFileSync(join(place.data, 'units/u-broken.json'), '{');
      writeFileSync(join(place.data, 'scratch/u-half.ext4'), Buffer.alloc(mib));
      mkdirSync(place.runDirectory('u-half' as UnitId));
      execFileSync('losetup', ['--find', join(place.data, 'scratch/u-half.ext4')]);
      execFileSync('ip', ['tuntap', 'add', 'dev', `bw${place.hash}-04d`, 'mode', 'tap']);
      execFileSync('ip', ['tuntap', 'add', 'dev', `bw${place.hash}-04e`, 'mode', 'tap']);
      place.cgroup.create(['pool', 'u-half']);
      await driver.close();
      driver = await place.driver();
      expect(await driver.open()).toEqual([]);
      expect(place.leftovers()).toEqual([]);
    });

    test('a name that is taken, or none, is refused before anything is made', async () => {
      const unit = await clone();
      await expect(driver.provision(unit.handle.id, unitSize)).rejects.toThrow(
        expect.objectContaining({ code: 'Conflict' }),
      );
      for (const id of ['../x', 't-template', 'A', ''])
        await expect(driver.provision(id as UnitId, unitSize)).rejects.toThrow(
          expect.objectContaining({ code: 'InvalidName' }),
        );
    });

    describe('a template', () => {
      test(
        'that is damaged is noticed and made anew, and units go on',
        async () => {
          await driver.close();
          const [key = ''] = readdirSync(join(place.data, 'templates'));
          const file = openSync(join(place.data, 'templates', key, 'memory'), 'r+');
          const byte = Buffer.alloc(1);
          readSync(file, byte, 0, 1, 1_000_000);
          writeSync(file, Buffer.from([byte.readUInt8() ^ 0xff]), 0, 1, 1_000_000);
          closeSync(file);
          driver = await place.driver();
          await driver.open();
          place.defects.length = 0;
          await agentPid(await clone());
          expect(place.defects).toEqual([expect.stringMatching(/made anew.*damaged/)]);
        },
        bootMs,
      );
    });
  },
);

const show = (bytes: number): string => `${Math.round(bytes / mib)} MiB`;

/** What the kernel holds for the template's memory, which this process has open, too. */
function templateBytes(): number {
  const path = readdirSync('/proc/self/fd')
    .map((fd) => `/proc/self/fd/${fd}`)
    .find((each) => {
      try {
        return readlinkSync(each).startsWith('/memfd:bellows-template-');
      } catch {
        return false;
      }
    });
  if (path === undefined) throw new Error('no template is open');
  return statSync(path).blocks * 512;
}

/** The descriptor in QEMU that is its template's memory. */
function templateFd(pid: number): string {
  const directory = `/proc/${pid}/fd`;
  for (const fd of readdirSync(directory)) {
    const path = join(directory, fd);
    if (readlinkSync(path).startsWith('/memfd:bellows-template-')) return path;
  }
  throw new Error(`process ${pid} has no template`);
}

function templateInode(pid: number): bigint {
  const fd = openSync(templateFd(pid), 'r');
  try {
    return BigInt(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').match(/^ino:\s+(\d+)$/m)?.[1] ?? 0);
  } finally {
    closeSync(fd);
  }
}

function templateSha256(pid: number): string {
  const hash = createHash('sha256');
  const chunk = Buffer.allocUnsafe(4 * mib);
  const fd = openSync(templateFd(pid), 'r');
  try {
    for (let bytes = -1; bytes !== 0;) {
      bytes = readSync(fd, chunk, 0, chunk.length, null);
      hash.update(chunk.subarray(0, bytes));
    }
    return hash.digest('hex');
  } finally {
    closeSync(fd);
  }
}
