// A function's log: START, END and REPORT lines around each invocation, and user code's own lines between them.
// Owns what is written to descriptor 1, and when. Does not own how console formats (console.ts).
//
// User code's lines are written at once: a crash, a kill or an endless loop loses none of them. The runtime's own
// lines are gathered: START goes out with the first line of the invocation, END and REPORT with the next write, or
// after some milliseconds. So an invocation that logs nothing costs no system call, and a SIGKILL loses at most
// START, END and REPORT lines of the last milliseconds. Of many that print nothing one line tells together
// (quiet-invocations.ts).
import { Buffer } from 'node:buffer';
import { exitProcess, startTimer, stopTimer, writeDescriptor } from './primordials.ts';
import { QuietInvocations, secondMs } from './quiet-invocations.ts';

const { from } = Buffer;
const stdout = 1;
const nothing = from('');
/** How long END and REPORT may wait for company; well below the time after which an idle instance is frozen. */
const gatherMs = 5;
/** A quarter of a pipe's default size: enough to make a write worth while. */
const gatherCharacters = 16 * 1024;
/** What LogType Tail returns. */
const tailBytes = 4096;

export class InvocationLog {
  #gathered = '';
  #timer: NodeJS.Timeout | undefined;
  /** This invocation's text, when its tail was asked for. */
  #tail: string | undefined;
  readonly #quiet = new QuietInvocations();
  #quietTimer: NodeJS.Timeout | undefined;
  /** The START line of an invocation that has none yet: it gets one if it prints, or still runs at the next flush. */
  #heldBack = '';

  /** @param line its START line @param nowMs monotonic */
  begin(line: string, wantsTail: boolean, nowMs: number): void {
    if (!wantsTail && !this.#quiet.hasOwnLines(nowMs)) {
      this.#heldBack = line;
      return;
    }
    if (wantsTail) this.#tail = '';
    this.#gather(line);
  }

  /** User code's own text. */
  write(text: string): void {
    this.#keepTail(text);
    this.#gathered += this.#heldBack + text;
    this.#heldBack = '';
    this.#writeGathered();
  }

  /**
   * Ends an invocation. Returns the tail, empty unless it was asked for.
   * @param lines makes what is written, unless it is among many that printed nothing
   */
  end(durationMs: number, peakKib: number, lines: () => string): Buffer {
    if (this.#heldBack !== '') {
      this.#heldBack = '';
      this.#quiet.add(durationMs, peakKib);
      this.#quietTimer ??= startTimer(this.#tellOfQuiet, secondMs).unref();
      return nothing;
    }
    this.#gather(lines());
    const tail = this.#tail;
    this.#tail = undefined;
    if (tail === undefined) return nothing;
    const bytes = from(tail);
    return bytes.subarray(Math.max(0, bytes.length - tailBytes));
  }

  /** Writes everything that is held back, now, and so shows what runs at this moment. Safe while the process exits. */
  flush(): void {
    this.#gathered += this.#quiet.take() + this.#heldBack;
    this.#heldBack = '';
    this.#writeGathered();
  }

  #writeGathered(): void {
    if (this.#timer !== undefined) {
      stopTimer(this.#timer);
      this.#timer = undefined;
    }
    if (this.#gathered === '') return;
    const bytes = from(this.#gathered);
    this.#gathered = '';
    writeAll(bytes);
  }

  readonly #tellOfQuiet = (): void => {
    this.#quietTimer = undefined;
    this.flush();
  };

  #gather(text: string): void {
    this.#keepTail(text);
    this.#gathered += text;
    if (this.#gathered.length >= gatherCharacters) this.#writeGathered();
    else this.#timer ??= startTimer(() => this.#writeGathered(), gatherMs).unref();
  }

  #keepTail(text: string): void {
    if (this.#tail === undefined) return;
    this.#tail += text;
    // A character has at most 4 bytes in UTF-8 and at least one: twice the bytes is always enough to keep.
    if (this.#tail.length > 4 * tailBytes) this.#tail = this.#tail.slice(-2 * tailBytes);
  }
}

let waitCell: Int32Array | undefined;

function writeAll(bytes: Buffer): void {
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeDescriptor(stdout, bytes, done, bytes.length - done);
    } catch (error) {
      // A pipe that someone made non-blocking is full: wait as a blocking one would. Without a reader, lines are lost.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
      Atomics.wait((waitCell ??= new Int32Array(new SharedArrayBuffer(4))), 0, 0, 1);
    }
  }
}

/** Exits after the log is written; `process.exit` of user code comes by the 'exit' event. */
export function exitWith(log: InvocationLog, code: number): never {
  log.flush();
  return exitProcess(code);
}
