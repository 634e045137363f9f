// Runs one of the image's small programs to its end. Owns the time it may take and what is said when it fails.
import { execFile } from 'node:child_process';
import { BellowsError } from '../../base/errors.ts';

/** They do one system call or two; an emulated guest under load takes a while to start a program. */
const timeoutMs = 20_000;

/** What it wrote. @throws BellowsError Internal with the program's own words */
export function runProgram(argv: readonly [string, ...string[]]): Promise<string> {
  const [program, ...args] = argv;
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout: timeoutMs }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const words = stderr.trim() === '' ? error.message : stderr.trim();
      reject(new BellowsError('Internal', `${argv.join(' ')} failed: ${words}.`));
    });
  });
}
