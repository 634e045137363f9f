// The units that suites run on: this host, and virtual machines of this host's. Owns how a Bellows of each kind is started,
// how patient tests are with it, and where its limits are read; nothing of what suites assert.
import { afterAll, beforeAll, describe, vi } from 'vitest';
import { amountOf } from './apps.ts';
import { Bellows, type InstanceAnswer } from './bellows.ts';
import { groupDirectory, memoryLimitOf, oomKillsOf } from './kernel.ts';
import { missingForMachines, unitsOf } from './machines.ts';
import { suiteNeeding } from './needs.ts';

/** A Bellows on one kind of units, which lives as long as the suite that asked for it. */
export abstract class UnitsUnderTest {
  abstract readonly kind: 'host' | 'vm';
  /** How much longer than on the host a test may wait. A time-out of tests: nothing that is asserted depends on it. */
  protected abstract readonly patience: number;
  #bellows: Bellows | undefined;

  constructor() {
    beforeAll(async () => {
      this.#bellows = await this.start();
    }, 420_000);
    afterAll(async () => {
      await this.#bellows?.stop();
    });
  }

  get bellows(): Bellows {
    if (this.#bellows === undefined) throw new Error('Bellows did not start');
    return this.#bellows;
  }

  within(hostMs: number): number {
    return hostMs * this.patience;
  }

  /** `Timeout` of functions that are to reach it: so short that waiting for it is cheap, and enough for one that does not. */
  abstract readonly shortTimeoutSeconds: number;

  /** Of an instance now, in bytes. */
  abstract memoryLimitOf(instance: InstanceAnswer): Promise<number>;
  /** How often the kernel ended something for want of memory where this instance is. */
  abstract oomKillsOf(instance: InstanceAnswer): number;
  protected abstract start(): Promise<Bellows>;
}

export class HostUnits extends UnitsUnderTest {
  readonly kind = 'host';
  readonly shortTimeoutSeconds = 2;
  protected readonly patience = 1;

  protected async start(): Promise<Bellows> {
    return Bellows.start();
  }

  async memoryLimitOf({ pid }: InstanceAnswer): Promise<number> {
    return memoryLimitOf(groupDirectory(pid, 'memory'));
  }

  oomKillsOf({ pid }: InstanceAnswer): number {
    return oomKillsOf(groupDirectory(pid, 'memory'));
  }
}

class VirtualMachines extends UnitsUnderTest {
  readonly kind = 'vm';
  // A Timeout is counted from when the invocation is sent, a start not included. But a call that takes milliseconds takes
  // seconds in a guest whose emulated processor gets a small part of a busy host's.
  readonly shortTimeoutSeconds = 12;
  /** An emulated processor is some ten times slower than the host's, and starts a Node process in seconds. */
  protected readonly patience = 10;

  constructor() {
    super();
    // Of tests that name no time-out of their own: a few starts, each of up to half a minute on a busy machine.
    vi.setConfig({ testTimeout: 400_000 });
  }

  protected async start(): Promise<Bellows> {
    // The image is built before the first start on a machine, which takes minutes.
    return Bellows.start({ args: ['--no-examples', '--unit', 'vm', '--pool', '2'], readyMs: 400_000 });
  }

  /**
   * The guest's own files can not be read from here: what the machine was granted, which is set once QEMU reports the
   * balloon's size. That its user gets no more, and the host the rest, is what vm-units.test.ts measures.
   */
  async memoryLimitOf({ unit }: InstanceAnswer): Promise<number> {
    const found = (await unitsOf(this.bellows)).find(({ id }) => id === unit);
    if (found === undefined) throw new Error(`there is no unit ${unit}`);
    return amountOf('memory', found.granted.memory);
  }

  /** Of the machine's process; an instance that is ended inside is replaced, which its id and pid show. */
  oomKillsOf({ unitPid }: InstanceAnswer): number {
    if (unitPid === undefined) throw new Error('this instance is in no machine');
    return oomKillsOf(groupDirectory(unitPid, 'memory'));
  }
}

/** Suites on virtual machines, where there can be some: one after the other over one Bellows. */
export function suitesInMachines(suites: Readonly<Record<string, (units: UnitsUnderTest) => void>>): void {
  suiteNeeding('in virtual machines', missingForMachines, () => {
    const units = new VirtualMachines();
    describe.for(Object.entries(suites))('%s', ([, suite]) => {
      suite(units);
      // Its machines are the next one's room.
      afterAll(() => units.bellows.removeWorkloads(), units.within(30_000));
    });
  });
}
