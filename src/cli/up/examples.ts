// Deploys the examples at a data directory's first start, so that there is something to look at and to call.
// Owns DATA/examples.json (which of them were deployed once: what a person deletes stays deleted) and DATA/examples.
import { spawn } from 'node:child_process';
import { cp, mkdir, readFile, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { defaultTenantId, parseWorkloadName } from '../../base/ids.ts';
import { messageOf } from '../../base/errors.ts';
import { writeFileAtomic } from '../../sys/atomic-file.ts';
import type { Client } from '../client.ts';
import { deployDirectory } from '../deployment.ts';
import { CommandError } from '../failure.ts';
import { exitCode } from '../exit-code.ts';

/** Those without anything to install first. */
const exampleNames = ['hello', 'chat', 'thumbnails'] as const;
type ExampleName = (typeof exampleNames)[number];
const source = fileURLToPath(new URL('../../../examples/', import.meta.url));
/** Installing takes seconds; without a network npm would try for minutes. */
const installMs = 120_000;

const record = z.object({ deployed: z.array(z.string()) });

/** Where an example's files lie. */
export function exampleDirectory(name: ExampleName): string {
  return join(source, name);
}

/** One that fails does not keep the others from being deployed; it is tried again at the next start. */
export async function deployExamples(
  client: Client,
  dataDirectory: string,
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<void> {
  const recordPath = join(dataDirectory, 'examples.json');
  const deployed = await readRecord(recordPath);
  const missing = exampleNames.filter(
    (name) => !deployed.includes(name) && existsSync(exampleDirectory(name)),
  );
  if (missing.length === 0) return;
  say(`Deploying the examples ${missing.join(', ')}…`);
  const workshop = join(dataDirectory, 'examples');
  try {
    for (const name of missing) {
      if (signal.aborted) return;
      try {
        await deployExample(client, name, join(workshop, name), signal);
        deployed.push(name);
        await writeFileAtomic(recordPath, `${JSON.stringify({ deployed })}\n`, { mode: 0o600 });
      } catch (thrown) {
        if (signal.aborted) return;
        const hint = thrown instanceof CommandError && thrown.hint !== undefined ? ` ${thrown.hint}` : '';
        say(`warning: The example ${name} was not deployed: ${messageOf(thrown)}${hint}`);
      }
    }
  } finally {
    await rm(workshop, { recursive: true, force: true });
  }
}

async function deployExample(
  client: Client,
  name: ExampleName,
  workshop: string,
  signal: AbortSignal,
): Promise<void> {
  await rm(workshop, { recursive: true, force: true });
  await mkdir(workshop, { recursive: true, mode: 0o700 });
  // A copy: the installed package may not be ours to write to.
  await cp(exampleDirectory(name), workshop, { recursive: true });
  if (existsSync(join(workshop, 'package-lock.json'))) await installDependencies(workshop, signal);
  await deployDirectory(
    client,
    workshop,
    { tenant: defaultTenantId, name: parseWorkloadName(name) },
    () => undefined,
  );
}

/** `npm ci`, and where the registry lacks another platform's optional packages, for which npm calls the lock stale, `npm install`. */
async function installDependencies(directory: string, signal: AbortSignal): Promise<void> {
  const problem =
    (await npm(directory, signal, 'ci')) && (await npm(directory, signal, 'install', '--no-save'));
  if (problem === '') return;
  throw new CommandError(
    exitCode.failed,
    `its dependencies could not be installed with npm: ${problem}`,
    'Is the npm registry reachable from here? It is tried again at the next start.',
  );
}

/** Empty when it went well, else why not. */
async function npm(directory: string, signal: AbortSignal, ...command: string[]): Promise<string> {
  // The settings of the npm that runs us (`npm start`) are not for this one.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^npm_(config_(omit|only|production|optional|dry_run)|package_|lifecycle_)/i.test(name),
    ),
  );
  const args = [
    ...command,
    '--omit=dev',
    '--include=optional',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
    '--fetch-retries=1',
    '--no-bin-links',
  ];
  const child = spawn('npm', args, {
    cwd: directory,
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
    signal: AbortSignal.any([signal, AbortSignal.timeout(installMs)]),
  });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-4_000)));
  return new Promise((resolve) => {
    child.once('error', (error) =>
      resolve(error.name === 'AbortError' ? `not done after ${installMs / 1000} s` : error.message),
    );
    child.once('close', (code) =>
      resolve(code === 0 ? '' : (firstError(complaint) ?? `npm ended with status ${code}`)),
    );
  });
}

function firstError(complaint: string): string | undefined {
  const lines = complaint.split('\n').filter((line) => line.startsWith('npm error'));
  // "code ENOTFOUND" tells less than the sentence after it.
  return (lines.find((line) => !/ (code|errno|syscall) /.test(line)) ?? lines[0])?.replace(/^npm error /, '');
}

async function readRecord(path: string): Promise<string[]> {
  try {
    return record.parse(JSON.parse(await readFile(path, 'utf8'))).deployed;
  } catch {
    // None yet, or damaged: deploying again what is there changes nothing.
    return [];
  }
}
