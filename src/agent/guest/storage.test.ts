import { describe, expect, test } from 'vitest';
import { mib } from '../../base/quantity.ts';
import { guestOwnStorageBytes } from '../../protocol/guest.ts';
import { claimFor, usableOf, type FileSystemFigures } from './storage.ts';

const own = guestOwnStorageBytes;
/** Of 1000 MiB for instances; 20 are taken by the file system itself. */
const totalBytes = 1000 * mib + own;
const figures = (
  used: Partial<FileSystemFigures> & { readonly ownBytes?: number } = {},
): FileSystemFigures => {
  const { claimedBytes = 0, imagesBytes = 0, ownBytes = 20 * mib } = used;
  return {
    totalBytes,
    claimedBytes,
    imagesBytes,
    freeBytes: totalBytes - claimedBytes - imagesBytes - ownBytes,
  };
};

describe('the claim of a unit’s disk', () => {
  test('is what is left of the disk beside what instances may store and what is never theirs', () => {
    expect(claimFor(200 * mib, figures())).toBe(800 * mib);
    expect(claimFor(1000 * mib, figures())).toBe(0);
    expect(claimFor(5000 * mib, figures())).toBe(0);
  });

  test('counts as free', () => {
    expect(claimFor(200 * mib, figures({ claimedBytes: 500 * mib }))).toBe(800 * mib);
  });

  test('is the same whatever instances store of what they may, and however much code there is of what there may be', () => {
    for (const imagesBytes of [0, 100 * mib, 200 * mib])
      for (const ownBytes of [1 * mib, 100 * mib, 300 * mib])
        expect(claimFor(200 * mib, figures({ imagesBytes, ownBytes }))).toBe(800 * mib);
  });

  test('leaves room for what instances may still store when there is more code than was thought of', () => {
    const much = figures({ ownBytes: 600 * mib, imagesBytes: 150 * mib });
    const claimed = claimFor(200 * mib, much);
    expect(much.freeBytes - claimed).toBe((50 + 16) * mib);
  });

  test('takes nothing that is in use, nor what the agent itself needs', () => {
    const full = figures({ imagesBytes: 950 * mib });
    expect(full.freeBytes - claimFor(0, full)).toBe(own - 20 * mib);
    expect(claimFor(0, figures({ imagesBytes: 1000 * mib, ownBytes: own - 5 * mib }))).toBe(0);
  });

  test('leaves exactly what it was asked to leave', () => {
    for (const imagesBytes of [0, 120 * mib]) {
      const claimedBytes = claimFor(300 * mib, figures({ imagesBytes }));
      expect(usableOf(figures({ imagesBytes, claimedBytes }))).toBe(300 * mib);
    }
  });
});
