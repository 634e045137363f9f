// Runs tasks of one key strictly one after another, tasks of different keys side by side. Owns only the order.

export class KeyedQueue<Key> {
  readonly #tails = new Map<Key, Promise<void>>();

  /** Runs `task` after every earlier task of `key` has ended, well or not. */
  run<T>(key: Key, task: () => Promise<T>): Promise<T> {
    const result = (this.#tails.get(key) ?? Promise.resolve()).then(task);
    const tail = result.then(
      () => undefined,
      () => undefined,
    );
    this.#tails.set(key, tail);
    void tail.then(() => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    });
    return result;
  }

  /** Resolves when everything that was queued so far has ended. */
  async idle(): Promise<void> {
    await Promise.all(this.#tails.values());
  }
}
