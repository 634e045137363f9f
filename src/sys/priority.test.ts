import { spawnSync } from 'node:child_process';
import { getPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { mayRaisePriority, raisedNiceness } from './priority.ts';

const fixture = fileURLToPath(new URL('fixtures/raised.ts', import.meta.url));

interface Seen {
  readonly raised: boolean;
  readonly before: number;
  readonly after: number;
  readonly child: number;
  readonly thread: number;
}

/** @param start what starts a program with other rights or another priority */
function run(...start: readonly string[]): Seen {
  const [program, ...args] = [...start, process.execPath, '--disable-warning=ExperimentalWarning', fixture];
  const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as Seen;
}

test.runIf(mayRaisePriority())('who may have more has it, and what it starts has not', () => {
  expect(run()).toEqual({ raised: true, before: 0, after: raisedNiceness, child: 0, thread: 0 });
});

test('who was started with less than others keeps that', () => {
  const seen = run('nice', '-n', '7');
  expect(seen).toEqual({ raised: false, before: 7, after: 7, child: 7, thread: 7 });
});

test.runIf(process.getuid?.() === 0)('without the right nothing fails and nothing is more', () => {
  const seen = run('setpriv', '--bounding-set=-sys_nice', '--inh-caps=-sys_nice');
  expect(seen).toEqual({ raised: false, before: 0, after: 0, child: 0, thread: 0 });
});

test('asking whether it is allowed changes nothing', () => {
  const before = getPriority();
  mayRaisePriority();
  expect(getPriority()).toBe(before);
});
