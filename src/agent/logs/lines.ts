// Cuts a byte stream of user code into lines. Pure. The bytes are hostile: a line may never end, or be no text at all.

/** CloudWatch Logs' largest event; a longer line is cut into several. */
export const maxLineBytes = 256 * 1024;
const lineFeed = 0x0a;

export class LineSplitter {
  readonly #onLine: (line: string) => void;
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  /** The chunk may be used again by the caller once this returns. */
  push(chunk: Buffer): void {
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(lineFeed, from);
      const until = end < 0 ? chunk.length : end;
      // The part of this line that is in the chunk, cut where the line becomes too long.
      while (this.#pendingBytes + until - from > maxLineBytes) {
        const part = maxLineBytes - this.#pendingBytes;
        this.#keep(chunk.subarray(from, from + part));
        this.#emit();
        from += part;
      }
      if (end < 0) {
        this.#keep(chunk.subarray(from, until));
        return;
      }
      if (this.#pendingBytes === 0) this.#say(chunk.toString('utf8', from, until));
      else {
        this.#keep(chunk.subarray(from, until));
        this.#emit();
      }
      from = end + 1;
    }
  }

  /** What came after the last line break is a line too, when nothing follows. */
  end(): void {
    if (this.#pendingBytes > 0) this.#emit();
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return;
    this.#pending.push(Buffer.from(part));
    this.#pendingBytes += part.length;
  }

  #emit(): void {
    // Decoded at once: a character that was cut by a chunk's end is whole again. Wrong bytes become U+FFFD.
    const text = Buffer.concat(this.#pending, this.#pendingBytes).toString();
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#say(text);
  }

  #say(text: string): void {
    this.#onLine(text.endsWith('\r') ? text.slice(0, -1) : text);
  }
}
