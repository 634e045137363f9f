// A streamed answer on its way to one client: at the client's pace and the line's, and no more than may be sent. Owns when the
// source is to hold back and go on. Does not own what is sent, nor how it ends.
import type { Answer } from '../exchange.ts';
import type { Line } from './line.ts';

export class Outflow {
  readonly #response: Answer;
  readonly #line: Line | undefined;
  #leftBytes: number;
  /** The source was told to hold back, and will be told to go on. What it had under way comes all the same. */
  #holding = false;

  /** @param limitBytes the most that the function may answer */
  constructor(response: Answer, line: Line | undefined, limitBytes: number) {
    this.#response = response;
    this.#line = line;
    this.#leftBytes = limitBytes;
  }

  /** Counts what the function answers. @returns how much of it may be sent: less than all when it is too much */
  admit(bytes: number): number {
    const admitted = Math.min(bytes, this.#leftBytes);
    this.#leftBytes -= admitted;
    return admitted;
  }

  /** @returns false when the source is to hold back, until `resume` is called */
  send(bytes: Buffer, resume: () => void): boolean {
    // A client that left must not hold up the instance.
    if (this.#response.destroyed || this.#response.writableEnded) return true;
    const drained = this.#response.write(bytes);
    this.#line?.take('out', bytes.length);
    if (this.#holding) return false;
    if (drained && (this.#line === undefined || this.#line.isFree('out'))) return true;
    this.#holding = true;
    const goOn = (): void => {
      this.#holding = false;
      resume();
    };
    if (drained) this.#whenFree(goOn);
    else this.#whenDrained(() => this.#whenFree(goOn));
    // The line may have become free since it was asked: who went on already must not hold back now, for nobody would tell it again.
    return !this.#holding;
  }

  #whenFree(then: () => void): void {
    if (this.#line === undefined || this.#response.destroyed) then();
    else this.#line.whenFree('out', then);
  }

  #whenDrained(then: () => void): void {
    const done = (): void => {
      this.#response.off('drain', done).off('close', done);
      then();
    };
    this.#response.once('drain', done).once('close', done);
  }
}
