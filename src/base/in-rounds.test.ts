import { expect, test } from 'vitest';
import { inRounds } from './in-rounds.ts';

test('all who ask at once share a round, and who asks while it runs has the next', async () => {
  const rounds: PromiseWithResolvers<void>[] = [];
  const done: string[] = [];
  const ask = inRounds(() => {
    const round = Promise.withResolvers<void>();
    rounds.push(round);
    return round.promise;
  });
  const first = Promise.all([ask(), ask()]).then(() => done.push('first'));
  await new Promise(setImmediate);
  expect(rounds).toHaveLength(1);
  const second = Promise.all([ask(), ask()]).then(() => done.push('second'));
  await new Promise(setImmediate);
  expect(rounds).toHaveLength(1);
  rounds[0]!.resolve();
  await first;
  await new Promise(setImmediate);
  expect([rounds.length, done]).toEqual([2, ['first']]);
  rounds[1]!.resolve();
  await second;
  expect(done).toEqual(['first', 'second']);
});
