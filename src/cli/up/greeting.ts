// From the moment that Bellows serves to its greeting: the first virtual machine, the examples, what is not enforced here.
// Owns the order and what is asked; the words are in welcome.ts.
import { existsSync } from 'node:fs';
import { relative } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { messageOf } from '../../base/errors.ts';
import { defaultTenantId } from '../../base/ids.ts';
import { authorityFilesOf } from '../../gateway/tls/local-authority.ts';
import type { Supervisor, SupervisorOptions } from '../../supervisor/supervisor.ts';
import { units, workload } from '../answers.ts';
import { Client } from '../client.ts';
import type { Context } from '../context.ts';
import { dataDirectoryOf, Installation } from '../installation.ts';
import { deployExamples, exampleDirectory } from './examples.ts';
import { welcome } from './welcome.ts';

const unitPollMs = 500;

/** In a checkout npm finds the command; where it is installed it is on the path. */
const program = existsSync(fileURLToPath(new URL('../../../.gitignore', import.meta.url)))
  ? 'npx bellows'
  : 'bellows';

export async function greet(
  { url, layout, logPath }: Supervisor,
  examples: boolean,
  signal: AbortSignal,
  { say, units: virtual, hostToo, tls }: SupervisorOptions,
  { env }: Context,
): Promise<void> {
  const client = new Client(new Installation({ json: false, url, dataDir: layout.root }, {}), signal);
  // Where none is to be kept ready there is none before somebody asks for it, and where both are most run on this machine.
  if ((virtual?.poolMaximum ?? 0) > 0 && hostToo !== true) await untilUnitsAreThere(client, signal, say);
  if (examples) await deployExamples(client, layout.root, signal, say);
  await tellWhatIsNotEnforced(client, say, signal);
  const deployed = await deployedNames(client);
  if (signal.aborted) return;
  const helloFromHere = relative(process.cwd(), exampleDirectory('hello'));
  say(
    welcome({
      url,
      secure:
        tls === undefined
          ? undefined
          : {
              url: `https://localhost:${tls.port}`,
              authority: tls.files === undefined ? authorityFilesOf(layout.root).certificate : undefined,
            },
      dataDirectory: layout.root,
      credentialsPath: layout.credentials,
      logPath,
      program,
      isDefaultData: dataDirectoryOf(undefined, env) === layout.root,
      deployed,
      helloDirectory: helloFromHere.startsWith('..') ? exampleDirectory('hello') : helloFromHere,
    }),
  );
}

/** The first virtual machines take as long as their image: nothing can be started before. */
async function untilUnitsAreThere(
  client: Client,
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<void> {
  say('Waiting for the first virtual machine…');
  while (!signal.aborted) {
    const list = await client.call({ method: 'GET', path: '/v1/units' }, units).catch(() => []);
    if (list.length > 0) return;
    await pause(unitPollMs, undefined, { signal }).catch(() => undefined);
  }
}

/** None when it can not be asked: then the greeting names nothing that needs to be there. */
async function deployedNames(client: Client): Promise<ReadonlySet<string>> {
  const path = `/v1/workloads/${defaultTenantId}`;
  const list = await client.call({ method: 'GET', path }, z.array(workload)).catch(() => []);
  return new Set(list.map(({ name }) => name));
}

async function tellWhatIsNotEnforced(
  client: Client,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  try {
    const list = await client.call({ method: 'GET', path: '/v1/units' }, units);
    const missing = list.flatMap(
      ({ capabilities }) => capabilities?.notEnforced.map(({ what }) => what) ?? [],
    );
    if (missing.length > 0)
      say(
        `warning: Not enforced on this machine: ${missing.join(', ')}. \`bellows doctor\` says why and what to do.`,
      );
  } catch (thrown) {
    if (!signal.aborted) say(`warning: What is enforced here could not be asked: ${messageOf(thrown)}`);
  }
}
