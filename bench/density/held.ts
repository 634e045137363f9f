// How many warm instances are held within a budget of memory with reclaim, and how many when each has its whole MemorySize
// reserved; and what calls take that go to the ones and to the others, by turns, in the same seconds.
//
// Two tenants have the same functions, one instance each. From one nothing is ever taken: its calls take what they take with
// static reservation. Whenever the other's use comes near the budget, memory is taken from its instance that has idled longest.
// Who is called follows Zipf's law, as most functions of a provider are called rarely. Nothing enforces the budget: the kernel's
// figures are added up all the time, and must stay within it.
import { humanBytes, mib } from '../../src/base/quantity.ts';
import type { Bellows } from '../../tests/support/bellows.ts';
import { randomFrom } from '../../tests/support/random.ts';
import { ms, percent, percentile, times, type Figure } from '../figure.ts';
import { call, deploy, privateBytes, reclaim, type Deployed } from './deployed.ts';
import { functionsOf, type Kind } from './suite.ts';

export const memoryMib = 256;
const budgetBytes = 1_024 * mib;
/** Reclaim begins above this share of the budget, so that a call finds room. */
const watermark = 0.85;
const copies = 6;
/** As many pairs of calls as fit, some thousand on a quiet machine; of fewer than the second the 99th percentile says nothing. */
const callForMs = 100_000;
const leastPairs = 100;
/** Idle for less than this, an instance is likely to be called again. */
const idleMs = 3_000;
const watchEveryMs = 250;
const seeds = 5;

interface Held {
  readonly deployed: Deployed;
  lastCallMs: number;
  trimmedAtMs: number;
  busy: boolean;
}

export async function heldFigures(
  bellows: Bellows,
  archives: ReadonlyMap<Kind, Buffer>,
): Promise<readonly Figure[]> {
  const functions = functionsOf(copies);
  const reserved = await deploy(bellows, 'reserved', functions, archives);
  const held = (await deploy(bellows, 'reclaimed', functions, archives)).map((deployed): Held => ({
    deployed,
    lastCallMs: performance.now(),
    trimmedAtMs: 0,
    busy: false,
  }));
  const watch = new Watch(bellows, held);
  const taken: Record<'reserved' | 'reclaimed', number[]> = { reserved: [], reclaimed: [] };
  const afterTrim: number[] = [];
  const chosen = zipf(functions.length, randomFrom(2_026));
  const expected = new Map<string, string>();
  try {
    const endMs = performance.now() + callForMs;
    for (let pair = 0; pair < leastPairs || performance.now() < endMs; pair += 1) {
      const at = chosen();
      const seed = pair % seeds;
      const toReserved = async (): Promise<string> => {
        const { ms: took, text } = await call(bellows, reserved[at]!, seed);
        taken.reserved.push(took);
        return text;
      };
      const toReclaimed = async (): Promise<string> => {
        const one = held[at]!;
        const trimmed = one.trimmedAtMs > one.lastCallMs;
        one.busy = true;
        const { ms: took, text } = await call(bellows, one.deployed, seed);
        one.busy = false;
        one.lastCallMs = performance.now();
        taken.reclaimed.push(took);
        if (trimmed) afterTrim.push(took);
        return text;
      };
      const answers =
        pair % 2 === 0
          ? [await toReserved(), await toReclaimed()]
          : [await toReclaimed(), await toReserved()];
      const key = `${reserved[at]!.kind} ${seed}`;
      for (const text of answers) {
        if ((expected.get(key) ?? text) !== text) throw new Error(`${key} was answered in two ways`);
        expected.set(key, text);
      }
    }
  } finally {
    await watch.end();
  }
  const alive = new Set((await bellows.instances()).map(({ id }) => id));
  const kept = held.filter(({ deployed }) => alive.has(deployed.instance)).length;
  const usedBytes = watch.highestBytes;
  const fits = usedBytes <= budgetBytes && kept === functions.length;
  const statically = Math.floor(budgetBytes / (memoryMib * mib));
  const ratio = kept / statically;
  const p99 = { reserved: percentile(taken.reserved, 0.99), reclaimed: percentile(taken.reclaimed, 0.99) };
  const slower = p99.reclaimed / p99.reserved - 1;
  const both = (p: number): string =>
    `${ms(percentile(taken.reserved, p))} ${ms(percentile(taken.reclaimed, p))}`;
  return [
    {
      name: `budget / MemorySize of ${memoryMib} MiB`,
      value: `${humanBytes(budgetBytes)} / … = ${statically}`,
    },
    { name: 'warm instances held, and none ended', value: `${kept} of ${functions.length}` },
    {
      name: '  the most that they used, at once',
      value: humanBytes(usedBytes),
      aim: `<= ${humanBytes(budgetBytes)}`,
      met: fits,
    },
    { name: '  as many, from which nothing is taken, used', value: humanBytes(sum(reserved)) },
    {
      name: 'warm instances, with reclaim / with reservation',
      value: times(ratio),
      aim: '>= 3 ×',
      met: fits && ratio >= 3,
    },
    { name: `  p50 of ${taken.reserved.length} calls to each, reserved and reclaimed`, value: both(0.5) },
    { name: '  p99 of them', value: both(0.99) },
    {
      name: '  p99, reclaimed slower than reserved by',
      value: percent(slower),
      aim: '<= 5 %',
      met: slower <= 0.05,
    },
    {
      name: '  calls to an instance that was trimmed since its last',
      value: `${afterTrim.length}`,
    },
  ];
}

