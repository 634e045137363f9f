// How a function takes WebSockets that the gateway holds for it: its routes, how a message finds one, and how long a
// connection may last. Types, defaults and pure rules, as in API Gateway's WebSocket APIs. Does not own connections.

export interface WebSocketSettings {
  /** Those that the function serves, of `$connect`, `$disconnect`, `$default` and names of its own. */
  readonly routes: readonly string[];
  /** Those whose answer's body is the client's, as API Gateway's route responses make it. Absent: all. */
  readonly routeResponses?: readonly string[];
  /** Where a message names its route, see {@link routeSelectionPattern}. */
  readonly routeSelectionExpression: string;
  /** A connection that carries nothing for so long is closed; null: none is. */
  readonly idleTimeoutMs: number | null;
  /** A connection that is open for so long is closed; null: none is. */
  readonly maxDurationMs: number | null;
}

/** API Gateway's: what its console proposes and nearly every client sends. */
export const defaultRouteSelectionExpression = '$request.body.action';
/** API Gateway's. A client that vanished without a word is noticed so, and whoever lives pings more often. */
export const defaultIdleTimeoutSeconds = 600;

/** `$request.body.action`, deeper members, and the same in braces. */
export const routeSelectionPattern =
  /^\$(?:request\.body((?:\.[A-Za-z0-9_-]{1,64}){1,8})|\{request\.body((?:\.[A-Za-z0-9_-]{1,64}){1,8})\})$/;

/** The members that lead to a message's route. @param expression fits {@link routeSelectionPattern} */
export function routeSelectionPath(expression: string): string[] {
  const match = routeSelectionPattern.exec(expression);
  return (match?.[1] ?? match?.[2] ?? '').split('.').slice(1);
}
