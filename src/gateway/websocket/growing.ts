// Bytes that are gathered until there are enough of them. Owns one buffer, which doubles as it fills: what comes in crumbs
// costs no object for each, and no more than twice what came.
const firstBytes = 128;

export class GrowingBytes {
  #buffer: Buffer;
  #from = 0;
  #to: number;

  /** @param bytes nobody else's from now on */
  constructor(bytes: Buffer = nothing) {
    this.#buffer = bytes;
    this.#to = bytes.length;
  }

  get length(): number {
    return this.#to - this.#from;
  }

  /** Valid until the next change. */
  get bytes(): Buffer {
    return this.#buffer.subarray(this.#from, this.#to);
  }

  /** Of `bytes` a copy is kept. */
  add(bytes: Buffer): void {
    if (this.#to + bytes.length > this.#buffer.length) this.#makeRoom(bytes.length);
    bytes.copy(this.#buffer, this.#to);
    this.#to += bytes.length;
  }

  /** The first of them are not needed any more. */
  drop(count: number): void {
    this.#from += count;
    if (this.#from < this.#to) return;
    this.#buffer = nothing;
    this.#from = 0;
    this.#to = 0;
  }

  #makeRoom(moreBytes: number): void {
    const { bytes, length } = this;
    const larger = Buffer.allocUnsafeSlow(Math.max(length + moreBytes, 2 * length, firstBytes));
    bytes.copy(larger);
    this.#buffer = larger;
    this.#from = 0;
    this.#to = length;
  }
}

const nothing = Buffer.alloc(0);
