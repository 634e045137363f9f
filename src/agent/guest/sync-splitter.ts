// The guest's end of a serial stream's synchronisation: passes frames' bytes on, and finds the marks between them.
// No frame holds a mark: headers have no more than a few zeros in a row, and JSON has none. Pure.
import { syncMark } from '../../protocol/serial-sync.ts';

/** A mark up to its number. */
const markStart = syncMark(0).subarray(0, -'0\n'.length);
const endOfLine = 0x0a;
/** The longest number with its line break. */
const longestNumberBytes = 17;

export interface SplitterHandlers {
  /** Bytes of frames, in order. */
  readonly onBytes: (bytes: Buffer) => void;
  /** The host begins anew: whatever was before belongs to nobody. */
  readonly onMark: (n: number) => void;
}

export class SyncSplitter {
  readonly #handlers: SplitterHandlers;
  /** The end of the last chunk, where it may be the beginning of a mark. */
  #held = Buffer.alloc(0);

  constructor(handlers: SplitterHandlers) {
    this.#handlers = handlers;
  }

  push(chunk: Buffer): void {
    let buffer = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = Buffer.alloc(0);
    for (;;) {
      const at = buffer.indexOf(markStart);
      if (at < 0) break;
      this.#pass(buffer.subarray(0, at));
      const line = buffer.subarray(at + markStart.length, at + markStart.length + longestNumberBytes);
      const end = line.indexOf(endOfLine);
      if (end < 0 && line.length < longestNumberBytes) {
        this.#held = Buffer.from(buffer.subarray(at));
        return;
      }
      const text = line.subarray(0, Math.max(0, end)).toString('latin1');
      const isMark = /^\d+$/.test(text);
      if (isMark) this.#handlers.onMark(Number(text));
      buffer = buffer.subarray(at + markStart.length + (isMark ? end + 1 : 0));
    }
    const heldBytes = startOfMarkAtEnd(buffer);
    this.#pass(buffer.subarray(0, buffer.length - heldBytes));
    this.#held = Buffer.from(buffer.subarray(buffer.length - heldBytes));
  }

  #pass(bytes: Buffer): void {
    if (bytes.length > 0) this.#handlers.onBytes(bytes);
  }
}

/** How many of the last bytes may be the beginning of a mark. */
function startOfMarkAtEnd(buffer: Buffer): number {
  for (let bytes = Math.min(buffer.length, markStart.length - 1); bytes > 0; bytes -= 1) {
    if (buffer.subarray(buffer.length - bytes).equals(markStart.subarray(0, bytes))) return bytes;
  }
  return 0;
}
