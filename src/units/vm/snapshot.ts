// Puts a unit to rest, and what of its waking is files: between the two it is files, its disk, its tap and its group, and no
// process. Owns the order of the first, so that at every moment either the process or whole files are there; that of the second is
// take-up.ts's. Not when it is worth it.
//
//   running ──stop, save, write down, end──▶ resting
//      ▲             └── failed: goes on
//
// A clone is a clone again afterwards: kept are its devices' state and what of its memory is not its template's.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { BellowsError, isMissing, knownSystemError } from '../../base/errors.ts';
import { dropFromCache } from '../../sys/file-cache.ts';
import { endLeftovers, stateFdOf } from './construct.ts';
import type { UnitCore } from './core.ts';
import { stateOfClone, type MachinePlaces } from './clone-state.ts';
import type { VmHost } from './host.ts';
import { keepClock } from './guest-clock.ts';
import { reopenDoor } from './identity.ts';
import { carriedBy } from './measure.ts';
import { insidePaths } from './machine/sandbox.ts';
import { receiveState, saveState } from './migration.ts';
import { ownPieces, restoreOwnMemory, saveOwnMemory } from './own-memory.ts';
import type { UnitRecord } from './record.ts';
import { startCore } from './start-core.ts';
import type { TakeUpSteps } from './take-up.ts';
import type { TemplateInUse } from './template/build.ts';
import { templateFileName } from './template/memory.ts';

/** Emulated, none of its code is translated yet. Twice as long as a clone has: with this one goes all that its instances know. */
const wakeTimeoutMs = 120_000;

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
    // A disk that was not too full for the state may be for this.
    core.update({ resting: true });
  } catch (thrown) {
    rmSync(files.directory, { recursive: true, force: true });
    await machine.execute('cont', {});
    throw knownSystemError(thrown) ?? thrown;
  }
  await machine.end();
  core.update({ processes: null });
  // Not waited for: whoever comes meanwhile wakes it no later for that.
  void letGo(host, [files.state, files.memory, host.scratch.fileOf(record.id)]);
}

/** Its memory is the host's, and not for files that nobody reads before it wakes. */
async function letGo({ options }: VmHost, paths: readonly string[]): Promise<void> {
  for (const path of paths)
    await dropFromCache(path).catch((thrown: unknown) => {
      // All of its memory is in its state, or it woke.
      if (!isMissing(thrown)) options.onDefect(thrown, `the kernel's memory of ${path}`);
    });
}

/** What of taking a unit up is its snapshot. */
export function wakingOf(
  host: VmHost,
  record: UnitRecord,
  templateOf: FindTemplate,
): Pick<TakeUpSteps<UnitCore>, 'clear' | 'restore' | 'undo' | 'mark' | 'run' | 'greet' | 'discard'> {
  const files = filesOf(host, record);
  let begun: UnitCore | undefined;
  const begin = async (memoryFd: number | null): Promise<UnitCore> => {
    begun = await startCore(host, record, { kind: 'snapshot', stateFile: files.state, memoryFd });
    return begun;
  };
  return {
    clear: () => endLeftovers(host, record),
    restore: async () => {
      const kept = readManifest(files.manifest);
      let core: UnitCore;
      if (kept === undefined || record.templateKey === null) {
        core = await begin(null);
        await receiveState(core.machine, 'everything', stateFdOf('private'));
      } else {
        const { stored, memoryFd } = await templateOf(record.templateKey);
        if (stored.memory.sha256 !== kept.templateSha256) throw otherTemplate(record);
        core = await begin(memoryFd);
        // First the memory: devices find their queues in it.
        const name = templateFileName(record.templateKey);
        await restoreOwnMemory(core.machine.pid, name, files.memory, kept.pieces);
        await receiveState(core.machine, 'devices', stateFdOf('clone'));
      }
      await reopenDoor(core);
      return core;
    },
    undo: async () => {
      begun?.link.close();
      begun?.machine.detach();
      await endLeftovers(host, host.records.read(record.id) ?? record);
      host.records.write({ ...record, processes: null });
    },
    mark: (core) => core.update({ resting: false }),
    run: async (core) => {
      await core.machine.execute('cont', {});
    },
    greet: async (core) => {
      await core.answered(wakeTimeoutMs);
      await keepClock(core.link, { timeoutMs: wakeTimeoutMs });
    },
    discard: () => rmSync(files.directory, { recursive: true, force: true }),
  };
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
