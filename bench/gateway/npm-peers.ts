// The npm packages that the gateway is measured beside and that are too large to be installed with Bellows: what ./npm pins, in a
// cache directory of the user's, from the first run on. They are only run, and no part of Bellows. Owns that directory.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const source = fileURLToPath(new URL('npm', import.meta.url));
/** Some 300 MB; a registry that has not sent them by then is none to wait for. */
const installMs = 180_000;

export type NpmPeers = { readonly directory: string } | { readonly missing: string };

/** Complete or not there: another version of ./npm is another directory, and one that could not be installed is tried again. */
export async function installNpmPeers(): Promise<NpmPeers> {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'bellows', 'bench-peers');
  const directory = join(cache, versionOf(source));
  if (existsSync(directory)) return { directory };
  mkdirSync(cache, { recursive: true });
  const made = mkdtempSync(join(cache, 'new-'));
  console.log(`  Installing miniflare and serverless-offline into ${cache} (npm ci), once…`);
  try {
    cpSync(source, made, { recursive: true });
    // serverless-offline asks for the package serverless, whose place osls takes. Nothing of theirs runs while they are installed.
    const args = [
      'ci',
      '--ignore-scripts',
      '--legacy-peer-deps',
      '--no-audit',
      '--no-fund',
      '--loglevel=error',
    ];
    await promisify(execFile)('npm', args, { cwd: made, timeout: installMs, encoding: 'utf8' });
    renameSync(made, directory);
    removeOthers(cache, directory);
    return { directory };
  } catch (thrown) {
    return { missing: reasonOf(thrown) };
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

/** What earlier versions of ./npm pinned: 300 MB each. */
function removeOthers(cache: string, directory: string): void {
  for (const name of readdirSync(cache))
    if (join(cache, name) !== directory && !name.startsWith('new-'))
      rmSync(join(cache, name), { recursive: true, force: true });
}

function versionOf(directory: string): string {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch} `);
  for (const name of readdirSync(directory).toSorted()) hash.update(readFileSync(join(directory, name)));
  return hash.digest('hex').slice(0, 16);
}

/** What npm said first, in one line. */
function reasonOf(thrown: unknown): string {
  const { killed, stderr } = thrown as { readonly killed?: boolean; readonly stderr?: string };
  if (killed === true) return `npm did not end within ${installMs / 1000} s`;
  return stderr?.trim().split('\n')[0] || String(thrown);
}
