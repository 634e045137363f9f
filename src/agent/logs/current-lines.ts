// What each instance has printed since its last START line: the first part of a log's tail when its invocation breaks off,
// and told without reading a file that others write to as well. Bounded for each instance. Owns that memory alone.
import type { InstanceId } from '../../base/ids.ts';
import { startPrefix } from './broken-lines.ts';

/** What LogType Tail returns: the last 4 KiB, as Lambda. */
export const logTailBytes = 4096;

/** Of the invocation that an instance began last. */
export interface CurrentLines {
  readonly start: string;
  /** After START; the oldest are dropped where they come to more than a tail. */
  readonly printed: readonly string[];
}

interface Kept {
  readonly start: string;
  printed: string[];
  length: number;
}

export class CurrentLinesOfInstances {
  readonly #byInstance = new Map<InstanceId, Kept>();

  note(instance: InstanceId, line: string): void {
    if (line.startsWith(startPrefix)) {
      this.#byInstance.set(instance, { start: line, printed: [], length: 0 });
      return;
    }
    const kept = this.#byInstance.get(instance);
    if (kept === undefined) return;
    // A character has one byte at least, so the last 4 KiB are always among these.
    const end = line.slice(-logTailBytes);
    kept.printed.push(end);
    kept.length += end.length + 1;
    // Not at every line: what is dropped at once costs one move of the rest.
    if (kept.length > 4 * logTailBytes) drop(kept);
  }

  /** Of an instance that writes no more; it is then forgotten. Undefined when it wrote no START since this agent runs. */
  take(instance: InstanceId): CurrentLines | undefined {
    const kept = this.#byInstance.get(instance);
    this.#byInstance.delete(instance);
    return kept;
  }
}

function drop(kept: Kept): void {
  let first = kept.printed.length;
  let length = 0;
  while (first > 0 && length < logTailBytes) {
    first -= 1;
    length += (kept.printed[first]?.length ?? 0) + 1;
  }
  kept.printed = kept.printed.slice(first);
  kept.length = length;
}

/** The last 4 KiB of these lines. */
export function tailOf(lines: readonly string[]): string {
  const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
  return bytes.toString('utf8', Math.max(0, bytes.length - logTailBytes));
}
