import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  formatBandwidth,
  formatBytes,
  formatCpu,
  gib,
  humanBytes,
  kib,
  mib,
  parseBandwidth,
  parseBytes,
  parseCpu,
} from './quantity.ts';

const refused = expect.objectContaining({
  code: 'InvalidQuantity',
  message: expect.stringMatching(/ is not a quantity of /),
  hint: expect.stringMatching(/^Write /),
});

/** One argument each, also where the input is a list. */
const each = (inputs: readonly unknown[]): [unknown][] => inputs.map((input) => [input]);

describe('bytes', () => {
  test.each<[unknown, number]>([
    ['128MiB', 128 * mib],
    ['1GiB', gib],
    ['1.5GiB', 1.5 * gib],
    ['64GiB', 64 * gib],
    ['2TiB', 2048 * gib],
    ['10 MB', 10_000_000],
    [' 512KiB ', 512 * kib],
    ['1kB', 1_000],
    ['1KB', 1_000],
    ['7B', 7],
    ['7', 7],
    ['0', 0],
    ['0.3B', 0],
    [134_217_728, 128 * mib],
    [0, 0],
    [1.6, 2],
  ])('%j is %i', (input, expected) => {
    expect(parseBytes(input)).toBe(expected);
  });

  test.each(
    each([
      '-1MiB',
      '1e99',
      '12XB',
      '',
      ' ',
      'MiB',
      'NaN',
      'Infinity',
      '1.MiB',
      '.5MiB',
      '1,5MiB',
      '1 000MiB',
      '0x10',
      '１２MiB',
      '1mib',
      '1MiB/s',
      '1MiB\n2MiB',
      '9999999999999999999MiB',
      '2000000GiB',
      '1'.repeat(100_000),
      -1,
      1e99,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      2 ** 51,
      null,
      undefined,
      true,
      {},
      [],
      ['1MiB'],
      { toString: null },
    ]),
  )('%j is refused', (input) => {
    expect(() => parseBytes(input)).toThrow(refused);
  });

  test.each([10n, Symbol('1MiB'), () => 1])('what JSON has no word for is refused', (input) => {
    expect(() => parseBytes(input)).toThrow(refused);
  });

  test('a refusal shows no more of the input than a person can read', () => {
    expect(() => parseBytes('x'.repeat(1e6))).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/^.{1,200}$/) }),
    );
  });
});

describe('processor time', () => {
  test.each<[unknown, number]>([
    ['0.5', 500],
    ['2', 2_000],
    ['500m', 500],
    ['0.01', 10],
    ['10m', 10],
    ['1000', 1_000_000],
    [' 1 ', 1_000],
    [500, 500],
    [10.4, 10],
  ])('%j is %i millicores', (input, expected) => {
    expect(parseCpu(input)).toBe(expected);
  });

  test.each(
    each([
      '',
      '-1',
      '0',
      '0m',
      '9m',
      '0.001',
      '1e3',
      '1 m',
      'm',
      '2 CPUs',
      '1001',
      '1M',
      0,
      9,
      -500,
      Number.NaN,
      1e99,
      null,
      {},
    ]),
  )('%j is refused', (input) => {
    expect(() => parseCpu(input)).toThrow(refused);
  });
});

describe('bandwidth', () => {
  test.each<[unknown, number]>([
    ['10MB/s', 10_000_000],
    ['512KiB/s', 512 * kib],
    ['1.5GB/s', 1_500_000_000],
    ['100', 100],
    ['100B/s', 100],
    [100, 100],
  ])('%j is %i bytes per second', (input, expected) => {
    expect(parseBandwidth(input)).toBe(expected);
  });

  test.each(
    each(['', '10MB', '/s', '10MB/s/s', '10MB/m', '10Mbit/s', '-1MB/s', '1e9/s', -1, Number.NaN, null]),
  )('%j is refused', (input) => {
    expect(() => parseBandwidth(input)).toThrow(refused);
  });
});

describe('what is shown can be put back in', () => {
  const runs = { numRuns: 5_000 };
  /** Round and odd amounts in every magnitude. */
  const amount = (max: number): fc.Arbitrary<number> =>
    fc.oneof(
      fc.nat(max),
      fc
        .tuple(fc.nat(2_000), fc.constantFrom(1, 1e3, kib, 1e6, mib, 1e9, gib))
        .map(([n, unit]) => Math.min(n * unit, max)),
    );

  test('bytes', () => {
    fc.assert(
      fc.property(amount(2 ** 50), (bytes) => {
        expect(parseBytes(formatBytes(bytes))).toBe(bytes);
      }),
      runs,
    );
  });
  test('bandwidth', () => {
    fc.assert(
      fc.property(amount(2 ** 50), (rate) => {
        expect(parseBandwidth(formatBandwidth(rate))).toBe(rate);
      }),
      runs,
    );
  });
  test('processor time', () => {
    fc.assert(
      fc.property(fc.integer({ min: 10, max: 1_000_000 }), (cpu) => {
        expect(parseCpu(formatCpu(cpu))).toBe(cpu);
      }),
      runs,
    );
  });

  test.each([
    [128 * mib, '128MiB'],
    [1024 * mib, '1GiB'],
    [1536 * mib, '1536MiB'],
    [1000, '1000'],
    [0, '0'],
  ])('%i bytes are shown as %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));
  test.each([
    [2_000, '2'],
    [500, '500m'],
    [1_500, '1500m'],
  ])('%i millicores are shown as %s', (cpu, text) => expect(formatCpu(cpu)).toBe(text));
  test.each([
    [10_000_000, '10MB/s'],
    [1_234, '1234B/s'],
    [2_000, '2kB/s'],
    [3e9, '3GB/s'],
    [0, '0B/s'],
  ])('%i bytes per second are shown as %s', (rate, text) => expect(formatBandwidth(rate)).toBe(text));

  test('nothing that is refused throws anything but InvalidQuantity', () => {
    fc.assert(
      fc.property(fc.oneof(fc.anything(), fc.string()), (input) => {
        for (const parse of [parseBytes, parseCpu, parseBandwidth]) {
          try {
            expect(Number.isSafeInteger(parse(input))).toBe(true);
          } catch (thrown) {
            expect(thrown).toMatchObject({ code: 'InvalidQuantity' });
          }
        }
      }),
      runs,
    );
  });
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [87_450_000, '83.4 MiB'],
  [200 * gib, '200 GiB'],
  [5000 * 1024 * gib, '5000 TiB'],
])('%i bytes are %s for a person', (bytes, text) => {
  expect(humanBytes(bytes)).toBe(text);
});
