// The data directory before anything runs on it: made, private, usable, and ours alone.
// Owns the checks and their messages. What lies below is src/sys/layout.ts's.
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, realpathSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BellowsError } from '../base/errors.ts';
import { mib } from '../base/quantity.ts';
import { tryLockFile, type FileLock } from '../sys/file-lock.ts';
import { layoutOf, type Layout } from '../sys/layout.ts';
import { makeDirectory, unusable } from './make-directory.ts';
import { readProcesses } from './records.ts';

/** sun_path has 108 bytes, one of them for the NUL (unix(7)). */
const maxSocketPathBytes = 107;
/** As long as any: src/base/ids.ts makes them. */
const exampleInstanceId = 'i-xxxxxxxxxxxx';
const longestSocketName = 'http.sock';

/** @throws BellowsError when Unix sockets below it would have paths that are too long */
export function checkPathLength(dataDirectory: string): void {
  const longest = join(layoutOf(dataDirectory).instanceRun(exampleInstanceId), longestSocketName);
  const tooMany = Buffer.byteLength(longest) - maxSocketPathBytes;
  if (tooMany <= 0) return;
  throw new BellowsError(
    'BadRequest',
    `The path of the data directory ${dataDirectory} is ${tooMany} bytes too long: the sockets below it may have ${maxSocketPathBytes} at most.`,
    'Choose a shorter one: bellows up --data /var/lib/bellows',
  );
}

/** With less, the next code, or the next change, may not fit. */
const littleRoomBytes = 32 * mib;

/** @throws BellowsError NoRoom when its disk is nearly full */
export function checkRoom(dataDirectory: string): void {
  if (!existsSync(dataDirectory)) return;
  const { bavail, bsize } = statfsSync(dataDirectory);
  const left = bavail * bsize;
  if (left >= littleRoomBytes) return;
  throw new BellowsError(
    'NoRoom',
    `The disk with ${dataDirectory} has ${Math.floor(left / mib)}MiB left.`,
    'Free some room: what runs goes on, but changes are refused while it is full.',
  );
}

/** Makes the directory with mode 700 and returns its layout. @throws BellowsError with what to do */
export function prepareDataDirectory(path: string): Layout {
  checkPathLength(path);
  try {
    makeDirectory(path);
    // Names, sockets and locks must be the same however the directory was named.
    const real = realpathSync(path);
    checkPathLength(real);
    const { uid } = statSync(real);
    const me = process.getuid?.();
    if (me !== undefined && me !== 0 && uid !== me)
      throw new BellowsError(
        'Forbidden',
        `The data directory ${real} belongs to user ${uid}, and this is user ${me}.`,
        'Run Bellows as that user, or choose another: --data DIR',
      );
    // It holds credentials, and other tenants' code.
    chmodSync(real, 0o700);
    const layout = layoutOf(real);
    for (const directory of [layout.run, layout.logs]) mkdirSync(directory, { recursive: true, mode: 0o700 });
    return layout;
  } catch (thrown) {
    if (thrown instanceof BellowsError) throw thrown;
    throw unusable(path, thrown);
  }
}

const lockPath = ({ root }: Layout): string => join(root, 'supervisor.lock');

/** Whether somebody has deleted it under those that run, or began to: mounts below it are in the way of that. */
export function isDeleted(layout: Layout): boolean {
  return !existsSync(lockPath(layout)) || !existsSync(layout.run);
}

export function wasDeleted({ root }: Layout): string {
  return `The data directory ${root} was deleted while Bellows ran: what was deployed is lost, and what is left there can be deleted, too.`;
}

/** Held while this supervisor lives. @throws BellowsError Conflict when another one runs on the directory */
export function lockDataDirectory(layout: Layout): FileLock {
  const lock = tryLockFile(lockPath(layout));
  if (lock !== undefined) return lock;
  const running = readProcesses(layout);
  const who = running === undefined ? '' : ` (process ${running.supervisor.pid}, port ${running.port})`;
  throw new BellowsError(
    'Conflict',
    `Bellows is already running on ${layout.root}${who}.`,
    'Use it, stop it with Ctrl-C in its terminal, or start another with --data DIR --port N.',
  );
}

/** The one group below which all of ours are: named after the directory, so that two Bellows never meet. */
export function cgroupRootOf(layout: Layout): string {
  return `bellows-${createHash('sha256').update(layout.root).digest('hex').slice(0, 8)}`;
}
