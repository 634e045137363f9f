import { expect, test } from 'vitest';
import type { TenantId } from '../base/ids.ts';
import { mib } from '../base/quantity.ts';
import { discrepancies } from './ledger.ts';

const tenant = 'acme' as TenantId;

test('the ledger is compared with the kernel within its tolerance', () => {
  const groups = [{ tenant, memoryBytes: 500 * mib }];
  expect(discrepancies(groups, [{ tenant, memoryBytes: 460 * mib }])).toEqual([]);
  expect(discrepancies(groups, [{ tenant, memoryBytes: 300 * mib }])).toEqual([
    { tenant, ledgerBytes: 300 * mib, kernelBytes: 500 * mib },
  ]);
});
