// M-A7, virtual machines: a tenant fills memory and scratch with a pattern, all of it is reclaimed and given to somebody
// else, who searches whatever can be had for it, as root inside and with all rights on the host. Both directions.
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { TenantId } from '../../src/base/ids.ts';
import { mib } from '../../src/base/quantity.ts';
import type { QemuDriver } from '../../src/units/vm/driver.ts';
import { cpioArchive } from '../../src/units/vm/image/cpio.ts';
import { guestImage } from '../../src/units/vm/image/guest-image.ts';
import type { GuestImage } from '../../src/units/vm/image/port.ts';
import type { VmUnit } from '../../src/units/vm/port.ts';
import { suiteNeeding } from '../support/needs.ts';
import { isRoot } from './agent-process.ts';
import { bundledAgent, missingForGuests } from './guest-machine.ts';
import { bytesOf, Pattern, shell } from './vm-pattern.ts';
import { unitSize, VmPlace } from './vm-place.ts';
import { VmTenant } from './vm-tenant.ts';

const setUpMs = 240_000;
/** Searching all of a guest's memory and disk in emulation takes some ten seconds each. */
const testMs = 300_000;
const heldBytes = 96 * mib;
const storedBytes = 48 * mib;
const leftFile = '/var/lib/bellows/left';

suiteNeeding(
  'what a tenant leaves in a virtual machine',
  isRoot ? missingForGuests() : 'root is needed for taps and loop devices',
  () => {
    const imageDirectory = mkdtempSync(join(tmpdir(), 'bellows-image-'));
    let place: VmPlace;
    let driver: QemuDriver;
    /** Made before any tenant came, and there all the time. */
    let witness: VmUnit;
    const units: VmUnit[] = [];

    beforeAll(async () => {
      place = await VmPlace.make({ image: await imageWithShell(imageDirectory) });
      driver = await place.driver();
      await driver.open();
      witness = await driver.provision(place.newId(), unitSize);
    }, setUpMs);
    afterAll(async () => {
      const left = await driver.destroy(witness).then(() => place.leftovers());
      await driver.close();
      await place.remove();
      rmSync(imageDirectory, { recursive: true });
      expect(left).toEqual([]);
    });
    afterEach(async () => {
      for (const unit of units.splice(0)) await driver.destroy(unit);
    });

    const clone = async (): Promise<VmUnit> => {
      const unit = await driver.provision(place.newId(), unitSize);
      units.push(unit);
      return unit;
    };
    const tenantIn = (unit: VmUnit, index: number): Promise<VmTenant> =>
      VmTenant.start(unit, {
        tenant: `tenant-${index}` as TenantId,
        index,
        memoryBytes: unitSize.memory,
        storageBytes: 128 * mib,
      });
    /** Its memory, its temporary files, and the unit's scratch disk below it. */
    const fill = async (unit: VmUnit, tenant: VmTenant, pattern: Pattern): Promise<void> => {
      await tenant.evaluate(`
        state.held = Buffer.alloc(${heldBytes}, ${pattern.expression});
        const file = fs.openSync('/tmp/left', 'w');
        fs.writeSync(file, state.held, 0, ${storedBytes});
        fs.fsyncSync(file);
        fs.closeSync(file)`);
      await pattern.writeInside(unit, leftFile, storedBytes);
    };
    const scratchOf = (unit: VmUnit): string => join(place.data, 'scratch', `${unit.handle.id}.ext4`);
    /** Everything that can be spared, of both. */
    const reclaim = async (unit: VmUnit): Promise<void> => {
      const { claimedBytes } = await driver.claimMemory(unit, unitSize.memory);
      expect(claimedBytes).toBeGreaterThan(unitSize.memory / 2);
      await driver.setStorage(unit, 32 * mib);
    };
    const giveBack = async (unit: VmUnit): Promise<void> => {
      await driver.releaseMemory(unit, unit.claimed.memory);
      await driver.setStorage(unit, unitSize.storage);
    };
    /** As root inside: all of its memory, its whole disk. */
    const searchInside = async (
      unit: VmUnit,
      pattern: Pattern,
    ): Promise<{ memoryBytes: number; diskBytes: number }> => {
      const memory = await pattern.inGuestMemory(unit);
      expect(memory.searchedBytes).toBeGreaterThan(unitSize.memory);
      const disk = await pattern.inGuestDisk(unit);
      expect(disk.searchedBytes).toBeGreaterThan(unitSize.storage);
      return { memoryBytes: bytesOf(memory), diskBytes: bytesOf(disk) };
    };
    /** Templates, disks of all units, logs, records; and the template's memory, as clones map it. */
    const searchHost = (pattern: Pattern): number =>
      bytesOf(pattern.inDirectory(place.data)) + bytesOf(pattern.inFile(templateOf(witness.pid)));
    const nothing = { memoryBytes: 0, diskBytes: 0 };

    test(
      'M-A7: what is claimed of a tenant’s memory and scratch comes back without what it held, also to the next in the same unit',
      async () => {
        const unit = await clone();
        const [first, second] = [new Pattern(), new Pattern()];
        const one = await tenantIn(unit, 1);
        await fill(unit, one, first);
        // The searches find what is there.
        const there = await searchInside(unit, first);
        expect(there.memoryBytes).toBeGreaterThanOrEqual(heldBytes);
        expect(there.diskBytes).toBeGreaterThanOrEqual(storedBytes);
        expect(bytesOf(first.inProcess(unit.pid))).toBeGreaterThanOrEqual(heldBytes);
        expect(searchHost(first)).toBeGreaterThanOrEqual(storedBytes);

        await one.stop();
        await shell(unit, `rm ${leftFile}`);
        // Deleted, it may still be there for whoever reads the disk itself: until a trim, which comes now at the latest.
        await reclaim(unit);
        // In pages that were not claimed: what the guest's own share, beside all that was provisioned, has free. Which pages
        // those are is chance.
        const leftBytes = bytesOf(first.inProcess(unit.pid));
        const { freeBytes } = await unit.guest.call('identify', {});
        expect(leftBytes).toBeLessThanOrEqual(freeBytes);
        expect(freeBytes).toBeLessThan(heldBytes / 2);
        expect(bytesOf(first.inFile(scratchOf(unit)))).toBe(0);
        await giveBack(unit);
        const back = await searchInside(unit, first);
        // What was released holds nothing of it: there is no more than was there without.
        expect(back.memoryBytes).toBeLessThanOrEqual(leftBytes);
        expect(back.diskBytes).toBe(0);

        const other = await tenantIn(unit, 2);
        expect(await searchAsTenant(other, first)).toEqual([]);
        await fill(unit, other, second);
        await other.stop();
        await shell(unit, `rm ${leftFile}`);
        const again = await tenantIn(unit, 1);
        expect(await searchAsTenant(again, second)).toEqual([]);
      },
      testMs,
    );

    test(
      'M-A7: a unit that ends with everything in it leaves nothing to the next one, nor on the host, nor in clones made before or after, also when it was put to rest; in both directions',
      async () => {
        const [first, second] = [new Pattern(), new Pattern()];
        const filled = async (index: number, pattern: Pattern): Promise<VmUnit> => {
          const unit = await clone();
          await fill(unit, await tenantIn(unit, index), pattern);
          expect(searchHost(pattern)).toBeGreaterThanOrEqual(storedBytes);
          return unit;
        };
        const end = async (unit: VmUnit, pattern: Pattern): Promise<void> => {
          await driver.destroy(unit);
          units.splice(units.indexOf(unit), 1);
          expect(searchHost(pattern)).toBe(0);
          // Its memory; its disk is among the host's files.
          expect(bytesOf(pattern.inProcess(witness.pid))).toBe(0);
        };
        const one = await filled(1, first);
        // At rest it is a file, its memory in it, which is its own alone and goes with it.
        const rested = await driver.snapshot(one);
        units.splice(units.indexOf(one), 1);
        expect(searchHost(first)).toBeGreaterThanOrEqual(heldBytes);
        const next = await filled(2, second);
        expect(await searchInside(next, first)).toEqual(nothing);
        const woken = await driver.adopt(rested);
        units.push(woken);
        await end(woken, first);
        await end(next, second);
        expect(await searchInside(await clone(), second)).toEqual(nothing);
      },
      testMs,
    );
  },
);

