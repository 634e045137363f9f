import { describe } from 'vitest';

/**
 * A suite that needs something of the machine: skipped, with its reason in the run's last lines, where that is missing
 * (`missing` is undefined where all is there). With CI=true such a skip fails the run.
 */
export function suiteNeeding(name: string, missing: string | undefined, body: () => void): void {
  if (missing === undefined) describe(name, body);
  else describe.skip(`${name} [skipped: ${missing}]`, body);
}
