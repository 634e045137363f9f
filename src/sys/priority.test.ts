import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { getPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { slicesMsOf } from '../../tests/support/kernel.ts';
import { letRunSooner, mayRaisePriority, raisedNiceness, type Part } from './priority.ts';

const fixture = fileURLToPath(new URL('fixtures/raised.ts', import.meta.url));

interface Seen {
  readonly raised: boolean;
  readonly before: number;
  readonly after: number;
  readonly child: number;
  readonly thread: number;
  /** Null where the kernel knows none. */
  readonly slice: number | null;
}

/** @param start what starts a program with other rights or another priority */
function run(start: readonly string[] = [], part: Part = 'carries'): Seen {
  const [program, ...args] = [
    ...start,
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    fixture,
    part,
  ];
  const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as Seen;
}

test.runIf(mayRaisePriority())('who may have more has it, and what it starts has not', () => {
  expect(run()).toMatchObject({ raised: true, before: 0, after: raisedNiceness, child: 0, thread: 0 });
});

test('who was started with less than others keeps that', () => {
  const seen = run(['nice', '-n', '7']);
  expect(seen).toMatchObject({ raised: false, before: 7, after: 7, child: 7, thread: 7 });
});

test.runIf(process.getuid?.() === 0)('without the right nothing fails and nothing is more', () => {
  const seen = run(['setpriv', '--bounding-set=-sys_nice', '--inh-caps=-sys_nice']);
  expect(seen).toMatchObject({ raised: false, before: 0, after: 0, child: 0, thread: 0 });
});

test.runIf(slicesMsOf(process.pid).length > 0)(
  'who carries messages is let in before who changes things behind them',
  () => {
    const [carries, changes] = [run([], 'carries'), run([], 'changes')];
    expect([carries.slice, changes.slice]).toEqual([0.1, 1]);
    // As much of the processor for both.
    expect(changes).toEqual({ ...carries, slice: 1 });
  },
);

test('asking whether it is allowed changes nothing', () => {
  const before = getPriority();
  mayRaisePriority();
  expect(getPriority()).toBe(before);
});

test.runIf(slicesMsOf(process.pid).length > 0)(
  'who is to run sooner does, with no more of the processor, and neither its child nor anybody else',
  async () => {
    const shell = spawn('sh', ['-c', 'read line; sleep 60 & echo $!; wait'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const pid = shell.pid ?? 0;
    const ordinary = slicesMsOf(pid);
    letRunSooner(pid);
    shell.stdin.write('go\n');
    const [said] = (await once(shell.stdout, 'data')) as [Buffer];
    const child = Number(said);
    onTestFinished(() => {
      process.kill(child);
      shell.kill();
    });
    expect([slicesMsOf(pid), getPriority(pid)]).toEqual([[0.1], 0]);
    expect([slicesMsOf(child), slicesMsOf(process.pid)[0]]).toEqual([ordinary, ordinary[0]]);
    expect(ordinary[0]).toBeGreaterThan(0.1);
  },
);

test('a process that is gone can not be let run sooner, and that is no error', async () => {
  const ended = spawn('true');
  await once(ended, 'exit');
  expect(() => letRunSooner(ended.pid ?? 0)).not.toThrow();
});
