import { expect, onTestFinished, test } from 'vitest';
import type { GroupPath, StandingMove } from './cgroup/port.ts';
import { MoveWarmth } from './move-warmth.ts';

/** Groups whose one process is moved again and again until it ends. */
class Groups {
  readonly opened: string[] = [];
  readonly moves = new Map<string, number>();
  readonly ended = new Set<string>();
  open = 0;

  standingMove(group: GroupPath): StandingMove | null {
    const name = group.join('/');
    if (this.ended.has(name)) return null;
    this.opened.push(name);
    this.open += 1;
    return {
      repeat: () => {
        if (this.ended.has(name)) return Promise.resolve(false);
        this.moves.set(name, (this.moves.get(name) ?? 0) + 1);
        return Promise.resolve(true);
      },
      close: () => void (this.open -= 1),
    };
  }
}

function warmthOf(
  groups: Groups,
  settled: () => GroupPath | undefined,
): { warmth: MoveWarmth; pass: (ms: number) => void } {
  let nowMs = 0;
  const warmth = new MoveWarmth({
    cgroup: groups,
    clock: { nowMs: () => nowMs, monotonicMs: () => nowMs },
    settledGroup: settled,
  });
  onTestFinished(() => warmth.close());
  return { warmth, pass: (ms) => void (nowMs += ms) };
}

test('after a start a process is moved to where it is until the time for others is over, and its group is opened once', async () => {
  const groups = new Groups();
  const { warmth, pass } = warmthOf(groups, () => ['a']);
  warmth.started();
  await expect.poll(() => groups.moves.get('a')).toBeGreaterThan(2);
  // One that starts meanwhile begins nothing anew.
  warmth.started();
  const before = groups.moves.get('a') ?? 0;
  await expect.poll(() => groups.moves.get('a')).toBeGreaterThan(before + 2);
  pass(10_000);
  await expect.poll(() => groups.open).toBe(0);
  expect(groups.opened).toEqual(['a']);
});

test('when that process ends another group takes its place, as soon as there is one', async () => {
  const groups = new Groups();
  let settled: GroupPath | undefined = ['a'];
  const { warmth } = warmthOf(groups, () => settled);
  warmth.started();
  await expect.poll(() => groups.moves.get('a')).toBeGreaterThan(0);
  groups.ended.add('a');
  await expect.poll(() => groups.open).toBe(0);
  settled = ['b'];
  await expect.poll(() => groups.moves.get('b')).toBeGreaterThan(0);
  expect(groups.opened).toEqual(['a', 'b']);
  expect(groups.open).toBe(1);
});

test('a group that can not be opened costs nobody anything, and is tried again', async () => {
  const groups = new Groups();
  let tries = 0;
  const warmth = new MoveWarmth({
    cgroup: {
      standingMove: (group) => {
        tries += 1;
        if (tries < 3) throw new Error('too many open files');
        return groups.standingMove(group);
      },
    },
    clock: { nowMs: () => 0, monotonicMs: () => 0 },
    settledGroup: () => ['a'],
  });
  onTestFinished(() => warmth.close());
  warmth.started();
  await expect.poll(() => groups.moves.get('a')).toBeGreaterThan(0);
});
