// A workload of the shape of Azure Functions in 2019 (Shahrad et al., "Serverless in the Wild", USENIX ATC 2020): functions with
// their rates, arrivals, durations and memory. Owns the distributions, and what is assumed where the study says nothing.
import { mib } from '../../base/quantity.ts';
import { SeededRandom } from './random.ts';

export const dayMs = 24 * 3_600_000;

/** How a function's calls follow each other. */
export type Rhythm = 'periodic' | 'irregular' | 'bursty';

export interface SimulatedFunction {
  readonly index: number;
  readonly rhythm: Rhythm;
  readonly meanGapMs: number;
  readonly meanDurationMs: number;
  /** The most that a call uses. */
  readonly peakBytes: number;
  /** What its owner asked for. */
  readonly requestBytes: number;
}

export interface Call {
  readonly atMs: number;
  readonly durationMs: number;
  /** What its instance uses at the end of it, at least. */
  readonly needBytes: number;
}

export interface DayOptions {
  readonly functions: number;
  readonly seed: number;
  /**
   * The study's busiest functions are called many times a second. They are always warm, so they tell little of cold starts, but
   * each of their calls would be simulated: rates are cut here, to one in six seconds for a million calls of 1,000 functions.
   */
  readonly mostCallsPerDay: number;
}

export const defaultDay: DayOptions = { functions: 1_000, seed: 2_019, mostCallsPerDay: 14_400 };

/** The study: 45 % are called at most once an hour, 81 % at most once a minute. Within these, as likely in each octave. */
const rates = [
  { upTo: 0.45, least: 1, most: 24 },
  { upTo: 0.81, least: 24, most: 1_440 },
] as const;
/** The study: 40 % have a coefficient of variation above 1. About a fifth were called by timers, at even times. */
const rhythms = { bursty: 0.4, periodic: 0.2 } as const;
/** The study's fits: seconds of a function's mean duration, and MB of an application's memory. */
const duration = { mu: -0.38, sigma: 2.36 } as const;
const memory = { c: 11.652, k: 0.221, scaleBytes: 107.083e6 } as const;
/** Azure's own limits then: ten minutes and 1.5 GB. */
const bounds = {
  leastDurationMs: 1,
  mostDurationMs: 600_000,
  leastBytes: 24 * mib,
  mostBytes: 1_536 * mib,
} as const;
/** Assumed: calls of one function last e to ±0.5 times as long as each other, and use 70 to 100 % of its peak. */
const durationSpread = 0.5;
const leastNeed = 0.7;
/** Assumed: what owners ask for is the next 64 MiB, as in Lambda's console; studies of such requests find far more to spare. */
const requestStep = 64 * mib;

export function azureDay(options: DayOptions = defaultDay): SimulatedFunction[] {
  const random = new SeededRandom(options.seed);
  return Array.from({ length: options.functions }, (_, index): SimulatedFunction => {
    const callsPerDay = rateOf(random, options.mostCallsPerDay);
    const pick = random.uniform();
    const rhythm: Rhythm =
      pick < rhythms.bursty ? 'bursty' : pick < rhythms.bursty + rhythms.periodic ? 'periodic' : 'irregular';
    const durationMs = 1_000 * random.lognormal(duration.mu, duration.sigma);
    const peakBytes = clamp(
      Math.round(random.burr(memory.c, memory.k, memory.scaleBytes)),
      bounds.leastBytes,
      bounds.mostBytes,
    );
    return {
      index,
      rhythm,
      meanGapMs: dayMs / callsPerDay,
      meanDurationMs: clamp(durationMs, bounds.leastDurationMs, bounds.mostDurationMs),
      peakBytes,
      requestBytes: Math.ceil(peakBytes / requestStep) * requestStep,
    };
  });
}

function rateOf(random: SeededRandom, mostCallsPerDay: number): number {
  const pick = random.uniform();
  const band = rates.find(({ upTo }) => pick < upTo);
  return band === undefined
    ? random.logUniform(1_440, mostCallsPerDay)
    : random.logUniform(band.least, band.most);
}

/** The calls of one function, one after the other, for ever; the same for the same function and seed. */
export class Calls {
  readonly #function: SimulatedFunction;
  readonly #random: SeededRandom;
  #atMs: number;
  #leftInBurst = 0;

  constructor(of: SimulatedFunction, seed: number) {
    this.#function = of;
    this.#random = new SeededRandom(seed + of.index * 7_919);
    this.#atMs = this.#random.uniform() * of.meanGapMs;
  }

  next(): Call {
    const { meanDurationMs, peakBytes } = this.#function;
    const atMs = this.#atMs;
    this.#atMs += this.#gapMs();
    return {
      atMs,
      // The mean of a lognormal distribution is above its median by this much.
      durationMs: meanDurationMs * this.#random.lognormal(-(durationSpread ** 2) / 2, durationSpread),
      needBytes: Math.round(peakBytes * this.#random.between(leastNeed, 1)),
    };
  }

  #gapMs(): number {
    const { rhythm, meanGapMs } = this.#function;
    switch (rhythm) {
      case 'periodic':
        // A timer is late by a moment.
        return meanGapMs * this.#random.between(0.99, 1.01);
      case 'irregular':
        // Erlang of order 2: a coefficient of variation of 0.71.
        return this.#random.exponential(meanGapMs / 2) + this.#random.exponential(meanGapMs / 2);
      case 'bursty':
        return this.#burstGapMs(meanGapMs);
    }
  }

  /** Five calls on average at a twentieth of the mean gap, then a long pause: a coefficient of variation of 2.8. */
  #burstGapMs(meanGapMs: number): number {
    if (this.#leftInBurst > 0) {
      this.#leftInBurst -= 1;
      return this.#random.exponential(meanGapMs / 20);
    }
    this.#leftInBurst = Math.floor(this.#random.exponential(4.5));
    const callsPerBurst = 1 + 1 / (Math.exp(1 / 4.5) - 1);
    return this.#random.exponential(meanGapMs * (callsPerBurst - (callsPerBurst - 1) / 20));
  }
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}
