// Looks again and again at instances that are near their limit, as long as there are any. Owns who is near and the one timer; what
// is seen, and who is near, is for whoever looks.
import type { InstanceId } from '../../base/ids.ts';

/** Where cache fills a group, or nobody gives notice. A look costs about 40 µs; a hold lasts until it comes. */
const lookEveryMs = 100;

export class NearLooks {
  readonly #look: (id: InstanceId) => void;
  readonly #near = new Set<InstanceId>();
  #timer: NodeJS.Timeout | undefined;

  constructor(look: (id: InstanceId) => void) {
    this.#look = look;
  }

  set(id: InstanceId, isNear: boolean): void {
    if (isNear) this.#near.add(id);
    else this.#near.delete(id);
    if (this.#near.size > 0) {
      this.#timer ??= setInterval(() => {
        for (const each of [...this.#near]) this.#look(each);
      }, lookEveryMs);
      return;
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
