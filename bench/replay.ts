// Whether the simulator tells the truth: minutes of the simulated day lived through on a real Bellows, beside the same minutes
// simulated. What a start takes is measured in the run, for it is this machine's; all else the simulator has to know by itself.
import { azureDay, defaultDay } from '../src/allocator/simulator/azure-day.ts';
import { live } from '../src/allocator/simulator/policy.ts';
import { callsBefore, minuteMs, scaled, speed } from '../src/allocator/simulator/scaled-minute.ts';
import { simulate } from '../src/allocator/simulator/simulate.ts';
import type { Moment } from '../src/allocator/simulator/tally.ts';
import { gib } from '../src/base/quantity.ts';
import { Bellows } from '../tests/support/bellows.ts';
import { deployAll, replay, type ReplayReport } from '../tests/support/replay.ts';
import { ms, percent, percentile, type Bench, type Figure } from './figure.ts';

/** Minutes that nothing was tuned on. */
const seeds = [21, 22] as const;
/** As many as two processors start and serve without waiting for each other: two dozen instances at once. */
const functions = 20;
/** In the day; sixty times as often here. */
const mostCallsPerDay = 2_400;
const keepAliveSeconds = 600 / speed;
/** The mean number of instances is compared at moments so far apart. */
const momentEveryMs = 250;
/** Enough of an answer to see what was wrong. */
const mostOfFailure = 100;

interface Minute {
  readonly real: ReplayReport;
  readonly simulated: Omit<ReplayReport, 'startMs' | 'overheadsMs' | 'failures'>;
}

export const replayed: Bench = {
  what: `${seeds.length} minutes of ${functions} functions on a real Bellows and in the simulator: real / simulated`,
  run: async () => {
    const minutes: Minute[] = [];
    for (const seed of seeds) minutes.push(await lived(seed));
    const overheads = minutes.flatMap(({ real }) => real.overheadsMs);
    return [
      { name: 'calls', value: String(sum(minutes, ({ real }) => real.calls)) },
      {
        name: 'calls that failed',
        value: String(sum(minutes, ({ real }) => real.failures.length)),
        aim: '0',
        met: sum(minutes, ({ real }) => real.failures.length) === 0,
      },
      ...failuresOf(minutes),
      compared('cold starts', minutes, ({ coldStarts }) => coldStarts, String, 0.1),
      compared('instance-seconds', minutes, ({ instanceMs }) => instanceMs / 1_000, rounded, 0.15),
      compared(
        'memory-time granted, GiB s',
        minutes,
        ({ grantedByteMs }) => grantedByteMs / gib / 1_000,
        rounded,
        0.15,
      ),
      compared(
        'memory-time used, GiB s',
        minutes,
        ({ usedByteMs }) => usedByteMs / gib / 1_000,
        rounded,
        0.15,
      ),
      compared('calls that waited for half a start', minutes, ({ slowCalls }) => slowCalls, String, 0.15),
      within('instances at each moment: mean difference', instancesDiffer(minutes), 0.15),
      {
        name: 'a start, as a client waits for it, median',
        value: ms(
          percentile(
            minutes.map(({ real }) => real.startMs),
            0.5,
          ),
        ),
      },
      { name: 'what a call takes beyond the function, median', value: ms(percentile(overheads, 0.5)) },
    ];
  },
};

async function lived(seed: number): Promise<Minute> {
  const day = scaled(azureDay({ ...defaultDay, functions, seed, mostCallsPerDay }));
  // Without a pool a start is a start: how full a pool is would be one more thing to differ in.
  const args = ['--no-examples', '--unit', 'host', '--pool', '0', '--keep-alive', String(keepAliveSeconds)];
  const bellows = await Bellows.start({ args });
  try {
    await deployAll(bellows, day);
    const real = await replay(bellows, callsBefore(minuteMs, day, seed), minuteMs);
    const simulated = simulate({
      functions: day,
      seed,
      policy: live(keepAliveSeconds * 1_000),
      capacityBytes: Number.POSITIVE_INFINITY,
      untilMs: minuteMs,
      startMs: real.startMs,
      momentEveryMs,
    });
    return { real, simulated };
  } finally {
    await bellows.stop();
  }
}

/** What they were answered, and how many each. */
function failuresOf(minutes: readonly Minute[]): Figure[] {
  const same = Map.groupBy(
    minutes.flatMap(({ real }) => real.failures),
    (failure) => failure.slice(0, mostOfFailure),
  );
  return [...same].map(([failure, all]) => ({ name: `  ${failure}`, value: String(all.length) }));
}

/** Moment by moment, as a part of the mean. */
function instancesDiffer(minutes: readonly Minute[]): number {
  let difference = 0;
  let total = 0;
  for (const { real, simulated } of minutes) {
    for (const { atMs, instances } of simulated.moments) {
      difference += Math.abs(instances - instancesAt(real.moments, atMs));
      total += instances;
    }
  }
  return difference / total;
}

function instancesAt(moments: readonly Moment[], atMs: number): number {
  return moments.findLast((moment) => moment.atMs <= atMs)?.instances ?? 0;
}

function compared(
  name: string,
  minutes: readonly Minute[],
  amount: (report: Minute['simulated']) => number,
  show: (value: number) => string,
  tolerance: number,
): Figure {
  const real = sum(minutes, (minute) => amount(minute.real));
  const simulated = sum(minutes, (minute) => amount(minute.simulated));
  return {
    name,
    value: `${show(real)} / ${show(simulated)} = ${percent(real / simulated)}`,
    aim: `within ${percent(tolerance)}`,
    met: Math.abs(real / simulated - 1) <= tolerance,
  };
}

function within(name: string, value: number, tolerance: number): Figure {
  return { name, value: percent(value), aim: `<= ${percent(tolerance)}`, met: value <= tolerance };
}

const rounded = (value: number): string => value.toFixed(0);

function sum<T>(items: readonly T[], amount: (item: T) => number): number {
  return items.reduce((total, item) => total + amount(item), 0);
}
