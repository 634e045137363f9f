import { expect, test } from 'vitest';
import { mib } from '../../base/quantity.ts';
import { ClaimNotes } from './claim-notes.ts';

test('many small moves are one note, when they have come far', () => {
  const notes = new ClaimNotes(0);
  const told = [16, 32, 48, 64, 80].map((claimed) => notes.moved(claimed * mib, 0));
  expect(told.filter((note) => note !== undefined)).toEqual([
    { what: 'claimed', beforeBytes: 0, afterBytes: 64 * mib, why: '' },
  ]);
});

test('what comes and goes with each call is told once in five minutes, and then with where it is', () => {
  const notes = new ClaimNotes(0);
  expect(notes.moved(900 * mib, 0)).toBeDefined();
  for (let second = 1; second < 300; second += 1)
    expect(notes.moved((second % 2 === 0 ? 900 : 500) * mib, second * 1000)).toBeUndefined();
  expect(notes.moved(500 * mib, 300_000)).toMatchObject({ what: 'released', beforeBytes: 900 * mib });
});

test('an emergency is always told', () => {
  const notes = new ClaimNotes(0);
  notes.moved(900 * mib, 0);
  expect(notes.caused(700 * mib, 0, 'memory is short inside', 1)).toEqual({
    what: 'released',
    beforeBytes: 700 * mib,
    afterBytes: 0,
    why: 'memory is short inside',
  });
});
