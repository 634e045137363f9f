import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { TenantId } from '../../base/ids.ts';
import { unlimited } from '../../model/tenant.ts';
import { openSqliteStore } from '../../store/sqlite/sqlite-store.ts';
import type { Store } from '../../store/port.ts';
import { DesiredState } from './desired.ts';
import { keys } from './records.ts';

const acme = 'acme' as TenantId;
let directory: string;
let store: Store;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bellows-desired-'));
  store = await openSqliteStore({
    databasePath: join(directory, 'bellows.db'),
    blobDirectory: join(directory, 'blobs'),
  });
});
afterEach(async () => {
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

test('a tenant that was stored before there was a limit has none of that kind, and what it had', async () => {
  const { requests: _later, ...earlier } = { ...unlimited, connections: 7 };
  await store.put(keys.tenant(acme), { id: acme, limits: earlier, credentials: { accessKeyId: 'AKIA' } });
  const desired = new DesiredState(store);
  await desired.load();
  expect(desired.requireTenant(acme).limits).toEqual({ ...unlimited, connections: 7 });
  expect((await store.get(keys.tenant(acme)))?.value).toMatchObject({
    limits: { requests: null, connections: 7 },
  });
});
