// What a function says of its WebSockets: which routes there are, which one a message takes, which answer their client, how long
// connections last. Pure. How a message's route is selected is route-key.ts's.
import { routeSelectionPath } from '../../model/websocket.ts';
import type { WorkloadRoute } from '../../protocol/routes.ts';
import { routeKeyOf } from './route-key.ts';

export type WebSocketRoute = NonNullable<WorkloadRoute['websocket']>;

export class HeldRoutes {
  /** Null: for ever. */
  readonly idleTimeoutMs: number | null;
  readonly maxDurationMs: number | null;
  readonly #routes: ReadonlySet<string>;
  readonly #selection: readonly string[];
  /** Undefined: all. */
  readonly #answering: ReadonlySet<string> | undefined;

  constructor({
    routes,
    routeResponses,
    routeSelectionExpression,
    idleTimeoutMs,
    maxDurationMs,
  }: WebSocketRoute) {
    this.#routes = new Set(routes);
    this.#selection = routeSelectionPath(routeSelectionExpression);
    this.#answering = routeResponses && new Set(routeResponses);
    this.idleTimeoutMs = idleTimeoutMs;
    this.maxDurationMs = maxDurationMs;
  }

  has(name: '$connect' | '$disconnect'): boolean {
    return this.#routes.has(name);
  }

  /** @param text undefined: it is binary. @returns undefined when no route takes it */
  keyOf(text: string | undefined): string | undefined {
    return routeKeyOf(text, this.#selection, this.#routes);
  }

  /** Whether its client gets what is answered there. */
  answers(routeKey: string): boolean {
    return this.#answering === undefined || this.#answering.has(routeKey);
  }
}
