// Makes a template: boots a guest until its agent answers, has it give back what it does not need, and keeps what it is
// then. Owns the steps. Where templates are kept is store.ts; how clones begin is ../provision.ts.
import { createHash } from 'node:crypto';
import { closeSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { UnitCore } from '../core.ts';
import { keepClock } from '../guest-clock.ts';
import { madeWith, type VmHost } from '../host.ts';
import { insidePaths } from '../machine/sandbox.ts';
import { saveState } from '../migration.ts';
import { pack } from '../packed-file.ts';
import type { UnitRecord } from '../record.ts';
import { diskBytesFor } from '../scratch/scratch.ts';
import { startCore } from '../start-core.ts';
import { newTemplateMemory, sealTemplateMemory } from './memory.ts';
import { templateFileNames, type StoredTemplate } from './store.ts';

/** Emulated, on a machine that does much else; 8 s alone. */
export const bootTimeoutMs = 180_000;
/** The guest's agent sees that nobody is at the other end any more, and rests. */
const restMs = 300;
/** Of the first call: V8 keeps what it learnt of a function's arguments. */
const rehearsals = 3;

export interface TemplateInUse {
  readonly stored: StoredTemplate;
  /** Its memory, sealed; whoever has the template closes it. */
  readonly memoryFd: number;
}

/**
 * @param begun told of the core as soon as there is one, and of the record: to be taken apart by the caller in any case.
 * @throws BellowsError NoRoom, StartFailed, Unavailable
 */
export async function buildTemplate(
  host: VmHost,
  key: string,
  record: UnitRecord,
  begun: (core: UnitCore) => void,
): Promise<TemplateInUse> {
  const { directory, finish } = host.templates.begin(key);
  const stateFile = join(directory, templateFileNames.state);
  const memoryFd = newTemplateMemory(key, record.ramBytes);
  try {
    const core = await startCore(host, record, { kind: 'template', memoryFd });
    const { machine } = core;
    begun(core);
    await core.answered(bootTimeoutMs);
    await giveBack(core);
    await rehearse(core);
    core.link.close();
    await sleep(restMs);
    await machine.execute('stop', {});
    const places = { runDirectory: host.runDirectory(record), seen: insidePaths.run, uid: record.uid };
    await saveState(machine, 'devices', places, stateFile);
    await machine.end();
    sealTemplateMemory(memoryFd);
    const stored = await finish({
      version: 1,
      madeWith: madeWith(host),
      memory: await pack({ fd: memoryFd }, record.ramBytes, join(directory, templateFileNames.memory)),
      scratch: await packScratch(host, record, join(directory, templateFileNames.scratch)),
      stateSha256: createHash('sha256')
        .update(await readFile(stateFile))
        .digest('hex'),
    });
    return { stored, memoryFd };
  } catch (thrown) {
    closeSync(memoryFd);
    host.templates.remove(`${key}.new`);
    throw thrown;
  }
}

/** Every page that is free in the template is free in its clones, and is not kept: neither here nor on disk. */
async function giveBack(core: UnitCore): Promise<void> {
  const { ramBytes } = core.record;
  await core.balloon.claim(async () => {
    const { claimableBytes } = await core.link.call(
      'makeClaimable',
      { bytes: ramBytes },
      { timeoutMs: 60_000 },
    );
    return claimableBytes;
  });
  await core.balloon.release(ramBytes);
}

/**
 * What every clone does first has been done before, so that none of them compiles it: the last of all, for V8 drops code
 * that is not used, and a collection comes with giving back.
 */
async function rehearse({ link, record }: UnitCore): Promise<void> {
  const options = { timeoutMs: 60_000 };
  await link.call('rehearse', {}, options);
  // A claim trims first: each clone would walk through all of the disk at its own first one.
  for (const usableBytes of [0, record.size.storage]) await link.call('setStorage', { usableBytes }, options);
  await link.call('identify', {}, options);
  await keepClock(link, options);
  for (let times = 0; times < rehearsals; times += 1) await link.call('hello', {}, options);
}

async function packScratch(
  host: VmHost,
  { id, size }: UnitRecord,
  path: string,
): Promise<StoredTemplate['scratch']> {
  await using disk = await open(host.scratch.fileOf(id), 'r');
  return await pack(disk, diskBytesFor(size.storage), path);
}
