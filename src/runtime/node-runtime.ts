// The managed Node runtime: one program (node/main.ts) that waits unbound and becomes a function or an app.
// Owns its command line. Pure.
import { BellowsError } from '../base/errors.ts';
import { mib } from '../base/quantity.ts';
import { splitCommandLine } from './command-line.ts';
import type { Launch, LaunchInput, LaunchPlaces, LaunchPlan, Runtime } from './port.ts';

/** V8's young generation takes three times this, beside the old one. With 4 a 128 MiB instance with 60 MiB of live
 * objects survived loads that killed it with 8 now and then; a JSON-heavy load ran at 82 % of its speed with 16. */
const semiSpaceMib = 4;
/** glibc raises its threshold for giving memory back as soon as a large buffer is freed; set, it stays. */
const mallocThresholdBytes = 128 * 1024;
/** V8's and libuv's threads would each make an arena of their own. */
const mallocArenas = 2;

export const nodeRuntime: Runtime = {
  name: 'nodejs26.x',
  poolable: true,

  pooled: (places: LaunchPlaces): LaunchPlan => ({
    command: places.node,
    args: [
      `--max-old-space-size=${Math.floor(places.ceilingBytes / mib)}`,
      `--max-semi-space-size=${semiSpaceMib}`,
      '--disable-warning=ExperimentalWarning',
      `${places.runtimeDirectory}/node/main.js`,
    ],
    env: {
      BELLOWS_RUN_DIR: places.runDirectory,
      MALLOC_ARENA_MAX: String(mallocArenas),
      MALLOC_MMAP_THRESHOLD_: String(mallocThresholdBytes),
      MALLOC_TRIM_THRESHOLD_: String(mallocThresholdBytes),
    },
  }),

  launch: (input: LaunchInput): Launch => {
    if (input.kind === 'function') return { way: 'bind', argv: [] };
    const words = splitCommandLine(input.start ?? '');
    const [program, ...rest] = words ?? [];
    const script = rest[0];
    if (program !== 'node' || script === undefined || script.startsWith('-')) {
      throw new BellowsError(
        'UnsupportedRuntime',
        `The runtime nodejs26.x can not start ${JSON.stringify(input.start)}: its processes run before they know what for.`,
        'Write "start" as "node SCRIPT [ARGUMENTS]", or use "runtime": "custom" for any other command.',
      );
    }
    return { way: 'bind', argv: rest };
  },
};
