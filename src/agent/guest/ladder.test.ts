import { expect, test } from 'vitest';
import { climb, type Rung } from './ladder.ts';

/** Rungs that bring so much, and say when they were climbed. */
function scene(haveBytes: number, brings: readonly (readonly [Rung['step'], number])[]) {
  const climbed: string[] = [];
  let have = haveBytes;
  const rungs = brings.map(([step, bytes]): Rung => ({
    step,
    climb: async () => {
      climbed.push(step);
      if (bytes < 0) throw new Error('it can not be done');
      have += bytes;
    },
  }));
  const run = (wantedBytes: number) =>
    climb({ wantedBytes, rungs, claimable: async () => have, nowMs: () => 0 });
  return { climbed, run };
}

test('what is free is enough: nothing is touched', async () => {
  const { climbed, run } = scene(100, [['heaps', 50]]);
  expect(await run(100)).toEqual({ claimableBytes: 100, steps: [] });
  expect(climbed).toEqual([]);
});

test('it stops as soon as there is enough, and says what each kind of step brought', async () => {
  const { climbed, run } = scene(10, [
    ['heaps', 20],
    ['heaps', 30],
    ['heaps', 40],
    ['cache', 50],
  ]);
  expect(await run(60)).toEqual({
    claimableBytes: 60,
    steps: [{ step: 'heaps', freedBytes: 50, durationMs: 0 }],
  });
  expect(climbed).toEqual(['heaps', 'heaps']);
});

test('with nothing left it answers what there is, never more', async () => {
  const { run } = scene(10, [
    ['heaps', 5],
    ['cache', 5],
  ]);
  expect((await run(1000)).claimableBytes).toBe(20);
});

test('a rung that fails has brought nothing, and the next is climbed', async () => {
  const { climbed, run } = scene(0, [
    ['heaps', -1],
    ['cache', 30],
  ]);
  expect(await run(30)).toMatchObject({ claimableBytes: 30 });
  expect(climbed).toEqual(['heaps', 'cache']);
});
