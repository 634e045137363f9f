// Whether the allocator's simulator tells the truth, in short, where it does not depend on how quick this machine is at the
// moment: who is kept, who ends and who starts again. `npm run bench replay` is the long form, with everything drawn.
import { expect, test } from 'vitest';
import type { SimulatedFunction } from '../../src/allocator/simulator/azure-day.ts';
import { live } from '../../src/allocator/simulator/policy.ts';
import { callsBefore } from '../../src/allocator/simulator/scaled-minute.ts';
import { simulate } from '../../src/allocator/simulator/simulate.ts';
import { mib } from '../../src/base/quantity.ts';
import { Bellows } from '../support/bellows.ts';
import { deployAll, replay } from '../support/replay.ts';

const untilMs = 36_000;
const keepAliveSeconds = 6;
const seed = 31;

/** Called long before its instance would end, or long after it ended; never twice at once. */
const called = (index: number, meanGapMs: number, memoryMib: number): SimulatedFunction => ({
  index,
  rhythm: 'periodic',
  meanGapMs,
  meanDurationMs: 100,
  peakBytes: memoryMib * mib,
  requestBytes: (memoryMib + 64) * mib,
});

test('M-B1: instances are kept, ended and started again as the simulator says, and hold as much memory for as long', async () => {
  const functions = [
    called(0, 3_000, 64),
    called(1, 3_500, 100),
    called(2, 13_000, 80),
    called(3, 14_000, 48),
  ];
  const bellows = await Bellows.start({
    args: ['--no-examples', '--unit', 'host', '--pool', '0', '--keep-alive', String(keepAliveSeconds)],
  });
  try {
    await deployAll(bellows, functions);
    const real = await replay(bellows, callsBefore(untilMs, functions, seed), untilMs);
    const simulated = simulate({
      functions,
      seed,
      policy: live(keepAliveSeconds * 1_000),
      capacityBytes: Number.POSITIVE_INFINITY,
      untilMs,
      startMs: real.startMs,
    });
    expect(real).toMatchObject({ calls: simulated.calls, coldStarts: simulated.coldStarts, failures: [] });
    for (const what of ['instanceMs', 'grantedByteMs', 'usedByteMs'] as const) {
      const parts = `${what}: ${Math.round(real[what])} really, ${Math.round(simulated[what])} simulated`;
      expect(real[what] / simulated[what], parts).toBeGreaterThan(0.75);
      expect(real[what] / simulated[what], parts).toBeLessThan(1.25);
    }
  } finally {
    await bellows.stop();
  }
});
