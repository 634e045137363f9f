// What every Store must do, as tests: each implementation's test file runs this. Owns no storage.
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Store, StoreEvent } from './port.ts';

/** A place of its own for one test, that can be opened again with what was written. */
export interface StorePlace {
  open(): Promise<Store>;
  remove(): Promise<void>;
}

export function storeContract(name: string, makePlace: () => Promise<StorePlace>): void {
  describe(`store contract: ${name}`, () => {
    let place: StorePlace;
    let store: Store;

    beforeEach(async () => {
      place = await makePlace();
      store = await place.open();
    });

    afterEach(async () => {
      await store.close();
      await place.remove();
    });

    async function reopen(): Promise<void> {
      await store.close();
      store = await place.open();
    }

    const keysOf = (entries: readonly { readonly key: string }[]): string[] => entries.map(({ key }) => key);

    test.each([
      ['a string', 'text with "quotes", ünïcödé, 🫁 and \0'],
      ['a number', -12.5],
      ['null', null],
      ['false', false],
      ['nested', { list: [1, { deep: ['x', null] }], empty: {}, 'odd key': '' }],
    ])('what was put is read back: %s', async (_, value) => {
      const revision = await store.put('a/b', value);
      expect(await store.get('a/b')).toEqual({ key: 'a/b', value, revision });
      await reopen();
      expect(await store.get('a/b')).toEqual({ key: 'a/b', value, revision });
    });

    test('what was read is nobody else’s object', async () => {
      const value = { count: 1 };
      await store.put('k', value);
      value.count = 2;
      const read = await store.get<{ count: number }>('k');
      expect(read?.value.count).toBe(1);
      if (read !== undefined) read.value.count = 3;
      expect((await store.get<{ count: number }>('k'))?.value.count).toBe(1);
    });

    test('a key that was never put, or was removed, is not there', async () => {
      expect(await store.get('k')).toBeUndefined();
      expect(await store.delete('k')).toBe(false);
      await store.put('k', 1);
      expect(await store.delete('k')).toBe(true);
      expect(await store.get('k')).toBeUndefined();
      expect(await store.delete('k')).toBe(false);
    });

    test('every write has a greater revision than all before, also after removing and reopening', async () => {
      const first = await store.put('a', 1);
      const second = await store.put('b', 1);
      const third = await store.put('a', 2);
      expect(first).toBeGreaterThan(0);
      expect([second > first, third > second]).toEqual([true, true]);
      await store.delete('a');
      await store.delete('b');
      await reopen();
      expect(await store.put('a', 3)).toBeGreaterThan(third);
    });

    test('compare-and-set writes only at the expected revision', async () => {
      const created = await store.put('k', 'first', { expect: 0 });
      const conflict = expect.objectContaining({ code: 'Conflict' });
      await expect(store.put('k', 'again', { expect: 0 })).rejects.toThrow(conflict);
      const updated = await store.put('k', 'second', { expect: created });
      await expect(store.put('k', 'stale', { expect: created })).rejects.toThrow(conflict);
      await expect(store.delete('k', { expect: created })).rejects.toThrow(conflict);
      await expect(store.delete('other', { expect: updated })).rejects.toThrow(conflict);
      expect(await store.get('k')).toEqual({ key: 'k', value: 'second', revision: updated });
      expect(await store.delete('k', { expect: updated })).toBe(true);
      expect(await store.put('k', 'anew', { expect: 0 })).toBeGreaterThan(updated);
    });

    test('of many who compare and set at once, one wins each round and no increment is lost', async () => {
      await store.put('counter', 0);
      const incrementOnce = async (): Promise<void> => {
        for (;;) {
          const entry = await store.get<number>('counter');
          if (entry === undefined) throw new Error('the counter is gone');
          try {
            await store.put('counter', entry.value + 1, { expect: entry.revision });
            return;
          } catch (thrown) {
            expect(thrown).toMatchObject({ code: 'Conflict' });
          }
        }
      };
      await Promise.all(Array.from({ length: 20 }, incrementOnce));
      expect((await store.get('counter'))?.value).toBe(20);
    });

    test('a list has the keys with the prefix, in order, and no others', async () => {
      for (const key of [
        'w/b/2',
        'w/b/10',
        'w/a',
        'w',
        'w/',
        'w0',
        'w.',
        'v/z',
        'W/a',
        'w/b',
        'w/~',
        'w/%',
        'w/_',
      ]) {
        await store.put(key, key);
      }
      expect(keysOf(await store.list('w/'))).toEqual([
        'w/',
        'w/%',
        'w/_',
        'w/a',
        'w/b',
        'w/b/10',
        'w/b/2',
        'w/~',
      ]);
      expect(keysOf(await store.list('w/b/'))).toEqual(['w/b/10', 'w/b/2']);
      expect(await store.list('x')).toEqual([]);
      expect(keysOf(await store.list(''))).toHaveLength(13);
    });

    test('a list is read in pages without gaps or doubles', async () => {
      const keys = Array.from({ length: 25 }, (_, index) => `p/${String(index).padStart(2, '0')}`);
      for (const key of keys.toReversed()) await store.put(key, null);
      await store.put('q/00', null);
      const read: string[] = [];
      for (;;) {
        const after = read.at(-1);
        const page = await store.list('p/', after === undefined ? { limit: 10 } : { after, limit: 10 });
        read.push(...keysOf(page));
        if (page.length < 10) break;
      }
      expect(read).toEqual(keys);
      expect(keysOf(await store.list('p/', { after: 'a', limit: 1 }))).toEqual(['p/00']);
      expect(await store.list('p/', { after: 'p/24' })).toEqual([]);
      expect(await store.list('p/', { limit: 0 })).toEqual([]);
    });

    test.each(['', 'with space', 'line\nbreak', 'nul\0', 'ü', 'x'.repeat(513)])(
      'the key %j is refused',
      async (key) => {
        await expect(store.put(key, 1)).rejects.toThrow(TypeError);
        expect(await store.list('')).toEqual([]);
      },
    );

    test('a value that is no JSON is refused and writes nothing', async () => {
      await expect(store.put('k', undefined)).rejects.toThrow(TypeError);
      expect(await store.get('k')).toBeUndefined();
    });

    async function take(events: AsyncIterable<StoreEvent>, count: number): Promise<StoreEvent[]> {
      const taken: StoreEvent[] = [];
      for await (const event of events) {
        taken.push(event);
        if (taken.length === count) break;
      }
      return taken;
    }

    test('a watch has every change from its call on, in order, of its prefix only', async () => {
      await store.put('w/before', 0);
      const events = store.watch('w/', new AbortController().signal);
      const a = await store.put('w/a', { n: 1 });
      await store.put('other', 0);
      const b = await store.put('w/b', 2);
      await expect(store.put('w/b', 3, { expect: a })).rejects.toThrow();
      await store.delete('w/a');
      await store.delete('w/absent');
      const seen = take(events, 4);
      const c = await store.put('w/c', 4);
      expect(await seen).toEqual([
        { type: 'put', entry: { key: 'w/a', value: { n: 1 }, revision: a } },
        { type: 'put', entry: { key: 'w/b', value: 2, revision: b } },
        { type: 'delete', key: 'w/a', revision: c - 1 },
        { type: 'put', entry: { key: 'w/c', value: 4, revision: c } },
      ]);
    });

    test('a watch ends when its signal aborts, when the store closes, and at once when it was aborted before', async () => {
      const controller = new AbortController();
      const aborted = take(store.watch('', controller.signal), 1);
      const closed = take(store.watch('', new AbortController().signal), 1);
      controller.abort();
      expect(await aborted).toEqual([]);
      expect(await take(store.watch('', controller.signal), 1)).toEqual([]);
      await store.close();
      expect(await closed).toEqual([]);
    });

    test('a watcher that does not keep up is told so, and holds nobody up', async () => {
      const slow = store.watch('k', new AbortController().signal)[Symbol.asyncIterator]();
      const quick = store.watch('k', new AbortController().signal)[Symbol.asyncIterator]();
      let quickSaw = 0;
      for (let count = 0; count < 10_001; count += 1) {
        await store.put('k', count);
        if ((await quick.next()).done !== true) quickSaw += 1;
      }
      expect(quickSaw).toBe(10_001);
      await expect(slow.next()).rejects.toThrow(expect.objectContaining({ code: 'Unavailable' }));
      expect(await slow.next()).toEqual({ done: true, value: undefined });
    }, 60_000);

    test('a blob is found by its SHA-256, stored once, and gone when it is removed', async () => {
      const bytes = Buffer.from('some code');
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      expect(await store.putBlob(bytes)).toBe(sha256);
      expect(await store.putBlob(bytes)).toBe(sha256);
      const empty = await store.putBlob(new Uint8Array());
      expect(await store.listBlobs()).toEqual([sha256, empty].sort());
      await reopen();
      expect(await store.getBlob(sha256)).toEqual(bytes);
      expect((await store.getBlob(empty))?.length).toBe(0);
      await store.deleteBlob(sha256);
      await store.deleteBlob(sha256);
      expect(await store.getBlob(sha256)).toBeUndefined();
      expect(await store.listBlobs()).toEqual([empty]);
    });

    test('the same blob may be stored by many at once', async () => {
      const bytes = Buffer.alloc(1_000_000, 'x');
      const names = new Set(await Promise.all(Array.from({ length: 8 }, () => store.putBlob(bytes))));
      expect(names.size).toBe(1);
      expect(await store.listBlobs()).toEqual([...names]);
      expect(await store.getBlob([...names][0] ?? '')).toEqual(bytes);
    });

    test.each(['', '../entries', '../../etc/passwd', 'A'.repeat(64), 'a'.repeat(63)])(
      '%j names no blob',
      async (sha256) => {
        expect(await store.getBlob(sha256)).toBeUndefined();
        await store.deleteBlob(sha256);
      },
    );

    test('a closed store says so, and may be closed again', async () => {
      await store.close();
      await store.close();
      const unavailable = expect.objectContaining({ code: 'Unavailable' });
      await expect(store.get('k')).rejects.toThrow(unavailable);
      await expect(store.put('k', 1)).rejects.toThrow(unavailable);
      await expect(store.putBlob(new Uint8Array(1))).rejects.toThrow(unavailable);
    });
  });
}
