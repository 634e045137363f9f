// What a program is told of where things are inside its sandbox. Pure.
import { dirname } from 'node:path';
import { maxInstanceMemory } from '../../model/workload.ts';
import type { LaunchPlaces } from '../../runtime/port.ts';
import type { InsidePaths } from '../sandbox/port.ts';

export function launchPlaces(inside: InsidePaths): LaunchPlaces {
  return {
    node: inside.node,
    runtimeDirectory: `${inside.runtime}/runtime`,
    runDirectory: inside.run,
    ceilingBytes: maxInstanceMemory,
  };
}

/** What every program may expect of its environment. */
export function baseEnvironment(inside: InsidePaths): Record<string, string> {
  return {
    PATH: `${dirname(inside.node)}:/usr/local/bin:/usr/bin:/bin`,
    HOME: inside.temporary,
    TMPDIR: inside.temporary,
    LANG: 'C.UTF-8',
  };
}
