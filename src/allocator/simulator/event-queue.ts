// What happens next in virtual time: a binary min-heap. Events of one moment come in the order in which they were added, so that
// a simulation is the same each time.

interface Entry<T> {
  readonly atMs: number;
  readonly order: number;
  readonly event: T;
}

export class EventQueue<T> {
  readonly #heap: Entry<T>[] = [];
  #added = 0;

  add(atMs: number, event: T): void {
    const entry = { atMs, order: this.#added, event };
    this.#added += 1;
    let at = this.#heap.push(entry) - 1;
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = this.#heap[parentAt];
      if (parent === undefined || !isBefore(entry, parent)) break;
      this.#heap[at] = parent;
      at = parentAt;
    }
    this.#heap[at] = entry;
  }

  /** The earliest; undefined when there is none. */
  next(): { readonly atMs: number; readonly event: T } | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      const left = heap[2 * at + 1];
      if (left === undefined) break;
      const right = heap[2 * at + 2];
      const rightFirst = right !== undefined && isBefore(right, left);
      const smaller = rightFirst ? right : left;
      if (!isBefore(smaller, last)) break;
      heap[at] = smaller;
      at = 2 * at + (rightFirst ? 2 : 1);
    }
    heap[at] = last;
    return first;
  }
}

function isBefore<T>(a: Entry<T>, b: Entry<T>): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
