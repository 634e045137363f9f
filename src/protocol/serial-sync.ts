// How both ends of a virtual machine's serial port find a frame's beginning. The port is one stream for as long as the
// machine lives, while its ends come and go: what arrives first may be the rest of a frame that was meant for another.
// Owns the mark and looking for it. Does not own frames (src/base/frame.ts), nor opening the port. Pure.
//
//   host, on each connection:  64 zero bytes, `bellows-hello N\n`, then frames once the same line came back
//   guest, on each mark:       answers the mark with the same N, and what follows on both sides is frames
import { Buffer } from 'node:buffer';

/**
 * An end that still reads frames takes zeros for empty frames of type 0, which no protocol has, and knows that the stream
 * begins anew; 64 are more than a header, wherever it stands.
 */
const zeroBytes = 64;
const linePattern = /bellows-hello (\d{1,16})\n/;
/** The longest line less one byte: so much of a chunk may be the beginning of a line that the next chunk ends. */
const keptBytes = 'bellows-hello '.length + 16;

/** The frame type that an end which missed the other's change reads out of a mark. */
export const syncFrameType = 0;

export function syncMark(n: number): Buffer {
  return Buffer.concat([Buffer.alloc(zeroBytes), Buffer.from(`bellows-hello ${n}\n`)]);
}

/** Looks for a mark in a stream, and throws away what is before it. */
export class SyncScanner {
  #kept = Buffer.alloc(0);
  readonly #wanted: number | undefined;

  /** @param wanted the only N that counts: an end that asks heeds no answer to an earlier question. Default: any. */
  constructor(wanted?: number) {
    this.#wanted = wanted;
  }

  /** The N of the mark, and what followed it: the first bytes of frames. Undefined while there is none. */
  push(chunk: Buffer): { readonly n: number; readonly rest: Buffer } | undefined {
    let buffer = Buffer.concat([this.#kept, chunk]);
    for (;;) {
      // latin1: one character a byte, whatever rubbish there is.
      const match = linePattern.exec(buffer.toString('latin1'));
      if (match === null) break;
      const n = Number(match[1]);
      buffer = buffer.subarray(match.index + match[0].length);
      if (this.#wanted === undefined || this.#wanted === n) return { n, rest: buffer };
    }
    this.#kept = Buffer.from(buffer.subarray(Math.max(0, buffer.length - keptBytes)));
    return undefined;
  }
}
