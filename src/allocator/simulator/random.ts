// Random numbers that are the same for the same seed, in the distributions that the workload needs. No state but the seed.

export class SeededRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 to just below 1. Mulberry32: 32 bits of state, good enough for a workload. */
  uniform(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  between(least: number, most: number): number {
    return least + (most - least) * this.uniform();
  }

  /** As likely between 1 and 10 as between 10 and 100. */
  logUniform(least: number, most: number): number {
    return least * (most / least) ** this.uniform();
  }

  exponential(mean: number): number {
    return -mean * Math.log(1 - this.uniform());
  }

  /** Of the natural logarithm: mean and standard deviation. */
  lognormal(mu: number, sigma: number): number {
    const normal = Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
    return Math.exp(mu + sigma * normal);
  }

  /** Burr type XII with shapes c and k and a scale. */
  burr(c: number, k: number, scale: number): number {
    return scale * ((1 - this.uniform()) ** (-1 / k) - 1) ** (1 / c);
  }
}
