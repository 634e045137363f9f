// Runs the programs that an image is made with. Owns turning their failures into errors that say what to do.
import { spawn } from 'node:child_process';
import { BellowsError } from '../../../base/errors.ts';

/** The package that a program comes in, where that is not its name. */
const packageOf: Readonly<Record<string, string>> = {
  'mkfs.erofs': 'erofs-utils',
  'apt-get': 'apt',
  'apt-cache': 'apt',
  'dpkg-deb': 'dpkg',
  xz: 'xz-utils',
};
/** What a program says of a failure is at its end. */
const keptComplaintBytes = 2_000;

export interface ToolOptions {
  readonly directory?: string;
  readonly input?: Uint8Array;
}

/** Returns what it printed. @throws BellowsError NotSupportedHere when the program is missing, NoRoom, Internal */
export async function output(
  program: string,
  args: readonly string[],
  options: ToolOptions = {},
): Promise<Buffer> {
  const child = spawn(program, args, {
    cwd: options.directory,
    // Its messages are read by a program below.
    env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const chunks: Buffer[] = [];
  let complaint = '';
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(-keptComplaintBytes);
  });
  // It may end without reading all.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input);
  const status = await new Promise<number | string>((resolve, reject) => {
    child.once('error', (error) => reject(missing(program, error)));
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown'));
  });
  if (status !== 0) throw failed(program, status, complaint);
  return Buffer.concat(chunks);
}

function missing(program: string, error: Error): Error {
  if (!('code' in error) || error.code !== 'ENOENT') return error;
  const from = packageOf[program] ?? program;
  return new BellowsError(
    'NotSupportedHere',
    `The program ${program}, which the image of virtual machines is made with, is missing.`,
    `Install it (Debian and Ubuntu: apt-get install ${from}), or give an image of your own (docs/guides/virtual-machines.md).`,
    { cause: error },
  );
}

function failed(program: string, status: number | string, complaint: string): BellowsError {
  const said = complaint.trim().split('\n').at(-1) ?? '';
  if (/No space left on device|Disk quota exceeded/.test(complaint)) {
    return new BellowsError(
      'NoRoom',
      `There is no room to make the image of virtual machines: ${said}`,
      'Free about 1 GiB where the cache is, or set XDG_CACHE_HOME to where there is room.',
    );
  }
  return new BellowsError(
    'Internal',
    `${program}, which the image of virtual machines is made with, ended with ${status}: ${said}`,
    'Look at the message above; with an image of your own it is not needed (docs/guides/virtual-machines.md).',
  );
}
