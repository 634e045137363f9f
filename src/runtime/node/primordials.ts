// What the runtime needs of the language and of Node, taken before user code can replace it.
// Owns nothing else. User code may overwrite JSON, timers, process.exit or Buffer's global; the loop must go on.
import { writeSync } from 'node:fs';
import process from 'node:process';

export const { parse: parseJson, stringify: stringifyJson } = JSON;
export const nowMs = Date.now;
const { hrtime } = process;
/** Milliseconds from an arbitrary origin, never backwards. Not performance.now(), which loads a dozen modules. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}
export const { setImmediate: nextTurn, setTimeout: startTimer, clearTimeout: stopTimer } = globalThis;
export const exitProcess: (code: number) => never = process.exit.bind(process);
export const emitOnProcess = process.emit.bind(process) as (event: string, ...args: unknown[]) => boolean;
export const writeDescriptor: (fd: number, bytes: Uint8Array, offset: number, length: number) => number =
  writeSync;