/** Adds up what the held ones use, and takes from who idles longest while that is above the watermark. */
class Watch {
  readonly #bellows: Bellows;
  readonly #held: readonly Held[];
  #ending = false;
  #highestBytes = 0;
  readonly #watching: Promise<void>;

  constructor(bellows: Bellows, held: readonly Held[]) {
    this.#bellows = bellows;
    this.#held = held;
    this.#watching = this.#watch();
    // Whoever waits for the end hears it.
    this.#watching.catch(() => {});
  }

  get highestBytes(): number {
    return this.#highestBytes;
  }

  async end(): Promise<void> {
    this.#ending = true;
    await this.#watching;
  }

  async #watch(): Promise<void> {
    // They were made one after the other, and have not been held to anything yet.
    while (this.#usedBytes() > watermark * budgetBytes && (await this.#takeFromOne(0)));
    while (!this.#ending) {
      const usedBytes = this.#usedBytes();
      this.#highestBytes = Math.max(this.#highestBytes, usedBytes);
      if (usedBytes > watermark * budgetBytes && (await this.#takeFromOne(idleMs))) continue;
      await new Promise((resolve) => setTimeout(resolve, watchEveryMs));
    }
  }

  #usedBytes(): number {
    return sum(this.#held.map(({ deployed }) => deployed));
  }

  async #takeFromOne(leastIdleMs: number): Promise<boolean> {
    const nowMs = performance.now();
    const [victim] = this.#held
      .filter(
        ({ busy, lastCallMs, trimmedAtMs }) =>
          !busy && trimmedAtMs < lastCallMs && nowMs - lastCallMs >= leastIdleMs,
      )
      .toSorted((a, b) => a.lastCallMs - b.lastCallMs);
    if (victim === undefined) return false;
    victim.trimmedAtMs = nowMs;
    await reclaim(this.#bellows, victim.deployed);
    return true;
  }
}

/** Who was ended is told by how many are kept. */
function sum(deployed: readonly Deployed[]): number {
  return deployed.reduce((total, one) => total + (privateBytes(one) ?? 0), 0);
}

/** The nth most popular of `count` is chosen with a probability that falls as 1/n. */
function zipf(count: number, random: () => number): () => number {
  const weights = Array.from({ length: count }, (_, at) => 1 / (at + 1));
  const total = weights.reduce((all, weight) => all + weight, 0);
  return () => {
    let left = random() * total;
    const at = weights.findIndex((weight) => (left -= weight) < 0);
    return at < 0 ? count - 1 : at;
  };
}
