import { beforeEach, describe, expect, test } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import { mib } from '../../base/quantity.ts';
import { Balloon } from './balloon.ts';
import type { QmpArguments, QmpCommand, QmpResult } from './qmp/commands.ts';

const ramBytes = 1024 * mib;

/** A guest that follows the balloon by so many bytes at each look. */
class ScriptedGuest {
  actual = ramBytes;
  wanted = ramBytes;
  stepBytes = 64 * mib;
  /** Never goes below this. */
  neededBytes = 0;
  readonly set: number[] = [];

  async execute<C extends QmpCommand>(name: C, args: QmpArguments<C>): Promise<QmpResult<C>> {
    if (name === 'balloon') {
      this.wanted = (args as QmpArguments<'balloon'>).value;
      this.set.push(this.wanted);
      return {} as QmpResult<C>;
    }
    const target = Math.max(this.wanted, this.neededBytes);
    const distance =
      Math.sign(target - this.actual) * Math.min(this.stepBytes, Math.abs(target - this.actual));
    this.actual += distance;
    return { actual: this.actual } as QmpResult<C>;
  }
}

describe('the balloon', () => {
  let guest: ScriptedGuest;
  let balloon: Balloon;
  const bytes = (howMany: number) => () => Promise.resolve(howMany);

  beforeEach(() => {
    guest = new ScriptedGuest();
    balloon = new Balloon(guest, ramBytes);
  });

  test('a claim is done when the guest has followed, and claims add up', async () => {
    expect(await balloon.claim(bytes(200 * mib))).toEqual({ claimedBytes: 200 * mib, stalled: false });
    expect(await balloon.claim(bytes(100 * mib))).toEqual({ claimedBytes: 300 * mib, stalled: false });
    expect(guest.actual).toBe(ramBytes - 300 * mib);
  });

  test('claims that are asked for together follow each other', async () => {
    const claims = await Promise.all([balloon.claim(bytes(200 * mib)), balloon.claim(bytes(50 * mib))]);
    expect(claims.map(({ claimedBytes }) => claimedBytes)).toEqual([200 * mib, 250 * mib]);
  });

  test('what can not be claimed is left, and a page is the least', async () => {
    expect(await balloon.claim(bytes(0))).toEqual({ claimedBytes: 0, stalled: false });
    expect(guest.set).toEqual([]);
    expect(await balloon.claim(bytes(10_000))).toEqual({ claimedBytes: 8_192, stalled: false });
  });

  test('a guest that makes no progress gets everything back, and that is said', async () => {
    await balloon.claim(bytes(100 * mib));
    guest.neededBytes = guest.actual - 10 * mib;
    expect(await balloon.claim(bytes(200 * mib))).toEqual({ claimedBytes: 0, stalled: true });
    expect(guest.actual).toBe(ramBytes);
  }, 15_000);

  test('a release goes before a claim that is under way, which ends', async () => {
    guest.stepBytes = 1 * mib;
    const claim = balloon.claim(bytes(500 * mib));
    await expect.poll(() => balloon.claimedBytes).toBeGreaterThan(2 * mib);
    guest.stepBytes = 64 * mib;
    await balloon.release(Number.POSITIVE_INFINITY);
    expect(await claim).toMatchObject({ stalled: false });
    expect(balloon.claimedBytes).toBe(0);
    expect(guest.wanted).toBe(ramBytes);
  });

  test('a release while the guest is still asked what it can spare stops the claim', async () => {
    const asked = Promise.withResolvers<number>();
    const claim = balloon.claim(() => asked.promise);
    await balloon.release(Number.POSITIVE_INFINITY);
    asked.resolve(100 * mib);
    expect(await claim).toEqual({ claimedBytes: 0, stalled: false });
    expect(guest.actual).toBe(ramBytes);
  });

  test('a part is given back, and never more than is claimed', async () => {
    await balloon.claim(bytes(300 * mib));
    expect(await balloon.release(100 * mib)).toMatchObject({ claimedBytes: 200 * mib });
    expect(await balloon.release(900 * mib)).toMatchObject({ claimedBytes: 0 });
  });

  test('a claim that failed does not hold the next one up', async () => {
    const error = new BellowsError('Unavailable', 'No answer.');
    await expect(balloon.claim(() => Promise.reject(error))).rejects.toThrow(error);
    expect(await balloon.claim(bytes(mib))).toMatchObject({ claimedBytes: mib });
  });
});
