// Invocations that an instance had begun when its link broke: they wait a moment for the reason of its death.
// Owns the waiting. What they are told is deaths.ts.
import type { InstanceId } from '../../base/ids.ts';
import type { Invocation } from './invocation.ts';

export interface Orphan {
  readonly invocation: Invocation;
  /** How long it had run when the link broke. */
  readonly ranMs: number;
}

export class Orphans {
  readonly #waiting = new Map<InstanceId, { readonly orphan: Orphan; readonly timer: NodeJS.Timeout }>();

  /** @param onLate nobody has said within `waitMs` why the instance is gone */
  add(id: InstanceId, orphan: Orphan, waitMs: number, onLate: () => void): void {
    this.#waiting.set(id, { orphan, timer: setTimeout(onLate, waitMs) });
  }

  /** The instance's invocation, which waits no longer. */
  take(id: InstanceId): Orphan | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return undefined;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    return waiting.orphan;
  }
}