/** The image that Bellows builds, with a shell for root beside the agent. */
async function imageWithShell(directory: string): Promise<GuestImage> {
  const image = await guestImage({ ownDirectory: null });
  const content = Buffer.concat([
    readFileSync(image.initrd),
    cpioArchive([await bundledAgent('agent-with-shell.ts')]),
  ]);
  const initrd = join(directory, 'initrd');
  writeFileSync(initrd, content);
  return { ...image, initrd, hash: createHash('sha256').update(content).digest('hex') };
}

/** A template's memory, as a clone's QEMU has it. */
function templateOf(pid: number): string {
  const directory = `/proc/${pid}/fd`;
  const name = readdirSync(directory).find((fd) =>
    readlinkSync(join(directory, fd)).startsWith('/memfd:bellows-template-'),
  );
  if (name === undefined) throw new Error(`process ${pid} has no template`);
  return join(directory, name);
}

/** What user code can get: memory until there is no more, files, devices, the kernel's view of memory. Answers what it found. */
async function searchAsTenant(tenant: VmTenant, pattern: Pattern): Promise<unknown> {
  return tenant.evaluate(`(() => {
    const pattern = ${pattern.expression};
    const found = [];
    const block = Buffer.allocUnsafeSlow(${160 * mib});
    if (block.includes(Buffer.concat([pattern, pattern]))) found.push('memory');
    for (const path of ['/proc/kcore', '/dev/mem', '/dev/vdb', '/dev/vda'])
      try { fs.closeSync(fs.openSync(path, 'r')); found.push(path); } catch {}
    const files = fs.readdirSync('/tmp', { recursive: true });
    return [...found, ...files.filter((file) => file === 'left')];
  })()`);
}
