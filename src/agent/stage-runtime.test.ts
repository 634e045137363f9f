import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { collect, removeStaleRuntimes, stageRuntime } from './stage-runtime.ts';

function directory(files: Readonly<Record<string, string>> = {}): string {
  const path = mkdtempSync(join(tmpdir(), 'stage-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), content);
  }
  return path;
}

test('a module is taken with all that it imports at run time, as plain JavaScript', () => {
  const root = directory({
    'a/main.ts': `import type { T } from '../types.ts';\nimport { b } from '../b.ts';\nexport const late = (): Promise<unknown> => import('./late.ts');\nconsole.log(b as T);`,
    'a/late.ts': 'export const x: number = 1;',
    'b.ts': 'export const b: string = "b";',
    'types.ts': 'export type T = string;',
  });
  const files = new Map(collect(root, 'a/main.ts'));
  expect([...files.keys()]).toEqual(['a/late.js', 'a/main.js', 'b.js', 'package.json']);
  expect(files.get('a/main.js')).toContain(`from '../b.js'`);
  expect(files.get('a/main.js')).toContain(`import('./late.js')`);
  expect(files.get('b.js')).not.toContain(': string');
});

test('what is staged runs without types, once for each content', () => {
  const target = directory();
  const staged = stageRuntime(target);
  expect(stageRuntime(target)).toBe(staged);
  for (const name of readdirSync(join(staged, 'runtime/node'))) {
    const check = spawnSync(process.execPath, ['--check', join(staged, 'runtime/node', name)], {
      encoding: 'utf8',
    });
    expect([name, check.stderr]).toEqual([name, '']);
  }
});

test('what nobody uses any more is removed', () => {
  const target = directory({ 'old/x': '', 'used/x': '', 'half.1.tmp/x': '' });
  removeStaleRuntimes(target, new Set([join(target, 'used')]));
  expect(readdirSync(target)).toEqual(['used']);
  expect(existsSync(join(target, 'used/x'))).toBe(true);
});
