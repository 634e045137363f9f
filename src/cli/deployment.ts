// Deploys a directory: what it is, packed, sent. Used by `deploy` and for the examples at the first start.
import { basename, resolve } from 'node:path';
import { stat } from 'node:fs/promises';
import type { z } from 'zod';
import { humanBytes } from '../base/quantity.ts';
import { workload } from './answers.ts';
import type { Client } from './client.ts';
import { usageError } from './failure.ts';
import type { WorkloadRef } from './fields.ts';
import { findManifest } from './manifest.ts';
import { packDirectory } from './pack.ts';

export interface Deployed {
  readonly workload: z.infer<typeof workload>;
  /** Where it is reached. */
  readonly url: string;
}

/** @param say tells a person what is being done @throws CommandError */
export async function deployDirectory(
  client: Client,
  directory: string,
  { tenant, name }: WorkloadRef,
  say: (text: string) => void,
): Promise<Deployed> {
  const stats = await stat(directory).catch(() => undefined);
  if (stats?.isDirectory() !== true)
    throw usageError(
      `There is no directory ${directory}.`,
      'Give the directory that holds the code and bellows.json: bellows deploy DIR',
    );
  const found = await findManifest(directory);
  if (found.is === 'inferred')
    say(
      `No bellows.json: deploying ${found.manifest['kind'] === 'app' ? 'an app' : 'a function'}, since ${found.because}.`,
    );
  const packed = await packDirectory(
    directory,
    found.is === 'inferred' ? { name: 'bellows.json', content: JSON.stringify(found.manifest) } : undefined,
  );
  for (const path of packed.skipped) say(`Left out: ${path} (leads out of the directory, or is no file).`);
  say(
    `Sending ${packed.files} files, ${humanBytes(packed.unpackedBytes)} (${humanBytes(packed.archive.length)} packed)…`,
  );
  const answer = await client.call(
    {
      method: 'PUT',
      path: `/v1/workloads/${tenant}/${name}`,
      bytes: { body: packed.archive, mediaType: 'application/gzip' },
    },
    workload,
  );
  return { workload: answer, url: `${client.url}${answer.path}` };
}

/** The directory's own name, which must be fit to be a workload's. */
export function nameOf(directory: string): string {
  return basename(resolve(directory));
}
