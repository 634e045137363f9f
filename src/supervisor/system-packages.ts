// Finds bubblewrap, which instances are sandboxed with, and installs it where that is possible: as root, with apt.
// Elsewhere it says what is missing and what that means; Bellows starts all the same.
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

export type SandboxTool =
  | { readonly outcome: 'present' | 'installed' }
  | { readonly outcome: 'missing'; readonly why: string; readonly solve: string };

export function onPath(command: string, path: string = process.env['PATH'] ?? ''): boolean {
  return path.split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, command), constants.X_OK);
      return directory !== '';
    } catch {
      return false;
    }
  });
}

/** @param say tells the person who waits */
export async function ensureBubblewrap(say: (text: string) => void): Promise<SandboxTool> {
  if (onPath('bwrap')) return { outcome: 'present' };
  const solve = 'Install it (Debian and Ubuntu: apt-get install bubblewrap) and start Bellows again.';
  if (process.getuid?.() !== 0)
    return { outcome: 'missing', why: 'bubblewrap is not installed, and only root may install it.', solve };
  if (!onPath('apt-get'))
    return { outcome: 'missing', why: 'bubblewrap is not installed, and there is no apt-get here.', solve };
  say('Installing bubblewrap, which instances are sandboxed with (apt-get)…');
  // Lists may be missing or old; when they can not be had, the install below says so.
  await runApt('update', '-qq');
  const problem = await runApt('install', '-y', '-qq', '--no-install-recommends', 'bubblewrap');
  if (onPath('bwrap')) return { outcome: 'installed' };
  return { outcome: 'missing', why: `bubblewrap could not be installed: ${problem}`, solve };
}

/** Returns the last line that it complained with, or its exit status. */
async function runApt(...args: string[]): Promise<string> {
  const child = spawn('apt-get', args, {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-2_000)));
  const status = await new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code) => resolve(`apt-get ended with status ${code}.`));
  });
  return complaint.trim().split('\n').at(-1) || status;
}
