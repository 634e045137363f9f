// Looks an archive through without writing: its names, how many there are, and how much their contents come to. Making
// 50,000 directories only to refuse the next one takes half a minute, and naming them less than a second.
import { EntryTree } from './entry-tree.ts';
import { maxUnpackedBytes } from './limits.ts';
import { tooLargeUnpacked, type EntrySink } from './staging.ts';

/** Rejects what {@link Staging} would, but for where links lead: that is judged when all are known. */
export class Survey implements EntrySink {
  readonly #tree = new EntryTree();
  #bytesLeft = maxUnpackedBytes;

  async directory(name: string): Promise<void> {
    this.#tree.claim(name, { kind: 'directory' });
  }

  /** @param content to be counted; without it, only the name is looked at */
  async file(name: string, _executable: boolean, content?: AsyncIterable<Uint8Array>): Promise<void> {
    this.#tree.claim(name, { kind: 'file' });
    if (content === undefined) return;
    for await (const chunk of content) {
      this.#bytesLeft -= chunk.byteLength;
      if (this.#bytesLeft < 0) throw tooLargeUnpacked();
    }
  }

  async link(name: string, target: string): Promise<void> {
    this.#tree.claim(name, { kind: 'link', target });
  }
}
