// What a Bellows that was killed left running in a data directory, by the files that only an orderly stop removes: so that one
// that is started there with other units knows what it has to end. Looks, and changes nothing.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { UnitKind } from '../model/unit-kind.ts';
import type { Layout } from '../sys/layout.ts';

/**
 * How many instances on this machine, or virtual machines, are on record; 0 where there may be traces all the same, such as
 * processes that were kept ready. Undefined where nothing can be left.
 */
export function leftBehind(kind: UnitKind, { run, handles, units, unitRuns }: Layout): number | undefined {
  if (kind === 'host') return existsSync(join(run, 'i')) ? recordsIn(handles) : undefined;
  const records = recordsIn(units);
  return records > 0 || existsSync(unitRuns) ? records : undefined;
}

function recordsIn(directory: string): number {
  return existsSync(directory) ? readdirSync(directory).filter((name) => name.endsWith('.json')).length : 0;
}
