// Measurements that are to be compared, by turns in one run: what else happens on the machine then meets all of them alike. Each
// round has one of each, every other round in the opposite order, and what is compared is compared within a round.
import { percent, percentile, times } from './figure.ts';

/** Of each, one measurement a round. */
export type Rounds<Name extends string, Measured> = ReadonlyMap<Name, readonly Measured[]>;

export async function byTurns<Name extends string, Measured>(
  turns: ReadonlyMap<Name, () => Promise<Measured>>,
  rounds: number,
): Promise<Rounds<Name, Measured>> {
  const measured = new Map<Name, Measured[]>([...turns.keys()].map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    const order = [...turns];
    for (const [name, turn] of round % 2 === 0 ? order : order.toReversed())
      measured.get(name)!.push(await turn());
  }
  return measured;
}

/** Median of the rounds' ratios, and within what the middle half of them lies. */
export interface Ratio {
  readonly median: number;
  readonly from: number;
  readonly to: number;
}

export function ratioOf(numerators: readonly number[], denominators: readonly number[]): Ratio {
  const ratios = numerators.map((numerator, round) => numerator / denominators[round]!);
  return { median: percentile(ratios, 0.5), from: percentile(ratios, 0.25), to: percentile(ratios, 0.75) };
}

const spread = ({ from, to }: Ratio, show: (value: number) => string): string =>
  `(${show(from)} to ${show(to)})`;

export const percentOf = (ratio: Ratio): string => `${percent(ratio.median)} ${spread(ratio, percent)}`;
export const timesOf = (ratio: Ratio): string => `${times(ratio.median)} ${spread(ratio, times)}`;
