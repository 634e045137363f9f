// How many instances Bellows says to have started, by when: each is a line of its log.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** @returns the wall-clock time of each */
export function startsIn(dataDirectory: string): number[] {
  return readFileSync(join(dataDirectory, 'logs', 'bellows.log'), 'utf8')
    .split('\n')
    .filter((line) => line.includes('"msg":"instance started"'))
    .map((line) => Date.parse((JSON.parse(line) as { readonly time: string }).time));
}
