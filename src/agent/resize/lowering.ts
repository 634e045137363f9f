// Lowers a memory limit: by a trim, or, where it is lent, out of what lies idle. Owns which of the two. Does not own how
// either is done (steps.ts, lending.ts), nor what follows when it does not fit.
import type { Lending } from './lending.ts';
import type { Owner } from './owners.ts';
import type { Steps } from './steps.ts';

export class Lowering {
  readonly #steps: Steps;
  readonly #lending: Lending;

  constructor(steps: Steps, lending: Lending) {
    this.#steps = steps;
    this.#lending = lending;
  }

  /**
   * What is lent is taken from what lies idle: nobody collects garbage for it.
   * @returns what is in the way; empty when the limit is lowered
   */
  async to(wantedBytes: number, owner: Owner, mayTrim: boolean): Promise<string> {
    if (owner.kind === 'tenant')
      return this.#steps.shrink(owner, wantedBytes, { mayTrim, promisedBytes: null });
    const { id, group } = owner;
    if (owner.promisedBytes !== null) return this.#lending.lower(id, group, wantedBytes, owner.promisedBytes);
    const promisedBytes = this.#lending.promisedBytes(id);
    const obstacle = await this.#steps.shrink(owner, wantedBytes, { mayTrim, promisedBytes });
    if (obstacle === '') this.#lending.drop(id);
    return obstacle;
  }
}
