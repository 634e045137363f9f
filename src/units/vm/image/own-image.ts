// An image of the operator's own in place of the one that is built: a directory with `kernel`, `initrd`, `root`, and
// perhaps `image.json`. Owns reading and checking it; what is in the files is the operator's matter
// (docs/guides/virtual-machines.md).
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { BellowsError, messageOf } from '../../../base/errors.ts';
import { defaultCommandLine, defaultOverheadBytes } from './defaults.ts';
import { sha256OfFile } from './packages.ts';
import type { GuestImage } from './port.ts';

const settings = z.strictObject({
  /** In place of the built image's. */
  commandLine: z.string().optional(),
  overheadBytes: z.number().int().positive().optional(),
});

const guide = 'See docs/guides/virtual-machines.md for what an image of your own holds.';

/** @throws BellowsError BadRequest when a file is missing or `image.json` is wrong */
export async function ownImage(directory: string): Promise<GuestImage> {
  const file = (name: string): string => {
    const path = join(directory, name);
    if (statSync(path, { throwIfNoEntry: false })?.isFile()) return path;
    throw new BellowsError('BadRequest', `The image in ${directory} has no file ${name}.`, guide);
  };
  const paths = { kernel: file('kernel'), initrd: file('initrd'), root: file('root') };
  const { commandLine = defaultCommandLine, overheadBytes = defaultOverheadBytes } = readSettings(directory);
  const hash = createHash('sha256').update(`${commandLine}\n${overheadBytes}\n`);
  for (const path of Object.values(paths)) hash.update(await sha256OfFile(path));
  return { ...paths, commandLine, overheadBytes, hash: hash.digest('hex').slice(0, 32) };
}

function readSettings(directory: string): z.infer<typeof settings> {
  const path = join(directory, 'image.json');
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return {};
  try {
    return settings.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error).replaceAll('\n', ' ') : messageOf(error);
    throw new BellowsError('BadRequest', `${path} is wrong: ${why}`, guide);
  }
}
