// The guest's memory by the kernel's own files: how much is free beyond what the kernel keeps for itself, and what is cache.
// Reading is thin, the rest is pure. Owns formats of /proc/meminfo and /proc/zoneinfo.
import { readFile } from 'node:fs/promises';
import { kib } from '../../base/quantity.ts';

const pageBytes = 4096;

export interface MemoryFigures {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** What can be allocated before the kernel begins to reclaim: free less each zone's high watermark and protection. */
  readonly spareBytes: number;
  /** Page cache that is clean and mapped by nobody: text of running programs is not in it. */
  readonly cleanCacheBytes: number;
}

export async function readMemory(): Promise<MemoryFigures> {
  const [meminfo, zoneinfo] = await Promise.all([
    readFile('/proc/meminfo', 'latin1'),
    readFile('/proc/zoneinfo', 'latin1'),
  ]);
  return memoryFigures(meminfo, zoneinfo);
}

export function memoryFigures(meminfo: string, zoneinfo: string): MemoryFigures {
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(meminfo)?.[1] ?? 0) * kib;
  const fileBytes = field('Active\\(file\\)') + field('Inactive\\(file\\)');
  return {
    totalBytes: field('MemTotal'),
    freeBytes: field('MemFree'),
    spareBytes: spareBytes(zoneinfo),
    cleanCacheBytes: Math.max(0, fileBytes - field('Mapped') - field('Dirty') - field('Writeback')),
  };
}

interface Zone {
  readonly free: number;
  readonly high: number;
  /** By the zone that an allocation would like best: so much of this one is kept from it. */
  readonly protection: readonly number[];
}

/**
 * Free pages of every zone beyond its high watermark and what it keeps from ordinary allocations. Below the low watermark
 * the kernel reclaims in the background, below the lowest it stalls and kills: a balloon must stay above all of them.
 */
export function spareBytes(zoneinfo: string): number {
  const zones = zoneinfo
    .split(/^Node /m)
    .slice(1)
    .flatMap((text): Zone[] => {
      const number = (name: string): number | undefined => {
        const match = new RegExp(`^\\s+(?:pages )?${name}\\s+(\\d+)$`, 'm').exec(text)?.[1];
        return match === undefined ? undefined : Number(match);
      };
      const free = /^\s+pages free\s+(\d+)$/m.exec(text)?.[1];
      const managed = number('managed') ?? 0;
      const high = number('high');
      const protection = /protection: \(([\d, ]*)\)/.exec(text)?.[1];
      if (free === undefined || high === undefined || managed === 0) return [];
      return [{ free: Number(free), high, protection: (protection ?? '').split(',').map(Number) }];
    });
  // An ordinary allocation likes the highest zone best; its number is that of the last that holds pages.
  let pages = 0;
  for (const { free, high, protection } of zones)
    pages += Math.max(0, free - high - Math.max(0, ...protection));
  return pages * pageBytes;
}
