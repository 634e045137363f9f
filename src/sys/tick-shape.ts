// Keeps `process.nextTick` as quick as it is in a new process. Owns the one object that this takes.
//
// Node makes an object for each tick by a literal with computed names. V8 remembers the literal's shape weakly, and a
// collection while no tick waits, so any in an idle process, forgets it. The next tick has a new shape, "more than one" is
// remembered then, for good, and each of its names is looked up by a call into V8 from there on: 0.4 µs a tick instead of
// 0.1. A write to a socket takes one tick, and a request to node:http three, which came to a tenth of its whole cost. A shape lives as
// long as any object that has it.
import { executionAsyncResource } from 'node:async_hooks';
import process from 'node:process';

let kept: object | undefined;

/** Call it first of all, while nothing was collected yet. Holds from the next tick on. */
export function keepTickShape(): void {
  // What runs in a tick has the tick's own object for its resource.
  if (kept === undefined) process.nextTick(keep);
}

function keep(): void {
  kept = executionAsyncResource();
}
