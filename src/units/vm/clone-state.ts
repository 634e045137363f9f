// The state of a clone that stands still, as another clone of its template takes it: its devices' by QEMU, behind the beginning
// of the template's. Owns asking QEMU for it and reading what it wrote. Memory is own-memory.ts's.
import { constants, rmSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BellowsError } from '../../base/errors.ts';
import { unitState } from './device-state.ts';
import type { Machine } from './machine/machine.ts';
import type { TemplateInUse } from './template/build.ts';

/** Half a megabyte was seen. A QEMU that was taken over may write what it likes. */
const mostDeviceBytes = 64 * 1024 * 1024;
/** In the machine's run directory. */
const deviceFileName = 'd';

/** `seen`: the run directory as QEMU sees it; `uid`: QEMU's user. */
export interface MachinePlaces {
  readonly runDirectory: string;
  readonly seen: string;
  readonly uid: number | null;
}

/** @param disks `given up`: another may use them afterwards, until this machine runs again. */
export async function stateOfClone(
  machine: Machine,
  template: TemplateInUse['stored'],
  { runDirectory, seen, uid }: MachinePlaces,
  disks: 'kept' | 'given up',
): Promise<Buffer> {
  const path = join(runDirectory, deviceFileName);
  const filename = `${seen}/${deviceFileName}`;
  await machine.execute('xen-save-devices-state', { filename, live: disks === 'given up' });
  const devices = await readForeign(path, uid);
  rmSync(path);
  return unitState(await readFile(template.stateFile), devices);
}

/** QEMU's own file in its own directory: what it put there instead is not followed, and not read for ever. */
async function readForeign(path: string, uid: number | null): Promise<Buffer> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  await using file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  const found = await file.stat();
  if (!found.isFile() || found.uid !== uid || found.size > mostDeviceBytes)
    throw new BellowsError('StartFailed', 'QEMU did not write the state of its devices.');
  return await file.readFile();
}
