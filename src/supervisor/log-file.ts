// The one log file: every process appends its JSON lines to it, the supervisor reads along and keeps it small.
// The file itself, not a pipe, is what the children write to: a supervisor's death must not stop or block them.
import {
  closeSync,
  copyFileSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { isMissing } from '../base/errors.ts';
import { mib } from '../base/quantity.ts';
import { StringDecoder } from 'node:string_decoder';

/** Some 50,000 lines: days of a quiet machine. With the two old ones kept, 30 MiB at most. */
const maxFileBytes = 10 * mib;
const oldFiles = 2;
/** A person watching sees no difference to "at once". */
const pollMs = 200;
const chunkBytes = 64 * 1024;
/** Longer lines are cut in the terminal's copy; the file has them whole. */
const maxLineLength = 64 * 1024;

export class LogFile {
  readonly path: string;
  readonly fd: number;
  readonly #onLine: (line: string) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #decoder = new StringDecoder('utf8');
  readonly #maxFileBytes: number;
  #offset: number;
  #partial = '';

  /** Appends to DIRECTORY/bellows.log; `onLine` is given each line that is written from now on, by anybody. */
  constructor(
    directory: string,
    onLine: (line: string) => void,
    limits: { readonly maxFileBytes?: number } = {},
  ) {
    this.path = join(directory, 'bellows.log');
    this.fd = openSync(this.path, 'a+', 0o600);
    this.#onLine = onLine;
    this.#maxFileBytes = limits.maxFileBytes ?? maxFileBytes;
    this.#offset = fstatSync(this.fd).size;
    this.#timer = setInterval(() => this.#look(), pollMs);
  }

  /** A full disk must not end what serves: the line is handed out then, and missing in the file. */
  write(line: string): void {
    try {
      writeSync(this.fd, `${line}\n`);
    } catch {
      this.#onLine(line);
    }
  }

  /** Hands out what was written and not seen yet. */
  flush(): void {
    const buffer = Buffer.allocUnsafe(chunkBytes);
    for (;;) {
      const read = readSync(this.fd, buffer, 0, buffer.length, this.#offset);
      if (read === 0) return;
      this.#offset += read;
      const lines = (this.#partial + this.#decoder.write(buffer.subarray(0, read))).split('\n');
      this.#partial = (lines.pop() ?? '').slice(0, maxLineLength);
      for (const line of lines) this.#onLine(line);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.flush();
    closeSync(this.fd);
  }

  #look(): void {
    this.flush();
    if (this.#offset > this.#maxFileBytes) this.#rotate();
  }

  /**
   * Copies and empties, since several processes hold the file open for appending. A line written in the microseconds
   * between the two is lost from the file; that is the price of never depending on them to open it again.
   */
  #rotate(): void {
    rmSync(`${this.path}.${oldFiles}`, { force: true });
    for (let number = oldFiles - 1; number >= 1; number -= 1)
      moveIfThere(`${this.path}.${number}`, `${this.path}.${number + 1}`);
    try {
      copyFileSync(this.path, `${this.path}.1`);
    } catch {
      // No room: what was said lately is worth less than the room that it takes.
      rmSync(`${this.path}.1`, { force: true });
    }
    this.flush();
    ftruncateSync(this.fd);
    this.#offset = 0;
  }
}

function moveIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (thrown) {
    if (!isMissing(thrown)) throw thrown;
  }
}
