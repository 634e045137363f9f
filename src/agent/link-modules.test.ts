import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { linkModules } from './link-modules.ts';

function directory(files: Readonly<Record<string, string>>): string {
  const path = mkdtempSync(join(tmpdir(), 'link-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), content);
  }
  return path;
}

/** What the linked script prints. */
function run(files: Readonly<Record<string, string>>, entry: string): string {
  const root = directory(files);
  writeFileSync(join(root, 'linked.cjs'), linkModules(root, entry));
  const { stdout, stderr } = spawnSync(process.execPath, [join(root, 'linked.cjs')], { encoding: 'utf8' });
  expect(stderr).toBe('');
  return stdout;
}

test('a module and all that it imports run as one script, each once, without types', () => {
  const printed = run(
    {
      'a/main.ts': [
        `import process from 'node:process';`,
        `import type { T } from '../types.ts';`,
        `import {\n  b as renamed,\n  type Kind,\n  made,\n} from '../b.ts';`,
        `import { c, d } from './c.ts';`,
        `const kind: Kind = 'k';`,
        `process.stdout.write([renamed as T, made().n, c, d, kind].join(' '));`,
      ].join('\n'),
      'a/c.ts': `import { b } from '../b.ts';\nexport const { c, x: d } = { c: b + '!', x: 'x' };\n`,
      'b.ts': `console.log('b runs');\nexport type Kind = string;\nexport const b: string = 'b';\nclass Inner {\n  n = 1;\n}\nexport function made(): Inner {\n  return new Inner();\n}\n`,
      'types.ts': `console.log('never read');\nexport type T = string;`,
    },
    'a/main.ts',
  );
  expect(printed).toBe('b runs\nb 1 b! x k');
});

test('what is imported later runs later', () => {
  const printed = run(
    {
      'main.ts': `const late = (): Promise<{ l: string }> => import('./late.ts');\nconsole.log('first');\nvoid late().then(({ l }) => console.log(l));`,
      'late.ts': `console.log('late runs');\nexport const l: string = 'late';`,
    },
    'main.ts',
  );
  expect(printed).toBe('first\nlate runs\nlate\n');
});

test('compiled sources are linked alike', () => {
  const printed = run(
    {
      'main.js': `import { b } from "./b.js";\nconsole.log(b);\nexport {};`,
      'b.js': `export const b = 'b';\n`,
    },
    'main.js',
  );
  expect(printed).toBe('b\n');
});

test('user code finds no trace of the script in what `require` shows', () => {
  const printed = run(
    { 'main.ts': `console.log(process.mainModule, Object.keys(require.cache).length);` },
    'main.ts',
  );
  expect(printed).toBe('undefined 0\n');
});

test.each([
  ['a value that may change', 'export let n = 1;'],
  ['a default', 'export default 1;'],
  ['a list', 'const n = 1;\nexport { n };'],
  ['a whole module as one name', `import * as fs from 'node:fs';`],
])('%s is refused: the form is not known', (_, source) => {
  const root = directory({ 'main.ts': source });
  expect(() => linkModules(root, 'main.ts')).toThrow(SyntaxError);
});

test('modules that import each other are refused: one would find the other empty', () => {
  const root = directory({
    'a.ts': `import { b } from './b.ts';\nexport const a = () => b;`,
    'b.ts': `import { a } from './a.ts';\nexport const b = () => a;`,
  });
  expect(() => linkModules(root, 'a.ts')).toThrow('a.ts → b.ts → a.ts');
});
