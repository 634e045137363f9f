// SQLite's write-ahead log as a file on a disk: as long as it gets, from the beginning. Owns its length, not its content.
//
// A sync of a file that has grown also waits for the file system's own journal: 0.2 ms at best, 1 in 10 more than 2 ms and 1
// in 100 up to 50 beside other writers of the same disk. One that overwrites took 0.1 ms, 1 in 100 more than 1.
import { closeSync, fdatasync, fstatSync, openSync, write } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { mib } from '../../base/quantity.ts';
import { syncDirectory } from '../../sys/atomic-file.ts';

/** SQLite moves the log into the database when it has this many pages (its own default), and begins it anew. */
export const checkpointPages = 1_000;
/** Those pages with their 24 bytes each, and what the last transaction before a checkpoint adds. */
const logBytes = (checkpointPages * 4096 * 5) / 4;

const syncData = promisify(fdatasync);
const writeBytes = promisify(write);

export class LogFile {
  readonly #descriptor: number;

  private constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /**
   * Opens the log of a database that is open, and fills it up. Zeros are no frames to SQLite, as the rest of an earlier log
   * behind the present one's end is none; the file stays this one until the database is closed.
   */
  static async open(path: string): Promise<LogFile> {
    const descriptor = openSync(path, 'r+');
    try {
      const zeros = Buffer.alloc(mib);
      for (let at = fstatSync(descriptor).size; at < logBytes; at += zeros.length)
        await writeBytes(descriptor, zeros, 0, Math.min(zeros.length, logBytes - at), at);
      await syncData(descriptor);
      // The name must be on the disk too: only then is it found after a loss of power.
      await syncDirectory(dirname(path));
    } catch (thrown) {
      closeSync(descriptor);
      throw thrown;
    }
    return new LogFile(descriptor);
  }

  /** Brings what SQLite has written by now to the disk, without holding up this thread. */
  sync(): Promise<void> {
    return syncData(this.#descriptor);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}
