// What a mock agent is told to do instead of, or before, answering by itself. Owns the queue of behaviours, no state
// of instances. For tests only.
import type { BellowsError } from '../../base/errors.ts';
import type { AgentProtocol } from '../../protocol/agent.ts';
import type { ResultOf } from '../../protocol/rpc.ts';

type Methods = AgentProtocol['methods'];
export type AgentMethod = keyof Methods;

export type Behaviour<M extends AgentMethod = AgentMethod> =
  /** Fails with this; nothing is changed. */
  | { readonly do: 'fail'; readonly error: BellowsError }
  /** Answers as usual, only later. */
  | { readonly do: 'delay'; readonly ms: number }
  /** Answers as usual, once this has come about: whatever is to happen before it does, however busy the machine. */
  | { readonly do: 'wait'; readonly until: Promise<unknown> }
  /** Never answers: the caller's time runs out. */
  | { readonly do: 'hang' }
  /** Answers with this; nothing is changed. */
  | { readonly do: 'answer'; readonly result: ResultOf<Methods[M]> };

export class Script {
  readonly #once = new Map<AgentMethod, Behaviour[]>();
  readonly #always = new Map<AgentMethod, Behaviour>();

  /** For the next call of the method that has no behaviour yet. */
  next<M extends AgentMethod>(method: M, behaviour: Behaviour<M>): void {
    this.#once.set(method, [...(this.#once.get(method) ?? []), behaviour]);
  }

  /** For every call of the method that `next` says nothing about; null ends it. */
  always<M extends AgentMethod>(method: M, behaviour: Behaviour<M> | null): void {
    if (behaviour === null) this.#always.delete(method);
    else this.#always.set(method, behaviour);
  }

  take(method: AgentMethod): Behaviour | undefined {
    return this.#once.get(method)?.shift() ?? this.#always.get(method);
  }
}
