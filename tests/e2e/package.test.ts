// The package that `npm pack` makes works where it is installed: its command starts, deploys and answers.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { eventually, freePort, projectRoot } from '../support/bellows.ts';

test(
  'npm pack, installed elsewhere: `bellows up`, `bellows deploy`, `bellows invoke`',
  { timeout: 180_000 },
  async () => {
    const place = mkdtempSync(join(tmpdir(), 'bellows-package-'));
    const port = await freePort();
    const data = join(place, 'data');
    try {
      execFileSync('npm', ['pack', '--silent', '--pack-destination', place], { cwd: projectRoot });
      const tarball = readdirSync(place).find((name) => name.endsWith('.tgz'))!;
      writeFileSync(join(place, 'package.json'), '{"private":true}');
      execFileSync('npm', ['install', '--silent', '--no-audit', '--no-fund', join(place, tarball)], {
        cwd: place,
      });
      const command = join(place, 'node_modules', '.bin', 'bellows');
      const run = (...args: string[]): string =>
        execFileSync(command, args, {
          cwd: place,
          encoding: 'utf8',
          env: { ...process.env, BELLOWS_DATA: data },
        });
      expect(run('--version').trim()).toMatch(/^\d+\.\d+\.\d+/);

      const up = spawn(command, ['up', '--port', String(port), '--data', data, '--no-examples'], {
        cwd: place,
        stdio: 'ignore',
      });
      try {
        await eventually(
          async () =>
            ((await (await fetch(`http://127.0.0.1:${port}/healthz`)).json()) as { status: string })
              .status === 'ok',
          {
            timeoutMs: 60_000,
            what: () => 'the installed bellows to be healthy',
          },
        );
        const code = join(place, 'greeter');
        mkdirSync(code);
        writeFileSync(
          join(code, 'index.mjs'),
          'export const handler = async (event) => `hello ${event.name}`;',
        );
        writeFileSync(join(code, 'bellows.json'), '{"kind":"function","handler":"index.handler"}');
        run('deploy', code);
        expect(run('invoke', 'greeter', '--data', '{"name":"Ada"}')).toContain('hello Ada');
      } finally {
        const ended = new Promise((resolve) => up.once('exit', resolve));
        up.kill('SIGTERM');
        await ended;
      }
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  },
);
