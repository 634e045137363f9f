// Work under one key follows each other; what has different keys does not wait for each other.

export class Turns {
  readonly #last = new Map<string, Promise<void>>();

  inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const earlier = this.#last.get(key);
    const run = earlier === undefined ? work() : earlier.then(work);
    const ended = run.then(
      () => undefined,
      () => undefined,
    );
    this.#last.set(key, ended);
    void ended.then(() => {
      if (this.#last.get(key) === ended) this.#last.delete(key);
    });
    return run;
  }
}
