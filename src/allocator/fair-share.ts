// Weighted max-min fair division of one resource: water is poured in, each claim is a vessel as wide as its weight
// that begins at its floor and ends at what it wants. Owns the arithmetic, in whole base units. Pure.
//
// The result is the one of handing out single units, each to the claim whose amount per weight would be least with it
// (ties by position). So it inherits, to the unit: a larger capacity never takes from anybody, a larger want never
// takes from oneself, and wanting more than one gets changes nothing. The water level is found by bisection and only
// the last few units are handed out one by one: O(n log n).
import { TurnHeap } from './turn-heap.ts';

/** Amounts are whole base units. `limit` may be Infinity. */
export interface Claim {
  /** What it could use. */
  readonly demand: number;
  /** What it needs in any case; above `limit` it counts as `limit`. */
  readonly floor: number;
  /** The most it may be given. */
  readonly limit: number;
  /** Its share of what is scarce, relative to others; above 0. */
  readonly weight: number;
}

/** A claim with demand, floor and limit settled: it gets at least `floor` and at most `want`. */
interface Vessel {
  readonly floor: number;
  readonly want: number;
  readonly weight: number;
}

/** How far below the computed level the single units begin: more than rounding of a double can be off, 2^13 times. */
const belowLevel = 1 - 2 ** -40;

/**
 * What each claim is given, in the order of the claims. The sum is min(capacity, sum of wants), where a claim wants
 * its demand, but at least its floor and at most its limit. When the floors alone exceed the capacity it is divided
 * among the floors by the same rule. `capacity` may be Infinity.
 */
export function fairShare(capacity: number, claims: readonly Claim[]): number[] {
  const vessels = claims.map(({ demand, floor, limit, weight }): Vessel => {
    const cap = Math.floor(limit);
    return { floor: Math.min(floor, cap), want: Math.min(Math.max(demand, floor), cap), weight };
  });
  let wanted = 0;
  let floors = 0;
  for (const { want, floor } of vessels) {
    wanted += want;
    floors += floor;
  }
  if (wanted <= capacity) return vessels.map(({ want }) => want);
  const room = Math.max(0, Math.floor(capacity));
  if (floors <= room) return pour(room, vessels);
  return pour(
    room,
    vessels.map(({ floor, weight }) => ({ floor: 0, want: floor, weight })),
  );
}

/** Requires: sum of floors <= capacity < sum of wants. */
function pour(capacity: number, vessels: readonly Vessel[]): number[] {
  const level = waterLevel(capacity, vessels) * belowLevel;
  const amounts = vessels.map((vessel) => amountAt(level, vessel));
  const heap = new TurnHeap();
  const enqueue = (vessel: Vessel | undefined, index: number): void => {
    const amount = amounts[index] ?? 0;
    if (vessel !== undefined && amount < vessel.want)
      heap.push({ level: (amount + 1) / vessel.weight, index });
  };
  vessels.forEach(enqueue);
  for (let left = capacity - sum(amounts); left > 0; left -= 1) {
    const turn = heap.pop();
    if (turn === undefined) break;
    amounts[turn.index] = (amounts[turn.index] ?? 0) + 1;
    enqueue(vessels[turn.index], turn.index);
  }
  return amounts;
}

/** Whole units in a vessel when the water stands at `level` units per weight. */
function amountAt(level: number, { floor, want, weight }: Vessel): number {
  return Math.min(Math.max(Math.floor(level * weight), floor), want);
}

function volumeAt(level: number, vessels: readonly Vessel[]): number {
  let volume = 0;
  for (const vessel of vessels) volume += amountAt(level, vessel);
  return volume;
}

/** A level at which the whole units fit into the capacity, and all but a few of it are given. */
function waterLevel(capacity: number, vessels: readonly Vessel[]): number {
  // Between two of these levels the same vessels fill, so the volume is linear there. A typed array sorts without comparing calls.
  const bends = new Float64Array(2 * vessels.length);
  let at = 0;
  for (const { floor, want, weight } of vessels) {
    bends[at] = floor / weight;
    bends[at + 1] = want / weight;
    at += 2;
  }
  bends.sort();
  let below = 0;
  let above = bends.length;
  while (below < above) {
    const middle = (below + above) >> 1;
    if (volumeAt(bends[middle] ?? 0, vessels) <= capacity) below = middle + 1;
    else above = middle;
  }
  const bend = bends[below - 1] ?? 0;
  let settled = 0;
  let width = 0;
  for (const { floor, want, weight } of vessels) {
    if (want / weight <= bend) settled += want;
    else if (floor / weight > bend) settled += floor;
    else width += weight;
  }
  return width === 0 ? bend : Math.max(bend, (capacity - settled) / width);
}

function sum(amounts: readonly number[]): number {
  let total = 0;
  for (const amount of amounts) total += amount;
  return total;
}
