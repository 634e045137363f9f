// Makes the plain JavaScript that runs inside sandboxes: the runtime's entry and everything it imports, as one script
// without types. Node could do that at each start, but would keep some 30 MB for it in every instance.
// Owns DATA/runtime/HASH, one directory per content: running instances keep theirs while a newer Bellows makes its own.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { linkModules } from './link-modules.ts';

/** src/ when run from sources, dist/ when installed; the same below both. */
const sourceRoot = fileURLToPath(new URL('..', import.meta.url));
const entry = `runtime/node/main${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`;
/** In the staged directory. */
const stagedEntry = 'runtime/node/main.js';

/** Returns the directory; makes it unless it is there. */
export function stageRuntime(runtimeDirectory: string): string {
  const files = {
    // Said beside the script, where Node looks first.
    [join(dirname(stagedEntry), 'package.json')]: '{"type":"commonjs"}\n',
    [stagedEntry]: linkModules(sourceRoot, entry),
  };
  const hash = createHash('sha256').update(JSON.stringify(files)).digest('hex');
  const directory = join(runtimeDirectory, hash.slice(0, 32));
  if (existsSync(directory)) return directory;
  // Complete or not there: a crash half way leaves only what the next start removes.
  const temporary = `${directory}.${process.pid}.tmp`;
  for (const [name, content] of Object.entries(files)) {
    const path = join(temporary, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
  renameSync(temporary, directory);
  return directory;
}

/** Removes what earlier versions staged, but for directories that instances still run from. */
export function removeStaleRuntimes(runtimeDirectory: string, inUse: ReadonlySet<string>): void {
  for (const name of readdirSync(runtimeDirectory)) {
    const path = join(runtimeDirectory, name);
    if (!inUse.has(path)) rmSync(path, { recursive: true, force: true });
  }
}
