// Runs one of the system's small programs (ip, tc, losetup, mkfs.ext4) to its end. Owns its deadline and its failure's words.
import { spawn } from 'node:child_process';
import { BellowsError } from '../../base/errors.ts';

/** They ask the kernel for something it does in milliseconds; a machine under load takes a while to start them. */
const timeoutMs = 20_000;
const keptBytes = 64 * 1024;

/** What it printed. @throws BellowsError NotSupportedHere when it is missing, NoRoom when the disk is full, Internal */
export function runTool(
  program: string,
  args: readonly string[],
  options: { readonly input?: string } = {},
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const child = spawn(program, args, {
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
  });
  let [output, complaint] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    complaint = (complaint + chunk).slice(-keptBytes);
  });
  child.once('error', (error) => {
    const message = `The program ${program} can not be run: ${error.message}.`;
    reject(new BellowsError('NotSupportedHere', message, `Install what has ${program}.`, { cause: error }));
  });
  // It may end without reading all.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  child.once('close', (code) => {
    if (code === 0) return resolve(output);
    const words = complaint.trim() || `it ended with ${code ?? 'a signal'}`;
    const full = /No space left on device/.test(words);
    reject(new BellowsError(full ? 'NoRoom' : 'Internal', `${program} ${args.join(' ')} failed: ${words}.`));
  });
  return promise;
}
