// Whether instances run in virtual machines and what those are like: from the options of `bellows up`, and from what this
// machine can do, to what the supervisor is told. Does not own making them: src/units does.
import { resolve } from 'node:path';
import type { SupervisorOptions } from '../../supervisor/supervisor.ts';
import { ensureVirtualMachines } from '../../supervisor/system-packages.ts';
import { virtualMachinesWork } from '../../units/fleet/accelerator.ts';
import { defaultPoolMaximum, type sharingModes } from '../../units/fleet/config.ts';
import { defaultUnitSize } from '../../units/fleet/unit-size.ts';
import { exitCode } from '../exit-code.ts';
import { CommandError } from '../failure.ts';

interface UnitArgs {
  readonly unit: 'host' | 'vm' | 'both' | 'auto';
  readonly unitMemory?: number | undefined;
  readonly unitStorage?: number | undefined;
  readonly share: (typeof sharingModes)[number];
  readonly accelerator: 'auto' | 'kvm' | 'tcg';
  readonly guestImage?: string | undefined;
  readonly pool?: number | undefined;
}

/** What virtual machines are to be like; null for none. @throws CommandError when they are asked for and can not be */
export async function unitsOf(
  { unit, unitMemory, unitStorage, share, accelerator, guestImage, pool }: UnitArgs,
  say: (text: string) => void,
): Promise<NonNullable<SupervisorOptions['units']> | null> {
  if (unit === 'host') return null;
  if (unit === 'auto' && !(await virtualMachinesWork())) return null;
  const programs = await ensureVirtualMachines(say);
  if (programs.outcome === 'missing') {
    if (unit === 'auto') return null;
    throw new CommandError(
      exitCode.failed,
      `There can be no virtual machines here: ${programs.why}`,
      programs.solve,
    );
  }
  return {
    size: defaultUnitSize(unitMemory, unitStorage),
    accelerator,
    image: guestImage === undefined ? null : resolve(guestImage),
    sharing: share,
    subnet: null,
    poolMaximum: pool ?? defaultPoolMaximum,
  };
}

/** What comes of machines that are to sleep by themselves. @param virtual whether there are any */
export function sleepOf(afterSeconds: number, virtual: boolean): string {
  if (!virtual)
    return 'warning: --hibernate-after is for virtual machines, and instances run on this machine itself: nothing will go to disk.';
  if (process.getuid?.() !== 0)
    return 'warning: Without root, connections into a virtual machine end with its process: --hibernate-after puts none on disk.';
  return `Virtual machines in which nothing happens for ${afterSeconds} s go to disk, and wake when somebody comes.`;
}
