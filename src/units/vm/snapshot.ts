// Puts a unit to rest and wakes it: between the two it is files, its disk, its tap and its group, and no process.
// Owns the order of steps, so that at every moment either the process or whole files are there. Not when it is worth it.
//
//   running ──stop, save, end──▶ resting ──launch, restore, clock──▶ running
//      ▲             └── failed: goes on        └── failed: rests on
//
// A clone is a clone again afterwards: kept are its devices' state and what of its memory is not its template's.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { BellowsError, knownSystemError } from '../../base/errors.ts';
import { endLeftovers, stateFdOf } from './construct.ts';
import type { UnitCore } from './core.ts';
import { stateOfClone, type MachinePlaces } from './clone-state.ts';
import type { VmHost } from './host.ts';
import { keepClock } from './guest-clock.ts';
import { reopenDoor } from './identity.ts';
import { carriedBy } from './measure.ts';
import { insidePaths } from './machine/sandbox.ts';
import { restoreState, saveState } from './migration.ts';
import { ownPieces, restoreOwnMemory, saveOwnMemory } from './own-memory.ts';
import type { UnitRecord } from './record.ts';
import { startCore } from './start-core.ts';
import type { TemplateInUse } from './template/build.ts';
import { templateFileName } from './template/memory.ts';

/** As after a clone's start: emulated, none of its code is translated yet. */
const wakeTimeoutMs = 60_000;

/** Finds the template that a clone was made of. */
export type FindTemplate = (key: string) => Promise<TemplateInUse>;

const cloneManifest = z.object({
  version: z.literal(1),
  /** What is kept is of use with this template's memory alone. */
  templateSha256: z.string(),
  pieces: ownPieces,
});
type CloneManifest = z.infer<typeof cloneManifest>;

/**
 * @param carriedPackets what it is to have carried by then; undefined: whatever
 * @throws BellowsError NoRoom, Unavailable, Conflict when it has carried more; the unit goes on then.
 */
export async function putToRest(
  host: VmHost,
  core: UnitCore,
  templateOf: FindTemplate,
  carriedPackets: number | undefined,
): Promise<void> {
  const { machine, record } = core;
  const files = filesOf(host, record);
  rmSync(files.directory, { recursive: true, force: true });
  mkdirSync(files.directory, { recursive: true, mode: 0o700 });
  const runDirectory = host.runDirectory(record);
  const confinement = host.confinement(record.slot).kind;
  const places: MachinePlaces = {
    runDirectory,
    seen: confinement === 'none' ? runDirectory : insidePaths.run,
    uid: record.uid,
  };
  await machine.execute('stop', {});
  try {
    // From here on nothing comes into it.
    if (carriedPackets !== undefined && carriedBy(host, record) !== carriedPackets)
      throw new BellowsError('Conflict', `The unit ${record.id} was used meanwhile.`);
    // Reading another's memory takes rights that only root has for sure.
    if (record.templateKey === null || confinement !== 'separate user')
      await saveState(machine, 'everything', places, files.state);
    else await saveClone(core, await templateOf(record.templateKey), places, files);
  } catch (thrown) {
    rmSync(files.directory, { recursive: true, force: true });
    await machine.execute('cont', {});
    throw knownSystemError(thrown) ?? thrown;
  }
  core.update({ resting: true });
  await machine.end();
  core.update({ processes: null });
}

/** @throws BellowsError NoRoom, StartFailed, Unavailable; the unit rests on then, and can be tried again. */
export async function wake(host: VmHost, record: UnitRecord, templateOf: FindTemplate): Promise<UnitCore> {
  const files = filesOf(host, record);
  // Of an owner that died while it woke it.
  await endLeftovers(host, record);
  let core: UnitCore | undefined;
  try {
    const kept = readManifest(files.manifest);
    if (kept === undefined || record.templateKey === null) {
      core = await startCore(host, record, { kind: 'snapshot', stateFile: files.state, memoryFd: null });
      await restoreState(core.machine, 'everything', stateFdOf('private'));
    } else {
      const { stored, memoryFd } = await templateOf(record.templateKey);
      if (stored.memory.sha256 !== kept.templateSha256) throw otherTemplate(record);
      core = await startCore(host, record, { kind: 'snapshot', stateFile: files.state, memoryFd });
      const { machine } = core;
      const name = templateFileName(record.templateKey);
      // First the memory: devices find their queues in it.
      await restoreOwnMemory(machine.pid, name, files.memory, kept.pieces);
      await restoreState(machine, 'devices', stateFdOf('clone'));
    }
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
  rmSync(files.directory, { recursive: true });
  return core;
}

interface RestFiles {
  readonly directory: string;
  readonly state: string;
  readonly memory: string;
  readonly manifest: string;
}

function filesOf(host: VmHost, { id }: UnitRecord): RestFiles {
  const directory = host.snapshotDirectory(id);
  const [state, memory, manifest] = ['state', 'memory', 'manifest.json'].map((name) => join(directory, name));
  return { directory, state, memory, manifest } as RestFiles;
}

async function saveClone(
  { machine }: UnitCore,
  { stored }: TemplateInUse,
  places: MachinePlaces,
  files: RestFiles,
): Promise<void> {
  writeFileSync(files.state, await stateOfClone(machine, stored, places, 'kept'), { mode: 0o600 });
  const pieces = await saveOwnMemory(machine.pid, templateFileName(stored.key), files.memory);
  const kept: CloneManifest = { version: 1, templateSha256: stored.memory.sha256, pieces };
  writeFileSync(files.manifest, JSON.stringify(kept), { mode: 0o600 });
}

/** Undefined when all of the memory is in the state. */
function readManifest(path: string): CloneManifest | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  return cloneManifest.parse(JSON.parse(text));
}

function otherTemplate({ id }: UnitRecord): BellowsError {
  return new BellowsError(
    'StartFailed',
    `The template that the unit ${id} was cloned from is gone, and with it a part of its memory.`,
    'End it; a new one is made of the present template.',
  );
}
