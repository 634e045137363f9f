// Makes the plain JavaScript that runs inside sandboxes: the runtime's entry and everything it imports, types removed.
// Node could do that at each start, but would keep some 30 MB for it in every instance.
// Owns DATA/runtime/HASH, one directory per content: running instances keep theirs while a newer Bellows makes its own.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** src/ when run from sources, dist/ when installed; the same below both. */
const sourceRoot = fileURLToPath(new URL('..', import.meta.url));
const sourceEnding = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const entry = `runtime/node/main${sourceEnding}`;

/** A relative path to a module of ours in quotes: in an import, or where a worker's file is named. */
const modulePath = /(['"])(\.{1,2}\/[^'"\n]+)\.(?:ts|js)\1/g;

/** Returns the directory; makes it unless it is there. */
export function stageRuntime(runtimeDirectory: string): string {
  const files = collect(sourceRoot, entry);
  const hash = createHash('sha256');
  for (const [name, content] of files) hash.update(`${name}\0${content}\0`);
  const directory = join(runtimeDirectory, hash.digest('hex').slice(0, 32));
  if (existsSync(directory)) return directory;
  // Complete or not there: a crash half way leaves only what the next start removes.
  const temporary = `${directory}.${process.pid}.tmp`;
  for (const [name, content] of files) {
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

/** Staged names and contents of a module and all it imports, sorted by name. */
export function collect(root: string, entryModule: string): [name: string, content: string][] {
  const files = new Map<string, string>([['package.json', '{"type":"module"}\n']]);
  const visit = (module: string): void => {
    const name = module.replace(/\.ts$/, '.js');
    if (files.has(name)) return;
    const source = readFileSync(join(root, module), 'utf8');
    const code = module.endsWith('.ts') ? stripTypeScriptTypes(source) : source;
    const imported: string[] = [];
    const content = code.replace(modulePath, (_, quote: string, path: string) => {
      imported.push(relative(root, resolve(root, dirname(module), path + sourceEnding)));
      return `${quote}${path}.js${quote}`;
    });
    files.set(name, content);
    for (const next of imported) visit(next);
  };
  visit(entryModule);
  return [...files].sort(([a], [b]) => (a < b ? -1 : 1));
}
