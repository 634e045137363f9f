// Days of the Azure 2019 shape in the allocator's simulator: what Bellows' decisions save against a fixed keep-alive of ten minutes,
// and against provisioning for the most. Arithmetic alone, nothing runs; the costs are those that were measured elsewhere.
import { humanBytes } from '../src/base/quantity.ts';
import { azureDay, dayMs, defaultDay, type SimulatedFunction } from '../src/allocator/simulator/azure-day.ts';
import {
  bellows,
  fixedKeepAlive,
  forgetsSooner,
  trimsAlone,
  windowsAlone,
  type SimulatedPolicy,
} from '../src/allocator/simulator/policy.ts';
import { simulate } from '../src/allocator/simulator/simulate.ts';
import type { SimulationReport } from '../src/allocator/simulator/tally.ts';
import { percent, times, type Bench, type Figure } from './figure.ts';

/** The days that are reported: five in a row, and nothing was tuned on them. */
const seeds = [101, 102, 103, 104, 105] as const;
/** The days that the policies' constants were chosen on, shown beside: what holds for them alone is luck. */
const tuningSeeds = [2_019, 7, 8] as const;

interface Day {
  readonly seed: number;
  readonly functions: readonly SimulatedFunction[];
  readonly fixed: SimulationReport;
  readonly ours: SimulationReport;
}

export const trace: Bench = {
  what: `${seeds.length} days of ${defaultDay.functions} functions, all together, and the worst of them`,
  run: () => {
    const days = seeds.map(lived);
    const tunedOn = tuningSeeds.map(lived);
    const [first] = days;
    return Promise.resolve([
      { name: 'calls', value: String(sum(days, ({ ours }) => ours.calls)) },
      ratio(
        'cold starts, fixed keep-alive / Bellows',
        days,
        ({ fixed }) => fixed.coldStarts,
        ({ ours }) => ours.coldStarts,
        times,
        '>=',
        4.5,
      ),
      // What Bellows grants against what the other only uses: the harder comparison.
      ratio(
        'memory-time, Bellows / fixed keep-alive',
        days,
        ({ ours }) => ours.grantedByteMs,
        ({ fixed }) => fixed.usedByteMs,
        percent,
        '<=',
        1,
      ),
      ratio(
        'memory-time, Bellows / static provisioning',
        days,
        ({ ours }) => ours.grantedByteMs,
        staticByteMs,
        percent,
        '<=',
        0.35,
      ),
      ratio(
        'slack: granted and not used',
        days,
        ({ ours }) => ours.grantedByteMs - ours.usedByteMs,
        ({ ours }) => ours.grantedByteMs,
        percent,
        '<=',
        0.12,
      ),
      count(
        'calls that needed more than was granted',
        sum(days, ({ ours }) => ours.ooms),
      ),
      {
        name: 'first starts ever, which nobody can avoid',
        value: String(sum(days, ({ functions }) => functions.length)),
      },
      {
        name: '  on the days that it was tuned on: cold starts, slack',
        value: `${times(sum(tunedOn, ({ fixed }) => fixed.coldStarts) / sum(tunedOn, ({ ours }) => ours.coldStarts))} ${percent(
          1 - sum(tunedOn, ({ ours }) => ours.usedByteMs) / sum(tunedOn, ({ ours }) => ours.grantedByteMs),
        )}`,
      },
      { name: 'starts ahead of calls', value: String(sum(days, ({ ours }) => ours.prewarms)) },
      ...(first === undefined
        ? []
        : [
            variant('trims alone', first, trimsAlone),
            variant('windows alone', first, windowsAlone),
            variant('ten minutes while little is known', first, forgetsSooner),
          ]),
      ...(first === undefined ? [] : scarce(first)),
    ]);
  },
};

function lived(seed: number): Day {
  const functions = azureDay({ ...defaultDay, seed });
  const run = (policy: SimulatedPolicy): SimulationReport =>
    simulate({ functions, seed, policy, capacityBytes: Number.POSITIVE_INFINITY });
  return { seed, functions, fixed: run(fixedKeepAlive), ours: run(bellows) };
}

/** Each function has all day what its owner asked for, for as many calls as it ever had at once. */
function staticByteMs({ functions, fixed }: Day): number {
  return sum(functions, ({ index, requestBytes }) => requestBytes * (fixed.mostBusy[index] ?? 0)) * dayMs;
}

/** The same day with only a part of it, or with something else. */
function variant(name: string, { seed, functions, fixed }: Day, policy: SimulatedPolicy): Figure {
  const report = simulate({ functions, seed, policy, capacityBytes: Number.POSITIVE_INFINITY });
  return {
    name: `  ${name}: cold starts, memory-time`,
    value: `${times(fixed.coldStarts / report.coldStarts)} ${percent(report.grantedByteMs / fixed.usedByteMs)}`,
  };
}

/** On a machine that has no more than what was needed on average, room is made all the time. */
function scarce({ seed, functions, fixed, ours }: Day): Figure[] {
  const capacityBytes = ours.grantedByteMs / dayMs;
  const report = simulate({ functions, seed, policy: bellows, capacityBytes });
  return [
    { name: 'the same on a machine of', value: humanBytes(Math.round(capacityBytes)) },
    {
      name: '  cold starts, fixed with all the room it wants / Bellows',
      value: times(fixed.coldStarts / report.coldStarts),
    },
    { name: '  instances ended for others', value: String(report.evictions) },
    { name: '  calls that waited for room', value: String(report.waitedForRoom) },
    count('  calls that needed more than was granted', report.ooms),
  ];
}

function ratio(
  name: string,
  days: readonly Day[],
  above: (day: Day) => number,
  below: (day: Day) => number,
  show: (value: number) => string,
  direction: '<=' | '>=',
  aim: number,
): Figure {
  const value = sum(days, above) / sum(days, below);
  const each = days.map((day) => above(day) / below(day));
  const worst = direction === '<=' ? Math.max(...each) : Math.min(...each);
  return {
    name,
    value: `${show(value)} (${show(worst)})`,
    aim: `${direction} ${show(aim)}`,
    met: direction === '<=' ? value <= aim : value >= aim,
  };
}

function count(name: string, value: number): Figure {
  return { name, value: String(value), aim: '0', met: value === 0 };
}

function sum<T>(items: readonly T[], amount: (item: T) => number): number {
  return items.reduce((total, item) => total + amount(item), 0);
}
