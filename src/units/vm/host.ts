// What this machine gives to units: where their files lie, their network, disks, groups and users. Owns finding out what
// there are rights for, once; all that makes or removes a unit's parts is given this.
import { accessSync, constants, mkdirSync, readFileSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { BellowsError } from '../../base/errors.ts';
import type { UnitId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import type { GroupPath } from '../../agent/cgroup/port.ts';
import { layoutOf } from '../../sys/layout.ts';
import { processorsOf } from './accelerator.ts';
import type { Confinement } from './machine/sandbox.ts';
import { directoryHash, uidOfSlot } from './network/names.ts';
import { UnitNetwork } from './network/network.ts';
import type { VmDriverOptions } from './port.ts';
import { UnitRecords, type UnitRecord } from './record.ts';
import { runTool } from './run-tool.ts';
import { ScratchDisks } from './scratch/scratch.ts';
import { processorOf } from './template/processor.ts';
import { TemplateStore, type MadeWith } from './template/store.ts';

/** What is there of units whether or not any can run here now: enough to find all that there is of one, and to remove it. */
export interface VmGround {
  readonly options: Pick<VmDriverOptions, 'dataDirectory' | 'cgroup' | 'onDefect'>;
  readonly hash: string;
  readonly bootId: string;
  /** Null: user networking. */
  readonly network: UnitNetwork | null;
  readonly scratch: ScratchDisks;
  readonly scratchKind: 'device' | 'file';
  readonly records: UnitRecords;
  runDirectory(unit: Pick<UnitRecord, 'id' | 'side'>): string;
  /** Where a unit's state is while it rests. */
  snapshotDirectory(id: UnitId): string;
}

export interface VmHost extends VmGround {
  readonly options: VmDriverOptions;
  readonly qemu: string;
  readonly qemuVersion: string;
  readonly templates: TemplateStore;
  confinement(slot: number): Confinement;
}

/** Unbound units' groups; a tenant's stand below the tenant's own. */
export const poolGroupOf = (id: UnitId): GroupPath => ['pool', id];

/** @throws BellowsError NotSupportedHere when QEMU, or what confines it, is missing. */
export async function findHost(options: VmDriverOptions): Promise<VmHost> {
  const qemu = options.qemu ?? 'qemu-system-x86_64';
  const root = process.getuid?.() === 0;
  const bubblewrap = await runs('bwrap', '--unshare-user', '--ro-bind', '/', '/', 'true');
  if (root && !(await runs('bwrap', '--version')))
    throw new BellowsError(
      'NotSupportedHere',
      'bubblewrap is missing: without it QEMU would run as root.',
      'Install it: apt-get install bubblewrap',
    );
  const kvmGroup = options.accelerator.kind === 'kvm' ? statSync('/dev/kvm').gid : null;
  return {
    ...groundOf(options),
    options,
    qemu,
    qemuVersion: await qemuVersionOf(qemu),
    templates: new TemplateStore(join(options.dataDirectory, 'templates')),
    confinement: (slot) => {
      if (root) return { kind: 'separate user', uid: uidOfSlot(slot), gid: kvmGroup };
      return bubblewrap ? { kind: 'namespaces' } : { kind: 'none' };
    },
  };
}

/** Makes units' directories; needs none of what units run with. */
export function groundOf(
  options: VmGround['options'] & Pick<VmDriverOptions, 'network' | 'subnet'>,
): VmGround {
  const { dataDirectory } = options;
  const { units, unitRuns } = layoutOf(dataDirectory);
  const root = process.getuid?.() === 0;
  const hash = directoryHash(dataDirectory);
  const directories = {
    scratch: join(dataDirectory, 'scratch'),
    run: unitRuns,
    snapshots: join(dataDirectory, 'snapshots'),
  };
  for (const directory of Object.values(directories)) mkdirSync(directory, { recursive: true, mode: 0o700 });
  const taps = root && options.network !== 'user' && writable('/dev/net/tun');
  const loops = root && writable('/dev/loop-control');
  return {
    options,
    hash,
    bootId: bootId(),
    network: taps ? new UnitNetwork(hash, options.subnet) : null,
    scratch: new ScratchDisks(directories.scratch, { loops }),
    scratchKind: loops ? 'device' : 'file',
    records: new UnitRecords(units),
    // No unit's name has a dot.
    runDirectory: ({ id, side }) => join(directories.run, side === 'a' ? id : `${id}.${side}`),
    snapshotDirectory: (id) => join(directories.snapshots, id),
  };
}

/** What a template must have in common with its clones, and does not say in its size. */
export function madeWith({ options, qemuVersion }: VmHost): MadeWith {
  const { image, accelerator } = options;
  const processor = processorOf(accelerator.kind, readFileSync('/proc/cpuinfo', 'latin1'), release());
  return { imageHash: image.hash, accelerator: processor, qemuVersion };
}

/** What a guest of the size sees; how much of them its instances may use is limited inside. */
export function cpusFor({ options, qemuVersion }: VmHost, { cpu }: Resources): number {
  return processorsOf(options.accelerator.kind, qemuVersion, Math.max(1, Math.ceil(cpu / 1000)));
}

export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}

/** @throws BellowsError NotSupportedHere when there is no QEMU. */
export async function qemuVersionOf(qemu: string): Promise<string> {
  try {
    const text = await runTool(qemu, ['--version']);
    return /version ([^\n]*)/.exec(text)?.[1]?.trim() ?? text.trim();
  } catch (thrown) {
    throw new BellowsError(
      'NotSupportedHere',
      `QEMU (${qemu}) can not be run, so there are no virtual machines.`,
      'Install it: apt-get install qemu-system-x86',
      { cause: thrown },
    );
  }
}

async function runs(program: string, ...args: string[]): Promise<boolean> {
  return runTool(program, args).then(
    () => true,
    () => false,
  );
}

function writable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
