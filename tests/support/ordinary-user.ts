// A user without rights, for suites that run Bellows as one. Owns which user, why there can be none, and what runs as it.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { commandAs, projectRoot } from './bellows.ts';

/** In the range of ordinary users, and nobody's: whatever has it after the stop was left by this Bellows. */
export const ordinaryUser = 60_000 + (process.pid % 4_000);

/** Why Bellows can not be run as that user here; undefined when it can. */
export function missingForOrdinaryUser(): string | undefined {
  if (process.getuid?.() !== 0)
    return 'not root: another user can not be taken, and the other suites ran without root';
  const [program, ...args] = commandAs(ordinaryUser);
  const tried = spawnSync(program, [...args, '--check', join(projectRoot, 'bin', 'bellows.js')]);
  return tried.status === 0 ? undefined : 'this checkout or its Node can not be read by other users';
}

export function processesOfOrdinaryUser(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const isItsOwn = statSync(`/proc/${name}`).uid === ordinaryUser;
        return isItsOwn && readFileSync(`/proc/${name}/cmdline`, 'utf8') !== '';
      } catch {
        return false;
      }
    })
    .map(Number);
}
