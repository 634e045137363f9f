import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mib } from '../../../base/quantity.ts';
import { kernelHead } from './kernel-head.ts';

describe('the kernel of a machine that never boots', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'bellows-kernel-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const kernelWith = (signature: string): string => {
    const content = Buffer.alloc(2 * mib, 7);
    content.write(signature, 0x202, 'latin1');
    const path = join(directory, 'vmlinuz');
    writeFileSync(path, content);
    return path;
  };

  test('is its beginning, with all that comes before the code', () => {
    const kernel = kernelWith('HdrS');
    const head = readFileSync(kernelHead(kernel, directory));
    expect(head.length).toBeLessThan(mib / 4);
    expect(head.length).toBeGreaterThan(256 * 512);
    expect(readFileSync(kernel).subarray(0, head.length).equals(head)).toBe(true);
  });

  test('is the whole of one in another format', () => {
    const kernel = kernelWith('ELF?');
    expect(kernelHead(kernel, directory)).toBe(kernel);
  });

  test('is never written through a link that was left in its place', () => {
    const target = join(directory, 'target');
    writeFileSync(target, 'untouched');
    symlinkSync(target, join(directory, 'kernel'));
    const head = kernelHead(kernelWith('HdrS'), directory);
    expect(readFileSync(target, 'utf8')).toBe('untouched');
    expect(statSync(head).size).toBeGreaterThan(256 * 512);
  });
});
