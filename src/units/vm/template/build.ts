// Makes a template: boots a guest until its agent answers, has it give back what it does not need, and keeps what it is
// then. Owns the steps. Where templates are kept is store.ts; how clones begin is ../provision.ts.
import { createHash } from 'node:crypto';
import { closeSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { UnitCore } from '../core.ts';
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
    core.link.close();
    await sleep(restMs);
    await machine.execute('stop', {});
    const places = { runDirectory: host.runDirectory(record.id), seen: insidePaths.run, uid: record.uid };
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

async function packScratch(
  host: VmHost,
  { id, size }: UnitRecord,
  path: string,
): Promise<StoredTemplate['scratch']> {
  await using disk = await open(host.scratch.fileOf(id), 'r');
  return await pack(disk, diskBytesFor(size.storage), path);
}
