import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  formatResource,
  formatResources,
  parseResource,
  resourceKinds,
  type ResourceKind,
} from './resources.ts';
import { defaultRequest } from './workload.ts';

test.each<[ResourceKind, string, number]>([
  ['memory', '128MiB', 134_217_728],
  ['cpu', '0.5', 500],
  ['storage', '1GB', 1_000_000_000],
  ['bandwidth', '10MB/s', 10_000_000],
])('%s is read in its own notation', (kind, text, expected) => {
  expect(parseResource(kind, text)).toBe(expected);
});

test.each<[ResourceKind, string]>([
  ['memory', '10MB/s'],
  ['cpu', '128MiB'],
  ['storage', '500m'],
  ['bandwidth', '10MB'],
])('%s is not read from %s', (kind, text) => {
  expect(() => parseResource(kind, text)).toThrow(expect.objectContaining({ code: 'InvalidQuantity' }));
});

test('what is shown of any resource can be put back in', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...resourceKinds),
      fc.integer({ min: 10, max: 1_000_000 }),
      (kind, amount) => {
        expect(parseResource(kind, formatResource(kind, amount))).toBe(amount);
      },
    ),
    { numRuns: 2_000 },
  );
});

test('the defaults as a person sees them', () => {
  expect(formatResources(defaultRequest)).toEqual({
    memory: '128MiB',
    cpu: '1',
    storage: '512MiB',
    bandwidth: '125MB/s',
  });
});
