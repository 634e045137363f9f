// A binary min-heap of claims, ordered by whose turn it is: the inner loop of fair-share.ts. Pure.

/** The claim `index` would get its next unit at water level `level`. */
export interface Turn {
  readonly level: number;
  readonly index: number;
}

/** Equal levels go by position, so that the order is total and the same input gives the same output. */
function isBefore(a: Turn, b: Turn): boolean {
  return a.level < b.level || (a.level === b.level && a.index < b.index);
}

export class TurnHeap {
  readonly #turns: Turn[] = [];

  push(turn: Turn): void {
    const turns = this.#turns;
    let at = turns.push(turn) - 1;
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = turns[parentAt];
      if (parent === undefined || !isBefore(turn, parent)) break;
      turns[at] = parent;
      at = parentAt;
    }
    turns[at] = turn;
  }

  pop(): Turn | undefined {
    const turns = this.#turns;
    const first = turns[0];
    const last = turns.pop();
    if (last === undefined || turns.length === 0) return first;
    let at = 0;
    for (;;) {
      const left = turns[2 * at + 1];
      const right = turns[2 * at + 2];
      if (left === undefined) break;
      const smallerIsRight = right !== undefined && isBefore(right, left);
      const smaller = smallerIsRight ? right : left;
      if (!isBefore(smaller, last)) break;
      turns[at] = smaller;
      at = 2 * at + (smallerIsRight ? 2 : 1);
    }
    turns[at] = last;
    return first;
  }
}
