// Garbage collection on request, without showing `gc` to user code.
// Owns how V8 is asked. Does not own when (governor.ts, and the agent by `trim`).
import process from 'node:process';
import type { TrimResult } from '../../protocol/instance.ts';
import { anonymousBytes } from './memory.ts';
import { releaseNativeHeap } from './native-heap.ts';
import { monotonicMs } from './primordials.ts';

type Collect = (options: {
  type: 'major' | 'minor';
  execution: 'sync';
  flavor?: 'regular' | 'last-resort';
}) => void;

let collect: Collect | undefined;

/** Made on first use: it needs a context of its own, some 0.5 MB until the next collection. */
function collector(): Collect {
  if (collect === undefined) {
    const v8 = process.getBuiltinModule('node:v8');
    const vm = process.getBuiltinModule('node:vm');
    v8.setFlagsFromString('--expose-gc');
    collect = vm.runInNewContext('gc') as Collect;
    v8.setFlagsFromString('--no-expose-gc');
  }
  return collect;
}

export function collectYoung(): void {
  collector()({ type: 'minor', execution: 'sync' });
}

export function collectAll(): void {
  collector()({ type: 'major', execution: 'sync', flavor: 'regular' });
}

/** Everything that can be given back: V8 also drops compiled code and shrinks its spaces, and then the C library its heap. */
export function trim(): TrimResult {
  const beforeBytes = anonymousBytes();
  const startedMs = monotonicMs();
  collector()({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  releaseNativeHeap();
  return { beforeBytes, afterBytes: anonymousBytes(), pauseMs: monotonicMs() - startedMs };
}
