// Puts a unit to rest and wakes it: between the two it is a file, its disk, its tap and its group, and no process.
// Owns the order of steps, so that at every moment either the process or a whole file is there. Not when it is worth it.
//
//   running ──stop, save, end──▶ resting ──launch, restore, clock──▶ running
//      ▲             └── failed: goes on        └── failed: rests on
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { knownSystemError } from '../../base/errors.ts';
import { endLeftovers, stateFdOf } from './construct.ts';
import type { UnitCore } from './core.ts';
import type { VmHost } from './host.ts';
import { keepClock } from './guest-clock.ts';
import { reopenDoor } from './identity.ts';
import { insidePaths } from './machine/sandbox.ts';
import { restoreState, saveState } from './migration.ts';
import type { UnitRecord } from './record.ts';
import { startCore } from './start-core.ts';

/** As after a clone's start: emulated, none of its code is translated yet. */
const wakeTimeoutMs = 60_000;

/** @throws BellowsError NoRoom, Unavailable; the unit goes on then. */
export async function putToRest(host: VmHost, core: UnitCore): Promise<void> {
  const { machine, record } = core;
  const file = host.snapshotFile(record.id);
  const runDirectory = host.runDirectory(record.id);
  const seen = host.confinement(record.slot).kind === 'none' ? runDirectory : insidePaths.run;
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  await machine.execute('stop', {});
  try {
    await saveState(machine, 'everything', { runDirectory, seen, uid: record.uid }, file);
  } catch (thrown) {
    rmSync(file, { force: true });
    await machine.execute('cont', {});
    throw knownSystemError(thrown) ?? thrown;
  }
  core.update({ resting: true });
  await machine.end();
  core.update({ processes: null });
}

/** @throws BellowsError NoRoom, StartFailed, Unavailable; the unit rests on then, and can be tried again. */
export async function wake(host: VmHost, record: UnitRecord): Promise<UnitCore> {
  const stateFile = host.snapshotFile(record.id);
  // Of an owner that died while it woke it.
  await endLeftovers(host, record);
  let core: UnitCore | undefined;
  try {
    core = await startCore(host, record, { kind: 'snapshot', stateFile });
    await restoreState(core.machine, 'everything', stateFdOf('snapshot'));
    await core.answered(wakeTimeoutMs);
    await keepClock(core.link, { timeoutMs: wakeTimeoutMs });
    await reopenDoor(core);
  } catch (thrown) {
    core?.link.close();
    core?.machine.detach();
    await endLeftovers(host, host.records.read(record.id) ?? record);
    host.records.write({ ...record, processes: null });
    throw thrown;
  }
  core.update({ resting: false });
  rmSync(stateFile);
  return core;
}
