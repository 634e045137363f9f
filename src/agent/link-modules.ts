// Makes one CommonJS script of an ES module of ours and all that it imports, types removed. Node reads and runs that in
// 3 ms, where it takes 12 for the same as some twenty ES modules, and every cold start waits for it.
// Owns the form of the script. Where it is kept is stage-runtime.ts. Pure but for reading the sources.
//
// Each module becomes a function that runs once, when it is first imported, and returns what it exports. This is no
// bundler for any code: it knows the forms of import and export that the runtime is written in. What it does not know
// it leaves, and that is no script any more: it is refused here, not in an instance.
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { Script } from 'node:vm';

/** `import name from 'node:…'`, which is the whole module, or `import { a, b as c } from '…'`. */
const staticImport = /^import\s+(?:(\w+)|\{([^}]*)\})\s+from\s+(['"])([^'"]+)\3;?/gm;
const dynamicImport = /\bimport\((['"])(\.[^'"]+)\1\)/g;
/** Nothing that changes later is exported: who imports it would see the first value for ever. */
const exported = /^export\s+(async function|function|class|const)\s+(?:(\w+)|\{([^}]*)\})/gm;
/** TypeScript writes it where only types were exported. */
const emptyExport = /^export\s*\{\s*\};?/gm;

/** As an ES module would be: user code finds neither it as its `require.main`, nor its functions in the cache. */
const prologue = `'use strict';
process.mainModule = undefined;
delete require.cache[__filename];
const once = (run) => {
  let made;
  return () => (made ??= run());
};
`;

/** @param root what `entry` and the names in the script are relative to @throws Error when a source has a form that is not known */
export function linkModules(root: string, entry: string): string {
  const functions = new Map<string, string>();
  const open: string[] = [];

  const add = (module: string): string => {
    const name = nameOf(module);
    if (functions.has(name)) return name;
    if (open.includes(module)) throw new Error(`modules import each other: ${[...open, module].join(' → ')}`);
    open.push(module);
    const source = readFileSync(join(root, module), 'utf8');
    const code = module.endsWith('.ts') ? stripTypeScriptTypes(source) : source;
    const ending = module.slice(-'.ts'.length);
    const folder = dirname(module);
    const target = (path: string): string =>
      add(relative(root, resolve(root, folder, path.replace(/\.(?:ts|js)$/, ending))));
    const names: string[] = [];
    const body = code
      .replace(
        staticImport,
        (_, whole: string | undefined, parts: string | undefined, _quote, from: string) => {
          const value = from.startsWith('.') ? `${target(from)}()` : `require('${from}')`;
          return `const ${whole ?? `{${(parts ?? '').replaceAll(' as ', ': ')}}`} = ${value};`;
        },
      )
      .replace(dynamicImport, (_, _quote, from: string) => `(async () => ${target(from)}())()`)
      .replace(exported, (text, _kind, single: string | undefined, several: string | undefined) => {
        names.push(...(single === undefined ? boundNames(several ?? '') : [single]));
        return text.replace(/^export\s+/, '');
      })
      .replace(emptyExport, '');
    open.pop();
    functions.set(name, `const ${name} = once(() => {\n${body}\nreturn { ${names.join(', ')} };\n});\n`);
    return name;
  };

  const first = add(entry);
  const script = `${prologue}${[...functions.values()].join('')}${first}();\n`;
  // As Node wraps it. Refuses what is left of ES modules' syntax.
  new Script(`(function (exports, require, module, __filename, __dirname) {${script}\n})`, {
    filename: entry,
  });
  return script;
}

/** An identifier that tells which module it is, in a stack trace too. */
function nameOf(module: string): string {
  return `module_${module.replace(/\.(?:ts|js)$/, '').replaceAll(/\W/g, '_')}`;
}

/** The names that a destructuring pattern without defaults makes: `{ a, b: c }` makes a and c. */
function boundNames(pattern: string): string[] {
  return pattern
    .split(',')
    .map((part) => (part.split(':').at(-1) ?? '').trim())
    .filter((name) => name !== '');
}
