// A part of the store held in memory: reads are immediate, every change is durable first and is checked against
// the revision it was made from. Owns the mirror of one key prefix. Assumes to be the only writer below it.
import { BellowsError } from '../../base/errors.ts';
import type { Store } from '../../store/port.ts';
import { KeyedQueue } from '../serial.ts';

/** A change that keeps losing against others has a defect behind it. */
const maxAttempts = 20;

export class CachedKeys<T> {
  readonly #store: Store;
  readonly #prefix: string;
  readonly #entries = new Map<string, { value: T; revision: number }>();
  /** Changes of one key follow each other, so that the mirror has them in the store's order. */
  readonly #changes = new KeyedQueue<string>();

  constructor(store: Store, prefix: string) {
    this.#store = store;
    this.#prefix = prefix;
  }

  async load(): Promise<void> {
    this.#entries.clear();
    for (const entry of await this.#store.list<T>(this.#prefix)) {
      this.#entries.set(entry.key.slice(this.#prefix.length), {
        value: entry.value,
        revision: entry.revision,
      });
    }
  }

  get(id: string): T | undefined {
    return this.#entries.get(id)?.value;
  }

  ids(): string[] {
    return [...this.#entries.keys()];
  }

  values(): T[] {
    return [...this.#entries.values()].map((entry) => entry.value);
  }

  /**
   * Writes what `change` makes of the present value; it is asked again when another change came between.
   * `undefined` from it removes the key. What `change` throws is thrown, and nothing is written.
   */
  update<R extends T | undefined>(id: string, change: (present: T | undefined) => R): Promise<R> {
    return this.#changes.run(id, () => this.#update(id, change));
  }

  async #update<R extends T | undefined>(id: string, change: (present: T | undefined) => R): Promise<R> {
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      const before = this.#entries.get(id);
      const next = change(before?.value);
      if (next === before?.value) return next;
      try {
        if (next === undefined) {
          await this.#store.delete(this.#prefix + id, { expect: before?.revision ?? 0 });
          this.#entries.delete(id);
        } else {
          const revision = await this.#store.put(this.#prefix + id, next, { expect: before?.revision ?? 0 });
          this.#entries.set(id, { value: next, revision });
        }
        return next;
      } catch (thrown) {
        if (!(thrown instanceof BellowsError) || thrown.code !== 'Conflict') throw thrown;
        await this.#refresh(id);
      }
    }
    throw new BellowsError(
      'Conflict',
      `${this.#prefix}${id} is being changed by others all the time.`,
      'Try again.',
    );
  }

  async #refresh(id: string): Promise<void> {
    const entry = await this.#store.get<T>(this.#prefix + id);
    if (entry === undefined) this.#entries.delete(id);
    else this.#entries.set(id, { value: entry.value, revision: entry.revision });
  }
}
