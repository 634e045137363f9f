// Puts a machine together (disk, tap, group, process) and takes it apart again, also one that a dead owner left half made.
// Owns the order. Each part is its own file's; what is said to the guest afterwards is provision.ts's.
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { BellowsError, messageOf } from '../../base/errors.ts';
import { identify, isAlive, sendSignal } from '../../sys/process.ts';
import { openTap } from '../../sys/tap-device.ts';
import { cpusFor, type VmGround, type VmHost } from './host.ts';
import { machineArguments, type MachineMemory } from './machine/arguments.ts';
import { kernelHead } from './machine/kernel-head.ts';
import { firstPassedFd, launch } from './machine/launch.ts';
import { Machine, type MachineOptions } from './machine/machine.ts';
import { insidePaths } from './machine/sandbox.ts';
import { macOf, tapName } from './network/names.ts';
import type { UnitRecord } from './record.ts';
import type { Packing } from './packed-file.ts';

/** What a machine begins with. Descriptors are ours, and stay ours. */
export type Beginning =
  | { readonly kind: 'boot' }
  /** Boots in memory that is to be a template's. */
  | { readonly kind: 'template'; readonly memoryFd: number }
  | {
      readonly kind: 'clone';
      readonly memoryFd: number;
      readonly stateFile: string;
      readonly scratch: { readonly packed: string; readonly layout: Packing };
    }
  /** A unit that was put to rest: its disk, tap and group are there. `memoryFd`: of its template; null when it had none. */
  | { readonly kind: 'snapshot'; readonly stateFile: string; readonly memoryFd: number | null }
  /** A unit that comes from its other side: its disk is there, and its record is of that side still. */
  | { readonly kind: 'arrival'; readonly stateFile: string; readonly memoryFd: number };

/** The state that a machine begins with, in QEMU: for commands that name it. */
export const stateFdOf = (memory: MachineMemory['kind']): number =>
  memory === 'clone' ? firstPassedFd + 1 : firstPassedFd;

export type MachineWatch = Pick<MachineOptions, 'onLost' | 'onSerialPort'>;

/** @throws BellowsError NoRoom, StartFailed, NotSupportedHere; what was made so far is there, for `takeApart`. */
export async function putTogether(
  host: VmHost,
  record: UnitRecord,
  beginning: Beginning,
  watch: MachineWatch,
): Promise<{ readonly machine: Machine; readonly record: UnitRecord }> {
  const { id, slot, uid } = record;
  const { image, cgroup, accelerator } = host.options;
  const runDirectory = host.runDirectory(record);
  mkdirSync(runDirectory, { recursive: true, mode: 0o700 });
  if (uid !== null) chownSync(runDirectory, uid, uid);
  cgroup.create(record.group);
  const { kind } = beginning;
  const hasDisk = kind === 'snapshot' || kind === 'arrival';
  const [disk] = await Promise.all([
    hasDisk ? host.scratch.find(id) : host.scratch.make(id, record.size.storage, uid, contentOf(beginning)),
    kind === 'snapshot' ? undefined : host.network?.addTap(record),
  ]);
  const confinement = host.confinement(slot);
  const bare = confinement.kind === 'none';
  const scratch =
    disk.device === null
      ? ({ kind: 'file', path: disk.file } as const)
      : ({ kind: 'device', path: disk.device } as const);
  const incoming = kind === 'clone' || hasDisk;
  const given = { ...image, kernel: incoming ? kernelHead(image.kernel, runDirectory) : image.kernel };
  const { memory, passed, close } = openBeginning(beginning);
  let tap: number | null = null;
  try {
    if (record.network === 'tap') tap = openTap(tapName(host.hash, record));
    const processes = await launch({
      qemu: machineArguments({
        qemu: host.qemu,
        qemuVersion: host.qemuVersion,
        name: machineName(host, record),
        accelerator: accelerator.kind,
        cpus: cpusFor(host, record.size),
        ramBytes: record.ramBytes,
        memory,
        incoming,
        image: bare
          ? given
          : {
              kernel: insidePaths.kernel,
              initrd: insidePaths.initrd,
              root: insidePaths.root,
              commandLine: image.commandLine,
            },
        scratch:
          bare || scratch.kind === 'device' ? scratch : { kind: 'file', path: insidePaths.scratchFile },
        network: tap === null ? { kind: 'user' } : { kind: 'tap', fd: firstPassedFd + passed.length },
        mac: record.mac,
        outMac: macOf(host.hash, slot, 'out'),
        runDirectory: bare ? runDirectory : insidePaths.run,
      }),
      paths: { ...given, runDirectory, scratch, kvm: accelerator.kind === 'kvm' },
      confinement,
      keepHoles: memory.kind === 'clone',
      passed: tap === null ? passed : [...passed, tap],
      logFile: join(runDirectory, 'log'),
      admit: (pids) => cgroup.move(record.group, pids),
    });
    const launched: UnitRecord = { ...record, processes };
    if (kind !== 'arrival') host.records.write(launched);
    const machine = await Machine.attach({ ...machineOptions(host, launched, watch), processes });
    return { machine, record: launched };
  } finally {
    close();
    if (tap !== null) closeSync(tap);
  }
}

