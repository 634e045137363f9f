import { expect, test } from 'vitest';
import type { TenantId } from '../../base/ids.ts';
import { BodyMemory, bodyMemoryBytes, type TenantBodies } from './body-memory.ts';

const memory = new BodyMemory(1_200);
const tenant = (name: string): TenantBodies => memory.of(name as TenantId);

/** One byte after the other, by turns, until none gets any more. */
function fill(...tenants: TenantBodies[]): number[] {
  let taken = true;
  while (taken) taken = tenants.map((each) => each.take(1)).includes(true);
  return tenants.map(({ heldBytes }) => heldBytes);
}

test('each of n tenants has a share of n + 1, and who comes new finds room however much others hold', () => {
  const [a, b, c] = [tenant('a'), tenant('b'), tenant('c')];
  expect(fill(a)).toEqual([600]);
  expect(b.fits(300)).toBe(true);
  expect(b.take(301)).toBe(false);
  a.giveBack(600);
  expect(fill(a, b)).toEqual([400, 400]);
  a.giveBack(400);
  b.giveBack(400);
  expect(fill(a, b, c)).toEqual([300, 300, 300]);
  expect(c.refusal()).toMatchObject({ code: 'LimitReached', message: expect.stringContaining('300 bytes') });
  for (const each of [a, b, c]) each.giveBack(300);
  expect(memory.freeBytes).toBe(1_200);
});

test('what a tenant holds that is deleted is free again when its requests end', () => {
  const gone = tenant('gone');
  expect(gone.take(500)).toBe(true);
  memory.onChange({ change: 'tenantGone', id: gone.tenant });
  expect([tenant('gone').heldBytes, memory.freeBytes]).toEqual([0, 700]);
  gone.giveBack(500);
  expect(memory.freeBytes).toBe(1_200);
});

test('this machine has room for the largest body at least', () => {
  expect(bodyMemoryBytes()).toBeGreaterThan(2 * 6 * 1024 * 1024);
});
