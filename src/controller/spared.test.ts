import { expect, test } from 'vitest';
import type { InstanceId, TenantId } from '../base/ids.ts';
import { mib } from '../base/quantity.ts';
import type { Occupant } from './capacity.ts';
import { sparing, type Start } from './spared.ts';

const tenant = (name: string): TenantId => name as TenantId;
const occupant = (of: string, memoryMib: number, idleForMs: number | null): Occupant => ({
  id: `i-${of}` as InstanceId,
  tenant: tenant(of),
  memoryBytes: memoryMib * mib,
  idleSinceMs: idleForMs === null ? null : nowMs - idleForMs,
  leaving: false,
});
const nowMs = 1_000_000;
const start = (askedMib: number): Start => ({
  tenant: tenant('birch'),
  askedBytes: askedMib * mib,
  entitled: new Map(['amber', 'birch', 'cedar'].map((name) => [tenant(name), 340 * mib])),
  nowMs,
  restMs: 10_000,
});
const mayEnd = (occupants: readonly Occupant[], of: Start): string[] =>
  sparing(occupants, of)
    .filter(({ idleSinceMs }) => idleSinceMs !== null)
    .map(({ tenant: holder }) => holder);

test('for a tenant beyond its share nobody is ended who was just called and is within its own', () => {
  const occupants = [occupant('amber', 500, 20), occupant('birch', 128, 20), occupant('cedar', 256, 20)];
  expect(mayEnd(occupants, start(640))).toEqual(['amber', 'birch']);
});

test('for a tenant within its share anybody idle may be', () => {
  const occupants = [occupant('amber', 500, 20), occupant('birch', 128, 20), occupant('cedar', 256, 20)];
  expect(mayEnd(occupants, start(200))).toEqual(['amber', 'birch', 'cedar']);
});

test('who rests may be ended for anybody, or many idle ones would keep the machine from who needs it', () => {
  const occupants = [occupant('cedar', 256, 10_000), occupant('amber', 100, null)];
  expect(mayEnd(occupants, start(640))).toEqual(['cedar']);
});
