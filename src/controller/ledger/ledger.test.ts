import { expect, test } from 'vitest';
import type { TenantId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import { unlimited, type Tenant } from '../../model/tenant.ts';
import type { InstanceView, LedgerLine } from '../control-plane.ts';
import { ledgerOf } from './ledger.ts';

const tenant = 'acme' as TenantId;

test('more granted than there is reads as oversubscribed, and never as a negative rest', () => {
  const nothing = everyResource(0);
  const instance = { tenant, grant: everyResource(700), used: nothing, claimed: nothing };
  const owner = { id: tenant, limits: unlimited } as Tenant;
  const line = (capacity: number): LedgerLine | undefined =>
    ledgerOf(everyResource(capacity), [], [owner], [instance as InstanceView])[0];
  expect(line(1_000)).toMatchObject({ granted: 700, unallocated: 300, oversubscribed: 0 });
  expect(line(500)).toMatchObject({ granted: 700, unallocated: 0, oversubscribed: 200 });
});

test('M-A4: what was provisioned to units and claimed from them is summed up', () => {
  const [line] = ledgerOf(everyResource(5_000), [machine, machine], [], []);
  expect(line).toMatchObject({ capacity: 5_000, provisioned: 2_000, claimed: 1_800, granted: 0 });
  expect(line?.places).toEqual([{ place: 'vm', provisioned: 2_000, granted: 200, claimed: 1_800 }]);
});

test('M-A4: machines beside this machine are made out of it: each place has its own, and nothing is there twice', () => {
  const here = { provisioned: everyResource(5_000), claimed: everyResource(0), granted: everyResource(700) };
  const [line] = ledgerOf(everyResource(5_000), [{ ...here, host: null }, machine, machine], [], []);
  expect(line).toMatchObject({ capacity: 5_000, provisioned: 5_000, claimed: 1_800 });
  expect(line?.places).toEqual([
    { place: 'host', provisioned: 5_000, granted: 700, claimed: 0 },
    { place: 'vm', provisioned: 2_000, granted: 200, claimed: 1_800 },
  ]);
});

const machine = {
  provisioned: everyResource(1_000),
  claimed: everyResource(900),
  granted: everyResource(100),
  host: { privateBytes: 1, groupBytes: null, storageBytes: 1 },
};

function everyResource(each: number): Resources {
  return { memory: each, cpu: each, storage: each, bandwidth: each } as Resources;
}
