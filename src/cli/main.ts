// The command's entry: the process's streams, signals and exit code. Everything else is in program.ts and commands/.
import { readFileSync } from 'node:fs';
import { commands } from './commands/index.ts';
import { Interruption } from './failure.ts';
import { endWhenNobodyReads, Output } from './output.ts';
import { withSystemDirectories } from '../sys/search-path.ts';
import { runCommandLine } from './program.ts';

process.removeAllListeners('warning');
process.on('warning', (warning) => {
  // node:sqlite and node:ffi; the Node that runs this is pinned.
  if (warning.name !== 'ExperimentalWarning') console.error(`warning: ${warning.message}`);
});

// For all that is started from here on, too.
process.env['PATH'] = withSystemDirectories(process.env['PATH']);

const stop = new AbortController();
// `up` has its own idea of Ctrl-C; everything else just ends.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => stop.abort(new Interruption('signal')));
for (const stream of [process.stdout, process.stderr]) {
  endWhenNobodyReads(stream, () => stop.abort(new Interruption('closed output')));
}

/** Two folders up both from src/cli and from dist/cli. */
function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

process.exitCode = await runCommandLine(commands, process.argv.slice(2), {
  out: new Output({ stdout: process.stdout, stderr: process.stderr }, process.env),
  env: process.env,
  stdin: process.stdin,
  signal: stop.signal,
  version: version(),
});
