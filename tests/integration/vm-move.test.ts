// A unit that goes on in a second machine, with real virtual machines: what stays for whoever is connected to it, what the
// host has of the first afterwards, and what becomes of a move that fails or whose owner dies.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { TenantId } from '../../src/base/ids.ts';
import { mib } from '../../src/base/quantity.ts';
import type { UnitEvent } from '../../src/units/port.ts';
import type { QemuDriver } from '../../src/units/vm/driver.ts';
import { bridgeName, tapName } from '../../src/units/vm/network/names.ts';
import type { VmUnit } from '../../src/units/vm/port.ts';
import { UnitView } from '../../src/units/vm/view.ts';
import { suiteNeeding } from '../support/needs.ts';
import { isRoot } from './agent-process.ts';
import { missingForGuests } from './guest-machine.ts';
import { unitSize, VmPlace } from './vm-place.ts';
import { VmTenant } from './vm-tenant.ts';

suiteNeeding(
  'moves of virtual machines',
  isRoot ? missingForGuests() : 'root is needed for taps and loop devices',
  () => {
    let place: VmPlace;
    let driver: QemuDriver;
    let unit: VmUnit;
    let tenant: VmTenant;

    beforeAll(async () => {
      place = await VmPlace.make();
      driver = await place.driver();
      await driver.open();
      unit = await driver.provision(place.newId(), unitSize);
      tenant = await VmTenant.start(unit, {
        tenant: 'acme' as TenantId,
        index: 1,
        memoryBytes: unitSize.memory,
        storageBytes: 64 * mib,
      });
      // All goes over the one connection that it is asked by first.
      await tenant.evaluate(`(state.held = Buffer.alloc(${32 * mib}, 1)).length`);
    }, 240_000);
    afterEach(() => {
      expect(place.defects.splice(0)).toEqual([]);
    });
    afterAll(async () => {
      tenant.disconnect();
      await driver.destroy(unit);
      expect(place.leftovers()).toEqual([]);
      await driver.close();
      await place.remove();
    });

    let last = 0;
    /** Each answer's number is of the same program's memory. */
    const next = async (): Promise<void> => {
      last += 1;
      const expected = last;
      expect(await tenant.evaluate('state.count = (state.count ?? 0) + 1')).toBe(expected);
    };
    /** Asks on and on while something happens; resolves with how often, when all are answered, and the longest wait. */
    const askingDuring = async (work: () => Promise<void>): Promise<{ asked: number; longestMs: number }> => {
      const asked: Promise<void>[] = [];
      let longestMs = 0;
      const timer = setInterval(() => {
        const askedAtMs = performance.now();
        const answered = next().finally(
          () => (longestMs = Math.max(longestMs, performance.now() - askedAtMs)),
        );
        asked.push(answered);
      }, 20);
      try {
        await work();
      } finally {
        clearInterval(timer);
      }
      await Promise.all(asked);
      return { asked: asked.length, longestMs };
    };
    const links = (): string[] =>
      readdirSync('/sys/class/net').filter(
        (name) => name.startsWith(`bw${place.hash}`) && !name.endsWith('-br'),
      );

    test('M-C4 M-C6: a unit goes on in a second machine, and from there in a third: its connection stays, nothing sent is lost, and nothing of the first is left', async () => {
      await driver.claimMemory(unit, 32 * mib);
      await driver.setBandwidth(unit, 50_000_000);
      for (const round of [1, 2]) {
        const first = unit;
        const { claimed, door } = first;
        const before = driver.measure(first);
        const events: UnitEvent['type'][] = [];
        first.subscribe(({ type }) => events.push(type));
        let report: unknown;
        const { asked, longestMs } = await askingDuring(async () => {
          const { unit: second, ...took } = await driver.move(first);
          unit = second;
          report = took;
        });
        const after = driver.measure(unit);
        console.log(
          `M-C4, move ${round}: ${JSON.stringify(report)}, asked ${asked} times meanwhile, the longest wait ${Math.round(longestMs)} ms, ` +
            `${Math.round(before.hostPrivateBytes / mib)} MiB of its own before, ${Math.round(after.hostPrivateBytes / mib)} after`,
        );
        expect(asked).toBeGreaterThan(3);
        expect(events).toEqual(['lost']);
        expect(unit.handle.id).toBe(first.handle.id);
        expect(unit.pid).not.toBe(first.pid);
        expect(place.processes()).toContain(String(unit.pid));
        expect(place.processes()).not.toContain(String(first.pid));
        expect({ claimed: unit.claimed, door: unit.door }).toEqual({ claimed, door });
        // Still a clone: what it shares is not copied. Its agent inside is the same, and listens on the other machine's port.
        expect(after.hostPrivateBytes).toBeLessThan(1.25 * before.hostPrivateBytes);
        expect(readFileSync(`/proc/${unit.pid}/maps`, 'latin1')).toContain('/memfd:bellows-template-');
        expect((await unit.guest.call('list', {})).instances).toHaveLength(1);
        const side = round === 1 ? 'b' : 'a';
        const tap = tapName(place.hash, { slot: 0, side });
        // With the device that shapes what the guest sends.
        expect(links()).toEqual([tap, tap.replace('-', 'i')].toSorted());
        expect(place.cgroup.children(['pool'])).toEqual([round === 1 ? 'u-1.b' : 'u-1']);
        expect(place.cgroup.processes(['pool', round === 1 ? 'u-1.b' : 'u-1'])).toContain(unit.pid);
      }
      await driver.setBandwidth(unit, null);
      await driver.releaseMemory(unit, 64 * mib);
    });

    test('M-C4: a move that fails in its midst leaves the unit where it is, with its connection', async () => {
      const snapshots = join(place.data, 'snapshots');
      mkdirSync(snapshots, { recursive: true });
      // The second has been started by then, and the first stands still.
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', snapshots]);
      const { pid } = unit;
      try {
        await askingDuring(async () => {
          await expect(driver.move(unit)).rejects.toThrow(expect.objectContaining({ code: 'NoRoom' }));
        });
      } finally {
        execFileSync('umount', [snapshots]);
      }
      expect(place.processes()).toContain(String(pid));
      expect(links()).toEqual([tapName(place.hash, { slot: 0, side: 'a' })]);
      expect(readdirSync(join(place.data, 'run/u'))).toEqual(['u-1']);
      await tenant.evaluate(`require('node:fs').writeFileSync('/tmp/still', 'writable')`);
    });

    test('M-C4: of a move whose owner died in its midst the next owner finds the unit where it was, has it run, and ends the second', async () => {
      const { handle, pid } = unit;
      if (!(unit instanceof UnitView)) throw new Error('another driver’s');
      const { record } = unit.core;
      // As far as it can get before the second is the unit: that has begun, the first stands still, and what is sent goes astray.
      const tap = tapName(place.hash, { slot: 0, side: 'b' });
      const bridge = bridgeName(place.hash);
      const run = (program: string, line: string): void => void execFileSync(program, line.split(' '));
      mkdirSync(join(place.data, 'run/u/u-1.b'));
      place.cgroup.create(['pool', 'u-1.b']);
      const second = spawn('sleep', ['600'], {
        argv0: `guest=bellows-${place.hash}-u-1.b`,
        stdio: 'ignore',
      });
      place.cgroup.attach(['pool', 'u-1.b'], second.pid ?? 0);
      run('ip', `tuntap add dev ${tap} mode tap`);
      run('ip', `link set ${tap} master ${bridge} up`);
      run('bridge', `fdb replace ${record.mac} dev ${tap} master static`);
      await unit.core.machine.execute('stop', {});
      const asked = next();
      await driver.close();
      driver = await place.driver();
      expect(await driver.open()).toEqual([handle]);
      unit = await driver.adopt(handle);
      expect(unit.pid).toBe(pid);
      await asked;
      await next();
      expect(second.exitCode ?? second.signalCode).toBe('SIGKILL');
      expect(links()).toEqual([tapName(place.hash, { slot: 0, side: 'a' })]);
      expect(readdirSync(join(place.data, 'run/u'))).toEqual(['u-1']);
      expect(place.cgroup.children(['pool'])).toEqual(['u-1']);
    });
  },
);
