import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { removeStaleRuntimes, stageRuntime } from './stage-runtime.ts';

function directory(files: Readonly<Record<string, string>> = {}): string {
  const path = mkdtempSync(join(tmpdir(), 'stage-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), content);
  }
  return path;
}

test('what is staged is plain JavaScript, made once for each content', () => {
  const target = directory();
  const staged = stageRuntime(target);
  expect(stageRuntime(target)).toBe(staged);
  const check = spawnSync(process.execPath, ['--check', join(staged, 'runtime/node/main.js')], {
    encoding: 'utf8',
  });
  expect(check.stderr).toBe('');
});

test('what nobody uses any more is removed', () => {
  const target = directory({ 'old/x': '', 'used/x': '', 'half.1.tmp/x': '' });
  removeStaleRuntimes(target, new Set([join(target, 'used')]));
  expect(readdirSync(target)).toEqual(['used']);
  expect(existsSync(join(target, 'used/x'))).toBe(true);
});
