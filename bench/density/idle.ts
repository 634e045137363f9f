// What reclaim leaves of an idle instance, what a call notices that comes while it is at work, and what the next one takes.
import { ms, percentile, times, type Figure } from '../figure.ts';
import type { Bellows } from '../../tests/support/bellows.ts';
import { mib } from '../../src/base/quantity.ts';
import { call, deploy, frozen, privateBytes, reclaim, type Deployed } from './deployed.ts';
import { functionsOf, kinds, type Kind } from './suite.ts';

const copies = 2;
const rounds = 5;
/** Each with other content. After as many there is no more garbage with further ones. */
const callsPerRound = 10;
/** The request for reclaim reaches the instance within some milliseconds; a call that is sent then meets it at work. */
const callAfterMs = 8;

interface Sample {
  readonly kind: Kind;
  readonly beforeBytes: number;
  readonly afterBytes: number;
  /** The next call with work. */
  readonly nextMs: number;
}

interface Samples {
  readonly trims: readonly Sample[];
  /** Of calls that need no work, sent while their instance is trimmed. */
  readonly pausesMs: readonly number[];
}

export async function idleFigures(
  bellows: Bellows,
  archives: ReadonlyMap<Kind, Buffer>,
): Promise<readonly Figure[]> {
  const functions = functionsOf(copies);
  const idle = new Idle(bellows, await deploy(bellows, 'idle', functions, archives));
  return figuresOf(await idle.sample(), idle);
}

class Idle {
  readonly #bellows: Bellows;
  readonly #deployed: readonly Deployed[];
  readonly #answers = new Map<string, string>();
  /** Of instances that nothing was taken from since their last call. */
  readonly warmMs = new Map<Kind, number[]>();
  readonly noWorkMs: number[] = [];

  constructor(bellows: Bellows, deployed: readonly Deployed[]) {
    this.#bellows = bellows;
    this.#deployed = deployed;
  }

  async sample(): Promise<Samples> {
    const trims: Sample[] = [];
    const pausesMs: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      for (const one of this.#deployed) await this.#work(one);
      await frozen(this.#bellows, this.#deployed);
      for (const one of this.#deployed) {
        const beforeBytes = privateBytes(one);
        await reclaim(this.#bellows, one);
        const afterBytes = privateBytes(one);
        if (beforeBytes === null || afterBytes === null)
          throw new Error(`${one.name} was ended while it was looked at: is the machine short of memory?`);
        const nextMs = await this.#call(one, 0);
        trims.push({ kind: one.kind, beforeBytes, afterBytes, nextMs });
        for (let seed = 1; seed < callsPerRound; seed += 1) await this.#call(one, seed);
      }
      await frozen(this.#bellows, this.#deployed);
      for (const one of this.#deployed) {
        const [paused] = await Promise.all([
          new Promise((resolve) => setTimeout(resolve, callAfterMs)).then(() => call(this.#bellows, one)),
          reclaim(this.#bellows, one),
        ]);
        pausesMs.push(paused.ms);
      }
    }
    return { trims, pausesMs };
  }

  async #work(one: Deployed): Promise<void> {
    for (let seed = 0; seed < callsPerRound; seed += 1) {
      const took = await this.#call(one, seed);
      if (seed > 0) this.warmMs.set(one.kind, [...(this.warmMs.get(one.kind) ?? []), took]);
    }
    this.noWorkMs.push((await call(this.#bellows, one)).ms);
  }

  /** @throws Error when an instance answers otherwise than another of its kind has */
  async #call(one: Deployed, seed: number): Promise<number> {
    const { ms: took, text } = await call(this.#bellows, one, seed);
    const key = `${one.kind} ${seed}`;
    const expected = this.#answers.get(key) ?? text;
    if (text !== expected) throw new Error(`${one.name}, seed ${seed}: ${text} is not ${expected}`);
    this.#answers.set(key, text);
    return took;
  }
}

const median = (values: readonly number[]): number => percentile(values, 0.5);
const factor = ({ beforeBytes, afterBytes }: Sample): number => beforeBytes / afterBytes;

function figuresOf({ trims, pausesMs }: Samples, idle: Idle): readonly Figure[] {
  const all = median(trims.map(factor));
  const pause = percentile(pausesMs, 0.99);
  return [
    {
      name: 'private memory of idle instances, before / after, median',
      value: times(all),
      aim: '>= 10 ×',
      met: all >= 10,
    },
    ...kinds.map((kind) => {
      const own = trims.filter((sample) => sample.kind === kind);
      const shown = (of: (sample: Sample) => number): string =>
        `${(median(own.map(of)) / mib).toFixed(1)} MiB`;
      const next = median(own.map(({ nextMs }) => nextMs)) - median(idle.warmMs.get(kind) ?? []);
      return {
        name: `  ${kind}: before, after, factor; the next call longer by`,
        value: `${shown(({ beforeBytes }) => beforeBytes)} ${shown(({ afterBytes }) => afterBytes)} ${times(median(own.map(factor)))}; ${ms(next)}`,
      };
    }),
    { name: '  a call that needs no work, p50', value: ms(median(idle.noWorkMs)) },
    { name: '  the same while its instance is trimmed, p50', value: ms(median(pausesMs)) },
    {
      name: '  the same while its instance is trimmed, p99',
      value: ms(pause),
      aim: '<= 100 ms',
      met: pause <= 100,
    },
  ];
}
