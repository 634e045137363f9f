import { expect, test } from 'vitest';
import { GroupSync } from './group-sync.ts';

/** A disk that syncs when it is told to. */
function disk() {
  const begun: { end: () => void; fail: (error: Error) => void }[] = [];
  const sync = new GroupSync(
    () =>
      new Promise<void>((resolve, reject) => {
        begun.push({ end: resolve, fail: reject });
      }),
  );
  return { sync, begun };
}

const settled = async (promise: Promise<unknown>): Promise<boolean> => {
  const turn = new Promise((resolve) => setImmediate(() => resolve('turn')));
  const first = await Promise.race([promise.then(() => 'settled').catch(() => 'settled'), turn]);
  return first === 'settled';
};

test('a write is durable only after a sync that began after it', async () => {
  const { sync, begun } = disk();
  const first = sync.durable();
  const second = sync.durable();
  begun[0]?.end();
  await first;
  expect(await settled(second)).toBe(false);
  begun[1]?.end();
  await second;
});

test('all who come during a sync share the next one', async () => {
  const { sync, begun } = disk();
  const all = [sync.durable(), sync.durable(), sync.durable(), sync.durable()];
  begun[0]?.end();
  await all[0];
  await settled(Promise.resolve());
  begun[1]?.end();
  await Promise.all(all);
  expect(begun).toHaveLength(2);
});

test('one that comes when nothing is under way begins at once', async () => {
  const { sync, begun } = disk();
  for (const round of [0, 1]) {
    const durable = sync.durable();
    expect(begun).toHaveLength(round + 1);
    begun[round]?.end();
    await durable;
  }
});

test('after a sync that failed nothing is called durable any more', async () => {
  const { sync, begun } = disk();
  const first = sync.durable();
  const second = sync.durable();
  begun[0]?.fail(new Error('EIO'));
  const unavailable = expect.objectContaining({ code: 'Unavailable' });
  await expect(first).rejects.toThrow(unavailable);
  await expect(second).rejects.toThrow(unavailable);
  await expect(sync.durable()).rejects.toThrow(unavailable);
  expect(begun).toHaveLength(1);
  expect(sync.failure?.message).toMatch(/EIO/);
});

test('idle waits for all of it and never throws', async () => {
  const { sync, begun } = disk();
  const writes = [sync.durable(), sync.durable()].map((write) => write.catch(() => undefined));
  const idle = sync.idle();
  begun[0]?.fail(new Error('EIO'));
  await idle;
  await Promise.all(writes);
});
