import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { WorkloadKey } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import { openSqliteStore } from '../../store/sqlite/sqlite-store.ts';
import type { Store } from '../../store/port.ts';
import { createLogger } from '../../sys/log.ts';
import type { WorkloadRecord } from '../state/records.ts';
import { Memories } from './memories.ts';

const minute = 60_000;
const shop = 'acme/shop' as WorkloadKey;
const other = 'acme/other' as WorkloadKey;

let directory: string;
let store: Store;
let nowMs: number;
let deployed: Set<WorkloadKey>;
let writes: string[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bellows-memories-'));
  store = await openSqliteStore({
    databasePath: join(directory, 'db'),
    blobDirectory: join(directory, 'blobs'),
  });
  nowMs = 1_000 * minute;
  deployed = new Set([shop, other]);
  writes = [];
});
afterEach(async () => {
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

function memories(): Memories {
  const record = (key: WorkloadKey) =>
    deployed.has(key) ? ({ current: null, candidate: null } satisfies WorkloadRecord) : undefined;
  const counted = new Proxy(store, {
    get: (target, name) => {
      if (name === 'put')
        return (key: string, value: unknown) => {
          writes.push(key);
          return target.put(key, value);
        };
      const value = target[name as keyof Store];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return new Memories({
    store: counted,
    desired: { record },
    clock: { nowMs: () => nowMs, monotonicMs: () => nowMs },
    log: createLogger('controller', 'silent'),
  });
}

/** An hour of calls every two and a half minutes, each with its peak of memory. */
function live(known: Memories, key: WorkloadKey): void {
  for (let round = 0; round < 24; round += 1) {
    const memory = known.change(key);
    memory?.prediction.observe('memory', 80 * mib, nowMs);
    memory?.arrivals.called(0, nowMs);
    memory?.arrivals.ended(nowMs);
    nowMs += 2.5 * minute;
  }
}

const written = (known: Memories): Promise<void> => known.close();

test('what is known outlives the controller', async () => {
  const before = memories();
  live(before, shop);
  await before.close();
  const after = memories();
  await after.load();
  const [was, is] = [before.find(shop), after.find(shop)];
  expect(is?.arrivals.windows(1, nowMs)).toEqual(was?.arrivals.windows(1, nowMs));
  expect(is?.arrivals.windows(1, nowMs).from).toBe('histogram');
  expect(is?.prediction.predict('memory', 512 * mib, nowMs)).toBe(
    was?.prediction.predict('memory', 512 * mib, nowMs),
  );
  expect(is?.knownSinceMs).toBe(was?.knownSinceMs);
  expect(after.find(other)).toBeUndefined();
});

test('each is written once a minute at most, and not at all when nothing changed', async () => {
  const known = memories();
  for (let second = 0; second < 150; second += 1) {
    known.change(shop)?.prediction.observe('cpu', second, nowMs);
    known.tick();
    // A tick while the last one writes leaves it to the next.
    await new Promise((resolve) => setImmediate(resolve));
    nowMs += 1_000;
  }
  expect(writes.length).toBeGreaterThanOrEqual(1);
  expect(writes.length).toBeLessThanOrEqual(2);
  await written(known);
  const count = writes.length;
  nowMs += 10 * minute;
  known.tick();
  await written(known);
  expect(writes.length).toBe(count);
});

test('a workload that is removed takes its memory with it', async () => {
  const known = memories();
  live(known, shop);
  live(known, other);
  await written(known);
  deployed.delete(shop);
  known.tick();
  await written(known);
  expect((await store.list('memory/')).map(({ key }) => key)).toEqual(['memory/acme/other']);
  expect(known.find(shop)).toBeUndefined();
  expect(known.change(shop)).toBeUndefined();
});

test('what can not be read, or is of nobody, is forgotten and stops nobody', async () => {
  await store.put('memory/acme/shop', { version: 1, peaks: 'none' });
  await store.put('memory/acme/gone', {});
  const known = memories();
  await known.load();
  expect(known.find(shop)).toBeUndefined();
  expect(await store.list('memory/')).toEqual([]);
});
