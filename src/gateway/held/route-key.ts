// Which route of a function a message is for. Pure.

/** What no message can name: they are for a connection's begin and end, and for what fits nothing else. */
const reserved = /^\$/;

/**
 * @param path where a message names its route, see routeSelectionPath
 * @param body undefined for a binary message, which is never JSON
 * @returns undefined when no route takes it
 */
export function routeKeyOf(
  body: string | undefined,
  path: readonly string[],
  routes: ReadonlySet<string>,
): string | undefined {
  const named = body === undefined ? undefined : memberAt(body, path);
  if (named !== undefined && !reserved.test(named) && routes.has(named)) return named;
  return routes.has('$default') ? '$default' : undefined;
}

function memberAt(body: string, path: readonly string[]): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return undefined;
  }
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined;
}
