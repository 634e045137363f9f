// The managed Node runtime: one program (node/main.ts) that waits unbound and becomes a function, or an app whose command
// is `node SCRIPT`. Any other command of an app is started as it is and reached through its port. Owns the command lines. Pure.
import { dirname } from 'node:path';
import { mib } from '../base/quantity.ts';
import { splitCommandLine } from './command-line.ts';
import { execCommand } from './exec-command.ts';
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

  launch: (input: LaunchInput, places: LaunchPlaces, port: number): Launch => {
    if (input.kind === 'function') return { way: 'bind', argv: [] };
    const argv = scriptOf(input.start ?? '');
    if (argv !== null) return { way: 'bind', argv };
    return execCommand({ ...input, env: { ...input.env, PATH: searchPath(input, places) } }, port);
  },
};

/** The script and its arguments when the command is `node SCRIPT …`. A flag of Node's needs a Node of its own. */
function scriptOf(start: string): readonly string[] | null {
  const [program, ...argv] = splitCommandLine(start) ?? [];
  const script = argv[0];
  return program === 'node' && script !== undefined && !script.startsWith('-') ? argv : null;
}

/** As npm sets it for its scripts: what the dependencies bring first; and `node` is the one that functions run on. */
function searchPath({ env, taskDirectory }: LaunchInput, { node }: LaunchPlaces): string {
  const places = [
    `${taskDirectory}/node_modules/.bin`,
    dirname(node),
    env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin',
  ];
  return places.join(':');
}
