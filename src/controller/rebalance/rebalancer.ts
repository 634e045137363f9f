// When grants are divided anew though nobody asked for a change: something came, went, woke or fell idle while room is short, or
// memory is needed. Owns the moments and joins those that come together; the division is the resizer's.
import type { Resizer } from '../resize/resizer.ts';

export class Rebalancer {
  readonly #resizer: Pick<Resizer, 'rebalanceSoon'>;

  constructor(parts: { readonly resizer: Pick<Resizer, 'rebalanceSoon'> }) {
    this.#resizer = parts.resizer;
  }

  /** Divides anew soon, once for all who ask in the same turn. @param why for the audit log */
  rebalance(_why: string): void {
    this.#resizer.rebalanceSoon();
  }

  /**
   * Lowers grants of those that would not miss it now, without ending anybody.
   * @param bytes of memory, at most
   * @returns by how many bytes grants were lowered, as the kernel holds them
   */
  async makeRoom(_bytes: number, why: string): Promise<number> {
    this.rebalance(why);
    return 0;
  }
}
