// A copy of this checkout's program, whose code a test may change while it runs. Owns the copy.
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from './bellows.ts';

export class Checkout {
  readonly root = mkdtempSync(join(tmpdir(), 'bellows-code-'));

  constructor() {
    for (const name of ['src', 'bin', 'package.json'])
      cpSync(join(projectRoot, name), join(this.root, name), { recursive: true });
    symlinkSync(join(projectRoot, 'node_modules'), join(this.root, 'node_modules'));
  }

  /** Makes `to` of `from` in the original of a file. @throws when it does not say `from` */
  change(path: string, from: string, to: string): void {
    const original = readFileSync(join(projectRoot, path), 'utf8');
    if (!original.includes(from)) throw new Error(`${path} does not say ${from}`);
    writeFileSync(
      join(this.root, path),
      original.replace(from, () => to),
    );
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
