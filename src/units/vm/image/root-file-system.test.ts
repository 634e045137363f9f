import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { settleModes } from './root-file-system.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-root-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const modeOf = (path: string): number => statSync(path).mode & 0o7777;

describe("the root's modes", () => {
  it('let everybody read and run, and nobody become another user', () => {
    const root = join(directory, 'root');
    mkdirSync(join(root, 'secret'), { recursive: true });
    writeFileSync(join(root, 'secret/file'), '');
    writeFileSync(join(root, 'secret/su'), '');
    chmodSync(join(root, 'secret/file'), 0o600);
    chmodSync(join(root, 'secret/su'), 0o4711);
    chmodSync(join(root, 'secret'), 0o700);
    settleModes(root);
    expect(modeOf(join(root, 'secret'))).toBe(0o755);
    expect(modeOf(join(root, 'secret/file'))).toBe(0o644);
    expect(modeOf(join(root, 'secret/su'))).toBe(0o755);
  });

  it("are the root file system's alone: links out of it lead to nothing that is changed", () => {
    const outside = join(directory, 'outside');
    mkdirSync(outside, { mode: 0o700 });
    writeFileSync(join(outside, 'key'), '', { mode: 0o600 });
    const root = join(directory, 'root');
    mkdirSync(root);
    symlinkSync(outside, join(root, 'directory'));
    symlinkSync(join(outside, 'key'), join(root, 'file'));
    settleModes(root);
    expect(modeOf(outside)).toBe(0o700);
    expect(modeOf(join(outside, 'key'))).toBe(0o600);
  });
});
