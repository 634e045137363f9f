import { expect, test } from 'vitest';
import { MemoryHolds } from './memory-holds.ts';

const group = ['tenants', 'acme', 'i-one'];

function makeHolds() {
  const written: boolean[] = [];
  return { written, holds: new MemoryHolds({ holdOutOfMemory: (_, held) => written.push(held) }) };
}

test('out-of-memory is held until the last who wants that does not any more', () => {
  const { written, holds } = makeHolds();
  holds.hold(group, 'shortfall');
  holds.hold(group, 'shrink');
  holds.release(group, 'shrink');
  expect(written.at(-1)).toBe(true);
  holds.hold(group, 'loan');
  holds.release(group, 'shortfall');
  expect(written.at(-1)).toBe(true);
  holds.release(group, 'loan');
  expect(written.at(-1)).toBe(false);
});

test('who holds twice holds once, and a group is held apart from another', () => {
  const { written, holds } = makeHolds();
  holds.hold(group, 'loan');
  holds.hold(group, 'loan');
  holds.hold(['tenants', 'acme', 'i-two'], 'shrink');
  holds.release(group, 'loan');
  expect(written.at(-1)).toBe(false);
});
