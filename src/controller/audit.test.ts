// Events gather before they are written; none is lost to an orderly stop, and who reads meets all that was noted.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../base/clock.ts';
import type { Store } from '../store/port.ts';
import { openSqliteStore } from '../store/sqlite/sqlite-store.ts';
import { createLogger } from '../sys/log.ts';
import { AuditLog } from './audit.ts';

const log = createLogger('controller', 'silent');
let directory: string;
let store: Store;

const open = (): Promise<Store> =>
  openSqliteStore({ databasePath: join(directory, 'db'), blobDirectory: join(directory, 'blobs') });

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-audit-'));
  store = await open();
});
afterEach(async () => {
  await store.close();
  rmSync(directory, { recursive: true });
});

async function auditLog(): Promise<AuditLog> {
  const audit = new AuditLog(store, systemClock, log);
  await audit.load();
  return audit;
}

test('who reads meets what was noted just now', async () => {
  const audit = await auditLog();
  audit.note({ type: 'a', message: 'first' });
  audit.note({ type: 'b', message: 'second' });
  expect((await audit.since(0, 10)).map(({ sequence, type }) => [sequence, type])).toEqual([
    [1, 'a'],
    [2, 'b'],
  ]);
});

test('a flush leaves nothing unwritten, and numbers go on after it', async () => {
  const audit = await auditLog();
  for (let count = 0; count < 5; count += 1) audit.note({ type: 'x', message: `${count}` });
  await audit.flush();
  await store.close();
  store = await open();
  const next = await auditLog();
  expect(await next.since(0, 10)).toHaveLength(5);
  next.note({ type: 'y', message: 'after' });
  expect((await next.since(5, 10)).map(({ sequence }) => sequence)).toEqual([6]);
});

test('a subscriber is told in order, once, of what is noted after it came', async () => {
  const audit = await auditLog();
  audit.note({ type: 'before', message: '' });
  const told: string[] = [];
  const end = audit.subscribe(({ type }) => told.push(type));
  audit.note({ type: 'one', message: '' });
  await audit.flush();
  audit.note({ type: 'two', message: '' });
  await audit.flush();
  end();
  audit.note({ type: 'after', message: '' });
  await audit.flush();
  expect(told).toEqual(['one', 'two']);
});
