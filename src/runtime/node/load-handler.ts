// Finds and loads a function's handler: `path/to/file.export.nested`, CommonJS or ES module, as AWS's Node runtime does.
// Owns resolution and the wording of what can go wrong. Does not own calling it.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseJson } from './primordials.ts';
import { RuntimeFailure } from './failure.ts';

export type Handler = (...args: readonly unknown[]) => unknown;

/** @throws RuntimeFailure when there is no such handler; whatever user code throws while it loads. */
export async function loadHandler(taskDirectory: string, handlerName: string): Promise<Handler> {
  if (handlerName.includes('..')) {
    throw new RuntimeFailure(
      'Runtime.MalformedHandlerName',
      `'${handlerName}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const fileAndExport = basename(handlerName);
  const folder = handlerName.slice(0, handlerName.length - fileAndExport.length);
  const dot = fileAndExport.indexOf('.');
  if (dot < 0) throw new RuntimeFailure('Runtime.MalformedHandlerName', 'Bad handler');
  const exported = await loadModule(taskDirectory, folder, fileAndExport.slice(0, dot));
  const handler = property(exported, fileAndExport.slice(dot + 1));
  if (handler === undefined || handler === null) {
    throw new RuntimeFailure('Runtime.HandlerNotFound', `${handlerName} is undefined or not exported`);
  }
  if (typeof handler !== 'function')
    throw new RuntimeFailure('Runtime.HandlerNotFound', `${handlerName} is not a function`);
  return handler as Handler;
}

function property(exported: unknown, path: string): unknown {
  let value = exported;
  for (const name of path.split('.')) value = (value as Record<string, unknown> | null | undefined)?.[name];
  return value;
}

async function loadModule(taskDirectory: string, folder: string, name: string): Promise<unknown> {
  const path = resolve(taskDirectory, folder, name);
  const require = createRequire(join(taskDirectory, 'noop.js'));
  try {
    if (existsSync(`${path}.js`))
      return isEsModuleScope(dirname(path))
        ? await importFile(`${path}.js`)
        : (require(`${path}.js`) as unknown);
    if (existsSync(`${path}.mjs`)) return await importFile(`${path}.mjs`);
    if (existsSync(`${path}.cjs`)) return require(`${path}.cjs`) as unknown;
    // A folder with an index, a file without extension, or a package of a layer: Node's own resolution decides.
    return require(
      require.resolve(existsSync(path) ? path : `./${join(folder, name)}`, { paths: [taskDirectory] }),
    ) as unknown;
  } catch (thrown) {
    if (thrown instanceof SyntaxError)
      throw new RuntimeFailure('Runtime.UserCodeSyntaxError', String(thrown), thrown);
    if ((thrown as { code?: unknown } | null)?.code === 'MODULE_NOT_FOUND') {
      throw new RuntimeFailure('Runtime.ImportModuleError', String(thrown), thrown);
    }
    throw thrown;
  }
}

function importFile(path: string): Promise<unknown> {
  return import(pathToFileURL(path).href) as Promise<unknown>;
}

/** The nearest package.json up to the file system's root says `"type": "module"`. */
function isEsModuleScope(directory: string): boolean {
  for (let folder = directory; ; folder = dirname(folder)) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest)) {
      try {
        return (parseJson(readFileSync(manifest, 'utf8')) as { type?: unknown } | null)?.type === 'module';
      } catch {
        return false;
      }
    }
    if (folder === dirname(folder)) return false;
  }
}
