// Moves a unit to a second machine: another process in a group, a directory and at a tap of its own, on the unit's other
// side. Owns the order of steps, so that at every moment exactly one of the two may run. Not when it is worth it.
//
//   first   runs ────────────────────▶ stands still ─────────────────────▶ ended
//   second         started, waits ───▶ given memory and devices ──▶ runs
//                       └── anything fails: ended, and the first goes on ──┘
//
// The unit keeps its name, addresses, disk and all that runs in it. What is sent to it while neither runs waits at the second's
// tap. By the record, which is replaced in one step, an owner that comes later knows which of the two is the unit.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { BellowsError, knownSystemError } from '../../base/errors.ts';
import { stateOfClone } from './clone-state.ts';
import { clearSide, isOccupied, otherSide, stateFdOf } from './construct.ts';
import type { UnitCore } from './core.ts';
import { keepClock } from './guest-clock.ts';
import type { VmHost } from './host.ts';
import { insidePaths } from './machine/sandbox.ts';
import { receiveState } from './migration.ts';
import { copyOwnMemory } from './own-memory.ts';
import type { UnitRecord } from './record.ts';
import type { FindTemplate } from './snapshot.ts';
import { startCore } from './start-core.ts';
import type { TemplateInUse } from './template/build.ts';
import { templateFileName } from './template/memory.ts';

/** As after a clone's start: emulated, none of its code is translated yet. */
const answerTimeoutMs = 60_000;
/** Where the unit's state would be if it rested. */
const stateFileName = 'state';

export interface Moved {
  readonly core: UnitCore;
  /** How long nothing of it ran. */
  readonly pauseMs: number;
  readonly copiedBytes: number;
}

/**
 * Returns when the second runs: the first is to be ended then, see {@link leaveFirst}.
 * @throws BellowsError NotSupportedHere, NoRoom, StartFailed, Unavailable: the first goes on then
 */
export async function moveToOtherSide(
  host: VmHost,
  core: UnitCore,
  templateOf: FindTemplate,
): Promise<Moved> {
  const { record } = core;
  const { templateKey, network } = record;
  // Reading another's memory takes rights that only root has for sure.
  if (templateKey === null || network !== 'tap' || host.confinement(record.slot).kind !== 'separate user')
    throw new BellowsError(
      'NotSupportedHere',
      `The unit ${record.id} can not be moved: only a clone with an address of its own can.`,
      'Run Bellows as root: machines are such clones then.',
    );
  const template = await templateOf(templateKey);
  const arriving = otherSide(record);
  await clearSide(host, arriving);
  try {
    return await arrive(host, core, arriving, template);
  } catch (thrown) {
    await clearSide(host, arriving);
    throw knownSystemError(thrown) ?? thrown;
  }
}

/** The unit is the second machine, whatever comes of this: what goes wrong is told, and shows in how that one answers. */
export async function leaveFirst(host: VmHost, first: UnitCore, second: UnitCore): Promise<void> {
  try {
    await first.machine.end();
    await clearSide(host, first.record);
    await second.answered(answerTimeoutMs);
    await keepClock(second.link, { timeoutMs: answerTimeoutMs });
    await second.balloon.look();
  } catch (thrown) {
    host.options.onDefect(thrown, `unit ${first.record.id} has moved, and not all went well`);
  }
}

/** Of a move that its owner did not live to end: what is not the unit goes. */
export async function clearUnfinishedMove(host: VmHost, record: UnitRecord): Promise<void> {
  const other = otherSide(record);
  if (!isOccupied(host, other)) return;
  await clearSide(host, other);
  // It may have been led away already.
  if (record.network === 'tap' && !record.resting) await host.network?.connect(record, record.mac);
}

async function arrive(
  host: VmHost,
  { machine, record }: UnitCore,
  arriving: UnitRecord,
  { stored, memoryFd }: TemplateInUse,
): Promise<Moved> {
  const { network, options, records } = host;
  const directory = host.snapshotDirectory(record.id);
  const stateFile = join(directory, stateFileName);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  let next: UnitCore | undefined;
  let stoppedAtMs: number | undefined;
  let isSecond = false;
  try {
    // It has the file while that is empty still.
    writeFileSync(stateFile, '', { mode: 0o600 });
    next = await startCore(host, arriving, { kind: 'arrival', stateFile, memoryFd });
    await options.cgroup.setLimits(arriving.group, { cpuMillicores: record.cpuMillicores });
    await network?.shape(arriving, record.bytesPerSecond);
    await network?.connect(arriving, record.mac);
    stoppedAtMs = performance.now();
    await machine.execute('stop', {});
    const places = { runDirectory: host.runDirectory(record), seen: insidePaths.run, uid: record.uid };
    writeFileSync(stateFile, await stateOfClone(machine, stored, places, 'given up'));
    // First the memory: devices find their queues in it.
    const name = templateFileName(stored.key);
    const copiedBytes = await copyOwnMemory(machine.pid, next.machine.pid, name);
    await receiveState(next.machine, 'devices', stateFdOf('clone'));
    // From here on the second is the unit, whoever asks.
    next.update({});
    isSecond = true;
    await next.machine.execute('cont', {});
    return { core: next, pauseMs: performance.now() - stoppedAtMs, copiedBytes };
  } catch (thrown) {
    if (isSecond) records.write(record);
    // Before the first may run: the disk is one's at a time.
    next?.link.close();
    await next?.machine.end();
    if (stoppedAtMs !== undefined) await machine.execute('cont', {});
    await network?.connect(record, record.mac);
    throw thrown;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
