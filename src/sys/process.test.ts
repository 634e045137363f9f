import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { childrenOf, identify, isAlive, parseStat, sendSignal } from './process.ts';

function start(command: string, args: string[]): ChildProcess & { pid: number } {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  if (child.pid === undefined) throw new Error(`${command} did not start`);
  return child as ChildProcess & { pid: number };
}

function identityOf(pid: number): { pid: number; startTicks: number } {
  const identity = identify(pid);
  if (identity === undefined) throw new Error(`${pid} does not run`);
  return identity;
}

test('a running process has an identity that stays the same', () => {
  const identity = identityOf(process.pid);
  expect(identity).toEqual(identify(process.pid));
  expect(isAlive(identity)).toBe(true);
});

test('the identity of a process ends with it', async () => {
  const child = start('sleep', ['60']);
  const identity = identityOf(child.pid);
  expect(sendSignal(identity, 'SIGTERM')).toBe('sent');
  const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
  expect(signal).toBe('SIGTERM');
  expect(isAlive(identity)).toBe(false);
  expect(sendSignal(identity, 'SIGTERM')).toBe('gone');
});

test('a signal does not reach another process with the same number', () => {
  const child = start('sleep', ['60']);
  const identity = identityOf(child.pid);
  const earlier = { ...identity, startTicks: identity.startTicks - 1 };
  expect(isAlive(earlier)).toBe(false);
  expect(sendSignal(earlier, 'SIGKILL')).toBe('gone');
  expect(isAlive(identity)).toBe(true);
});

test.each([0, -1, 2 ** 22 + 1, Number.NaN])(
  'the number %d is nobody, so no signal goes to a group or to all',
  (pid) => {
    expect(identify(pid)).toBeUndefined();
    expect(sendSignal({ pid, startTicks: 0 }, 'SIGTERM')).toBe('gone');
  },
);

test('a process that ended without being waited for is not alive', async () => {
  // The shell becomes a sleep, which never waits for the child the shell had started.
  const parent = start('sh', ['-c', 'exec 3<&0; sh -c "read line" <&3 & echo $!; exec sleep 60']);
  const [output] = (await once(parent.stdout as NonNullable<typeof parent.stdout>, 'data')) as [Buffer];
  const identity = identityOf(Number(output.toString()));
  parent.stdin?.end('\n');
  await expect.poll(() => isAlive(identity)).toBe(false);
  expect(readFileSync(`/proc/${identity.pid}/stat`, 'utf8')).toContain(') Z ');
  expect(sendSignal(identity, 'SIGTERM')).toBe('gone');
  expect(childrenOf(parent.pid)).toEqual([]);
});

test('children are listed with their identities, grandchildren are not', async () => {
  const child = start('sh', ['-c', 'sleep 60 & echo $!; wait']);
  const [output] = (await once(child.stdout as NonNullable<typeof child.stdout>, 'data')) as [Buffer];
  const grandchild = identityOf(Number(output.toString()));
  onTestFinished(() => void sendSignal(grandchild, 'SIGKILL'));
  expect(childrenOf(process.pid)).toContainEqual(identityOf(child.pid));
  expect(childrenOf(process.pid)).not.toContainEqual(grandchild);
  expect(childrenOf(child.pid)).toEqual([grandchild]);
  expect(childrenOf(2 ** 22 + 1)).toEqual([]);
});

const tail = (state: string, threads: number): string =>
  `${state} 17 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 ${threads} 0 98765 1000 1 1844\n`;

test.each(['sleep', 'a b', 'a) R 1 (b', ') Z 1 1 1', '', 'line\nbreak) S 1'])(
  'the program name %j does not confuse',
  (name) => {
    expect(parseStat(`42 (${name}) ${tail('S', 1)}`)).toEqual({
      parentPid: 17,
      session: 1,
      startTicks: 98765,
      ended: false,
    });
  },
);

test('a process whose main thread ended before the others runs', () => {
  expect(parseStat(`42 (x) ${tail('Z', 3)}`).ended).toBe(false);
  expect(parseStat(`42 (x) ${tail('Z', 1)}`).ended).toBe(true);
  expect(parseStat(`42 (x) ${tail('X', 0)}`).ended).toBe(true);
});

test('something else than a stat line is refused', () => {
  expect(() => parseStat('')).toThrow('unexpected format');
});
