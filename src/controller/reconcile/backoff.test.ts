import { describe, expect, test } from 'vitest';
import { defaultTuning } from '../config.ts';
import { afterExit, noBackoff } from './backoff.ts';

describe('crash back-off', () => {
  test('pauses double up to the longest', () => {
    let backoff = noBackoff;
    const pauses: number[] = [];
    for (let crash = 0; crash < 8; crash += 1) {
      backoff = afterExit(backoff, 0, 0, defaultTuning);
      pauses.push(backoff.notBeforeMs);
    }
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
  });

  test('a crash after it ran well begins anew', () => {
    const worn = afterExit(afterExit(noBackoff, 0, 0, defaultTuning), 0, 0, defaultTuning);
    expect(afterExit(worn, defaultTuning.restartForgetMs, 0, defaultTuning)).toEqual({
      failures: 1,
      notBeforeMs: 1_000,
    });
  });

  test('stays finite however often it crashes', () => {
    expect(afterExit({ failures: 1e9, notBeforeMs: 0 }, 0, 5, defaultTuning).notBeforeMs).toBe(60_005);
  });
});
