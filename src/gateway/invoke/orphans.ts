// Invocations that an instance had begun when its link broke: they wait a moment for the reason of its death.
// Owns the waiting. What they are told is function-pool.ts.
import type { InstanceId } from '../../base/ids.ts';
import type { Invocation } from './invocation.ts';

export class Orphans {
  readonly #waiting = new Map<
    InstanceId,
    { readonly invocation: Invocation; readonly timer: NodeJS.Timeout }
  >();

  /** @param onLate nobody has said within `waitMs` why the instance is gone */
  add(id: InstanceId, invocation: Invocation, waitMs: number, onLate: () => void): void {
    this.#waiting.set(id, { invocation, timer: setTimeout(onLate, waitMs) });
  }

  /** The instance's invocation, which waits no longer. */
  take(id: InstanceId): Invocation | undefined {
    const orphan = this.#waiting.get(id);
    if (orphan === undefined) return undefined;
    this.#waiting.delete(id);
    clearTimeout(orphan.timer);
    return orphan.invocation;
  }
}
