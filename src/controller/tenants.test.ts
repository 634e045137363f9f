// Tenants seen from outside: their credentials, the file, and that nothing of one is given to another.
import { chmod, readFile, stat } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { defaultTenantId, parseTenantId } from '../base/ids.ts';
import { acme, app, Harness } from './testing/harness.ts';

let harness: Harness;

beforeEach(async () => {
  harness = await Harness.start();
});
afterEach(() => harness.close());

interface CredentialsFile {
  adminToken: string;
  tenants: Record<string, { accessKeyId: string; secretAccessKey: string }>;
}

async function credentials(): Promise<CredentialsFile> {
  return JSON.parse(await readFile(harness.started.layout.credentials, 'utf8')) as CredentialsFile;
}

test('the credentials file is readable by its owner only, holds every tenant, and survives a restart', async () => {
  const before = await credentials();
  expect((await stat(harness.started.layout.credentials)).mode & 0o777).toBe(0o600);
  expect(Object.keys(before.tenants).sort()).toEqual(['acme', 'default']);
  expect(before.adminToken).toBe(harness.started.adminToken);
  expect(before.tenants['default']).toEqual(harness.control.getTenant(defaultTenantId).credentials);
  await harness.restart();
  expect(await credentials()).toEqual(before);
  expect(harness.started.adminToken).toBe(before.adminToken);
});

test('a start leaves a credentials file that is right: it needs no room on a full disk; one that others can read is made anew', async () => {
  const path = harness.started.layout.credentials;
  const { ino } = await stat(path);
  await harness.restart();
  expect((await stat(path)).ino).toBe(ino);
  await chmod(path, 0o644);
  await harness.restart();
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test('keys look like those of AWS and find their tenant', () => {
  const { credentials: own } = harness.control.getTenant(acme);
  expect(own.accessKeyId).toMatch(/^AKIA[A-Z0-9]{16}$/);
  expect(own.secretAccessKey).toMatch(/^[A-Za-z0-9+/]{40}$/);
  expect(harness.control.tenantByAccessKey(own.accessKeyId)?.id).toBe(acme);
  expect(harness.control.tenantByAccessKey('AKIANOBODY')).toBeUndefined();
});

test('M-A7: a user number is never given out again, not even after its tenant is gone and the controller restarted', async () => {
  const first = harness.control.getTenant(acme);
  await harness.control.deleteTenant(acme);
  expect(harness.control.tenantByAccessKey(first.credentials.accessKeyId)).toBeUndefined();
  await harness.restart();
  const { tenant, created } = await harness.control.putTenant(acme, {});
  expect(created).toBe(true);
  expect(tenant.uid).toBeGreaterThan(first.uid);
  expect(tenant.credentials).not.toEqual(first.credentials);
  expect(first.uid).toBeGreaterThanOrEqual(1_900_000_000);
  expect(tenant.accountId).toMatch(/^\d{12}$/);
});

test('removing a tenant ends its instances and removes its workloads', async () => {
  await harness.control.deploy(acme, app('chat'), { mustCreate: true });
  await harness.control.deleteTenant(acme);
  expect(await harness.running()).toEqual([]);
  expect(harness.control.listWorkloads()).toEqual([]);
  expect(() => harness.control.getTenant(acme)).toThrow(expect.objectContaining({ code: 'NotFound' }));
  expect(Object.keys((await credentials()).tenants)).toEqual(['default']);
});

test('the default tenant can not be removed', async () => {
  await expect(harness.control.deleteTenant(defaultTenantId)).rejects.toMatchObject({ code: 'Forbidden' });
});

test('changing a tenant keeps its credentials', async () => {
  const before = harness.control.getTenant(acme);
  const { tenant, created } = await harness.control.putTenant(acme, {
    weight: 3,
    limits: { connections: 10 },
  });
  expect(created).toBe(false);
  expect(tenant).toEqual({ ...before, weight: 3, limits: { ...before.limits, connections: 10 } });
});

test('tenants made at the same time get different user numbers, and all are in the file', async () => {
  const names = Array.from({ length: 10 }, (_, index) => parseTenantId(`t${index}`));
  const made = await Promise.all(names.map((name) => harness.control.putTenant(name, {})));
  expect(new Set(made.map(({ tenant }) => tenant.uid)).size).toBe(10);
  expect(Object.keys((await credentials()).tenants)).toHaveLength(12);
});

test('events are numbered without gaps, told in order, and read on from any of them', async () => {
  const told: number[] = [];
  const end = harness.control.subscribeEvents(({ sequence }) => told.push(sequence));
  for (let index = 0; index < 5; index += 1) await harness.control.putTenant(parseTenantId(`e${index}`), {});
  const all = await harness.control.eventsSince(0, 1_000);
  end();
  expect(all.map(({ sequence }) => sequence)).toEqual(all.map((_, index) => index + 1));
  expect(told).toEqual(all.slice(-5).map(({ sequence }) => sequence));
  const [third] = await harness.control.eventsSince(2, 1);
  expect(third).toEqual(all[2]);
});

test('the ledger adds up: granted is the sum of tenants, and the rest is unallocated', async () => {
  await harness.control.deploy(acme, app('chat', { scale: 2 }), { mustCreate: true });
  for (const line of await harness.control.ledger()) {
    expect(line.granted).toBe(line.tenants.reduce((sum, tenant) => sum + tenant.granted, 0));
    expect(line.used).toBe(line.tenants.reduce((sum, tenant) => sum + tenant.used, 0));
    expect(line.unallocated - line.oversubscribed).toBe(line.capacity - line.granted);
    expect(Math.min(line.unallocated, line.oversubscribed)).toBe(0);
  }
  const [unit] = await harness.control.units();
  const [memory] = await harness.control.ledger();
  expect(unit?.granted.memory).toBe(memory?.granted);
  expect(memory?.used).toBeGreaterThan(0);
});
