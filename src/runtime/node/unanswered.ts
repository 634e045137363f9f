// How many invocations are unanswered, by the link they came over, and who is told of those of others. Owns the counts. A
// link that closed leaves its own behind: they still run, and whoever connects next must know.
import { encodeElsewhere, frameType } from '../../protocol/instance.ts';
import type { Link } from './link.ts';

export class Unanswered {
  #total = 0;
  #watchers: Link[] = [];

  watch(link: Link): void {
    this.forget(link);
    this.#watchers.push(link);
    this.#tell(link);
  }

  forget(link: Link): void {
    this.#watchers = this.#watchers.filter((other) => other !== link);
  }

  /** As a rule there is one gateway, and nobody to be told. */
  add(link: Link, more: 1 | -1): void {
    link.unanswered += more;
    this.#total += more;
    for (const watcher of this.#watchers) if (watcher !== link) this.#tell(watcher);
  }

  #tell(watcher: Link): void {
    watcher.send(frameType.elsewhere, 0, encodeElsewhere(this.#total - watcher.unanswered));
  }
}