/** For a process that runs: how it is spoken to. @throws BellowsError NotFound when it does not run. */
export function attachTo(host: VmHost, record: UnitRecord, watch: MachineWatch): Promise<Machine> {
  const { processes } = record;
  if (processes === null || record.bootId !== host.bootId || !isAlive(processes.qemu))
    throw new BellowsError('NotFound', `The unit ${record.id} is gone.`);
  return Machine.attach({ ...machineOptions(host, record, watch), processes });
}

function machineOptions(
  host: VmHost,
  record: UnitRecord,
  watch: MachineWatch,
): Omit<MachineOptions, 'processes'> {
  const runDirectory = host.runDirectory(record);
  return { ...watch, name: `unit ${record.id}`, runDirectory, logFile: join(runDirectory, 'log') };
}

function contentOf(beginning: Beginning): Extract<Beginning, { kind: 'clone' }>['scratch'] | undefined {
  return beginning.kind === 'clone' ? beginning.scratch : undefined;
}

function openBeginning(beginning: Beginning): {
  readonly memory: MachineMemory;
  readonly passed: readonly number[];
  readonly close: () => void;
} {
  switch (beginning.kind) {
    case 'boot':
      return { memory: { kind: 'private' }, passed: [], close: () => undefined };
    case 'template':
      return {
        memory: { kind: 'template', fd: firstPassedFd },
        passed: [beginning.memoryFd],
        close: () => undefined,
      };
    case 'clone':
    case 'arrival':
    case 'snapshot': {
      // Each clone reads it from its beginning.
      const stateFd = openSync(beginning.stateFile, 'r');
      const close = (): void => closeSync(stateFd);
      const { memoryFd } = beginning;
      if (memoryFd === null) return { memory: { kind: 'private' }, passed: [stateFd], close };
      return { memory: { kind: 'clone', fd: firstPassedFd }, passed: [memoryFd, stateFd], close };
    }
  }
}

/** Ends what runs and removes everything of the unit, its record last. What can not be removed is told, and the rest goes on. */
export async function takeApart(host: VmGround, record: UnitRecord, machine: Machine | null): Promise<void> {
  const { id } = record;
  const { onDefect } = host.options;
  let whole = true;
  const step = async (what: string, action: () => Promise<unknown> | void): Promise<void> => {
    try {
      await action();
    } catch (thrown) {
      whole = false;
      onDefect(thrown, `${what} of unit ${id}: ${messageOf(thrown)}`);
    }
  };
  if (machine !== null) await step('ending QEMU', () => machine.end());
  // A move may have been under way.
  // Where a move was under way there is something on either side.
  for (const side of [otherSide(record), record])
    if (side === record || isOccupied(host, side))
      for (const [what, clear] of clearing(host, side)) await step(what, clear);
  await Promise.all([
    step('its scratch disk', () => host.scratch.remove(id)),
    step('its address', async () => host.network?.disconnect(record)),
  ]);
  await step('its files', () => rmSync(host.snapshotDirectory(id), { recursive: true, force: true }));
  // What is left is found by the record, the next time.
  if (whole) host.records.remove(id);
}

/** The unit as it would be on its other side: nothing of a machine is in both. */
export function otherSide(record: UnitRecord): UnitRecord {
  const own = record.group.at(-1) ?? '';
  const group = [...record.group.slice(0, -1), own === record.id ? `${own}.b` : record.id];
  return { ...record, side: record.side === 'a' ? 'b' : 'a', group, processes: null };
}

/** Whether there is anything of a machine on that side: its directory is made first and removed last. */
export const isOccupied = (host: VmGround, record: UnitRecord): boolean =>
  existsSync(host.runDirectory(record));

/** Ends and removes what a machine has for itself on that side. What is the unit's, on whichever side it is, stays. */
export async function clearSide(host: VmGround, record: UnitRecord): Promise<void> {
  for (const [, clear] of clearing(host, record)) await clear();
}

const clearing = (
  host: VmGround,
  record: UnitRecord,
): readonly (readonly [what: string, clear: () => Promise<unknown> | void])[] => [
  ['ending what is left', () => endLeftovers(host, record)],
  ['its group', () => host.options.cgroup.remove(record.group)],
  ['its tap', async () => host.network?.removeTap(record)],
  ['its files', () => rmSync(host.runDirectory(record), { recursive: true, force: true })],
];

/** Processes of the unit that nobody holds: of a dead owner, or that were started just when it died. */
export async function endLeftovers(host: VmGround, record: UnitRecord): Promise<void> {
  await host.options.cgroup.kill(record.group);
  const { processes } = record;
  if (processes !== null && record.bootId === host.bootId) sendSignal(processes.qemu, 'SIGKILL');
  const name = `guest=${machineName(host, record)}`;
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || !commandLine(entry).includes(name)) continue;
    const identity = identify(Number(entry));
    // Looked at again: the number may have been another's by then.
    if (identity !== undefined && commandLine(entry).includes(name)) sendSignal(identity, 'SIGKILL');
  }
}

/** No other process has it among its arguments: the data directory's hash is in it. */
function machineName(host: VmGround, { id, side }: UnitRecord): string {
  return `bellows-${host.hash}-${id}${side === 'a' ? '' : `.${side}`}`;
}

function commandLine(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
  } catch {
    return [];
  }
}
