import { expect, test } from 'vitest';
import { kib } from '../../base/quantity.ts';
import { memoryFigures, spareBytes } from './memory-figures.ts';

const page = 4096;
/** As Linux 6.1 writes it in a guest of 512 MiB, cut to what matters. */
const zoneinfo = `Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 10
  pages free     3840
        boost    0
        min      84
        low      105
        high     126
        spanned  4095
        present  3998
        managed  3840
        protection: (0, 412, 412, 412)
      nr_free_pages 3840
  pagesets
    cpu: 0
              count: 0
              high:  0
Node 0, zone    DMA32
  pages free     50000
        boost    0
        min      2300
        low      2875
        high     3450
        spanned  126976
        present  126976
        managed  105000
        protection: (0, 0, 0, 0)
  pagesets
    cpu: 0
              count: 100
              high:  378
Node 0, zone   Normal
  pages free     0
        min      0
        low      0
        high     0
        spanned  0
        present  0
        managed  0
        protection: (0, 0, 0, 0)
`;

test('what can be allocated before the kernel reclaims leaves out watermarks and what a zone keeps from others', () => {
  expect(spareBytes(zoneinfo)).toBe((3840 - 126 - 412 + 50_000 - 3450) * page);
});

test('a zone below its watermark takes nothing from the others', () => {
  const short = zoneinfo.replace('pages free     3840', 'pages free     10');
  expect(spareBytes(short)).toBe((50_000 - 3450) * page);
});

test('cache that is dirty, being written or mapped is not counted as clean', () => {
  const meminfo = [
    'MemTotal:         500000 kB',
    'MemFree:          200000 kB',
    'MemAvailable:     300000 kB',
    'Active(file):      30000 kB',
    'Inactive(file):    40000 kB',
    'Dirty:              1000 kB',
    'Writeback:           500 kB',
    'Mapped:            20000 kB',
    '',
  ].join('\n');
  expect(memoryFigures(meminfo, zoneinfo)).toMatchObject({
    totalBytes: 500_000 * kib,
    freeBytes: 200_000 * kib,
    cleanCacheBytes: 48_500 * kib,
  });
});
