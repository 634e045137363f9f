// Frames on their way out, written one behind the other into one buffer, so that many small ones cost one allocation
// and one system call. Owns the buffer until it is taken. Does not own when that is (src/sys/frame-link.ts). Pure.
import { Buffer } from 'node:buffer';
import { frameHeaderBytes, writeFrameHeader } from './frame.ts';

/** Some twenty events of a URL; what outgrows it is copied once to twice the room. */
const firstBytes = 16 * 1024;
/** A buffer that was sent and can be written to again, for whoever begins next: making one costs as much as ten frames. */
let spare: Buffer | undefined;

export class FrameBatch {
  #buffer: Buffer | undefined;
  #taken: Buffer | undefined;
  #end = 0;

  /** Whether there is nothing to take. */
  get empty(): boolean {
    return this.#end === 0;
  }

  /**
   * Makes room for one more frame; `end` must follow before anything else.
   * @returns where its payload goes in `buffer`
   */
  begin(mostPayloadBytes: number): number {
    const needed = this.#end + frameHeaderBytes + mostPayloadBytes;
    if (this.#buffer === undefined && needed <= firstBytes) {
      this.#buffer = spare ?? Buffer.allocUnsafeSlow(firstBytes);
      spare = undefined;
    } else if (this.#buffer === undefined || needed > this.#buffer.length) {
      // Nothing of it is handed on before it is taken, and then only what was written.
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * (this.#buffer?.length ?? 0)));
      this.#buffer?.copy(larger, 0, 0, this.#end);
      this.#buffer = larger;
    }
    return this.#end + frameHeaderBytes;
  }

  /** What the payload is to be written to; another one after each `begin`. */
  get buffer(): Buffer {
    if (this.#buffer === undefined) throw new Error('no frame was begun');
    return this.#buffer;
  }

  end(type: number, id: number, payloadBytes: number): void {
    writeFrameHeader(this.buffer, this.#end, type, id, payloadBytes);
    this.#end += frameHeaderBytes + payloadBytes;
  }

  /** All frames since the last time. An idle link holds no memory. */
  take(): Buffer {
    const { buffer } = this;
    this.#taken = buffer.length === firstBytes ? buffer : undefined;
    const frames = buffer.subarray(0, this.#end);
    this.#buffer = undefined;
    this.#end = 0;
    return frames;
  }

  /** Nobody will read what was last taken any more. */
  release(): void {
    spare = this.#taken ?? spare;
    this.#taken = undefined;
  }
}
