// Growth that found no room, on the host or beside others in its unit: kept as what is wanted, and tried again until there is
// room, or something else is wanted. Owns what waits and when it is looked at; whether it fits, and doing it, is the
// callback's matter.
import { messageOf } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import type { Logger } from '../../sys/log.ts';

/** True: it is applied, or there is nothing to apply it to any more. */
export type Retry = (id: InstanceId, wanted: Partial<Resources>) => Promise<boolean>;

export class WaitingGrowth {
  readonly #retry: Retry;
  readonly #pollMs: number;
  readonly #log: Logger;
  readonly #wanted = new Map<InstanceId, Partial<Resources>>();
  #timer: NodeJS.Timeout | undefined;
  #looking = false;
  #closed = false;

  constructor(retry: Retry, pollMs: number, log: Logger) {
    this.#retry = retry;
    this.#pollMs = pollMs;
    this.#log = log;
  }

  put(id: InstanceId, wanted: Partial<Resources>): void {
    this.#wanted.set(id, wanted);
    this.#schedule();
  }

  /** Something else is wanted, or nothing more. */
  drop(id: InstanceId): void {
    this.#wanted.delete(id);
  }

  close(): void {
    this.#closed = true;
    this.#wanted.clear();
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#closed || this.#looking || this.#wanted.size === 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#look(), this.#pollMs).unref();
  }

  /** One after another, first come first: each takes of the room that there is. */
  async #look(): Promise<void> {
    this.#looking = true;
    for (const [id, wanted] of [...this.#wanted]) {
      if (this.#wanted.get(id) !== wanted) continue;
      try {
        const done = await this.#retry(id, wanted);
        if (done && this.#wanted.get(id) === wanted) this.#wanted.delete(id);
      } catch (thrown) {
        this.#log.warn(
          { instance: id, error: messageOf(thrown) },
          'growth that waits could not be tried again',
        );
      }
    }
    this.#looking = false;
    this.#schedule();
  }
}
