// What events say of starts that failed and of ends, in one line each. Pure.
import type { BellowsError } from '../../base/errors.ts';
import { wordedStartFailure } from '../../protocol/start-failure.ts';
import type { NextStart } from './backoff.ts';

/** User code may have written pages; the event's data has the whole. */
const longestReason = 200;

/** Why, without the words that every such event begins with. */
export function reasonOf(error: BellowsError): string {
  const text = wordedStartFailure(error).message.replace(/^It could not be started: /, '');
  const line = text.split('\n', 1)[0] ?? '';
  return line.length > longestReason ? `${line.slice(0, longestReason)}…` : line;
}

/** A sentence to add, or nothing. */
export function nextStartText(next: NextStart | null): string {
  if (next === null) return '';
  const row = next.failures === 1 ? '' : `, after ${next.failures} failures in a row`;
  return ` It is started again in ${next.inMs / 1_000} s${row}.`;
}
