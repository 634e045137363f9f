// Finds programs that do not come with Bellows, bubblewrap above all, and installs them where that is possible: as root,
// with apt. Elsewhere it says what is missing; what that means is the caller's to say.
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Whether programs are there now. */
export type SystemPrograms =
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
export async function ensureBubblewrap(say: (text: string) => void): Promise<SystemPrograms> {
  return ensurePrograms([bubblewrap], 'instances are sandboxed with', say);
}

/** What makes certificates for localhost. @param say tells the person who waits */
export async function ensureOpenssl(say: (text: string) => void): Promise<SystemPrograms> {
  return ensurePrograms([openssl], 'certificates for localhost are made with', say);
}

/** What virtual machines are made and run with. @param say tells the person who waits */
export async function ensureVirtualMachines(say: (text: string) => void): Promise<SystemPrograms> {
  return ensurePrograms(virtualMachines, 'virtual machines are made and run with', say);
}

/** A program, and the Debian package that it comes in. */
interface SystemProgram {
  readonly command: string;
  readonly package: string;
}

const bubblewrap: SystemProgram = { command: 'bwrap', package: 'bubblewrap' };
const openssl: SystemProgram = { command: 'openssl', package: 'openssl' };
const virtualMachines: readonly SystemProgram[] = [
  { command: 'qemu-system-x86_64', package: 'qemu-system-x86' },
  { command: 'mkfs.erofs', package: 'erofs-utils' },
  { command: 'mkfs.ext4', package: 'e2fsprogs' },
  { command: 'xz', package: 'xz-utils' },
  { command: 'ip', package: 'iproute2' },
  bubblewrap,
];

async function ensurePrograms(
  programs: readonly SystemProgram[],
  what: string,
  say: (text: string) => void,
): Promise<SystemPrograms> {
  const missing = programs.filter(({ command }) => !onPath(command)).map((program) => program.package);
  const names = missing.join(', ');
  const are = missing.length === 1 ? 'is' : 'are';
  if (missing.length === 0) return { outcome: 'present' };
  const solve = `Install it (Debian and Ubuntu: apt-get install ${missing.join(' ')}) and start Bellows again.`;
  if (process.getuid?.() !== 0)
    return { outcome: 'missing', why: `${names} ${are} not installed, and only root may install it.`, solve };
  if (!onPath('apt-get'))
    return { outcome: 'missing', why: `${names} ${are} not installed, and there is no apt-get here.`, solve };
  say(`Installing ${names}, which ${what} (apt-get)…`);
  // Lists may be missing or old; when they can not be had, the install below says so.
  await runApt('update', '-qq');
  const problem = await runApt('install', '-y', '-qq', '--no-install-recommends', ...missing);
  if (programs.every(({ command }) => onPath(command))) return { outcome: 'installed' };
  return { outcome: 'missing', why: `${names} could not be installed: ${problem}`, solve };
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
