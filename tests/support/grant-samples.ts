// Whether what Bellows says is what is really held, asked again and again while a test goes on: on this machine every instance's
// grant is the limit of its group, and every tenant's limit is its group's, read from the kernel's own files; what is held of
// virtual machines is ./machine-grants.ts. On both the ledger adds up to that. Owns nothing of why limits change.
import { dirname } from 'node:path';
import type { Bellows } from './bellows.ts';
import { groupDirectory, memoryLimitOf } from './kernel.ts';
import { compareLedger, Differences, memory, memoryLine, running, type Look } from './ledger-sums.ts';

/**
 * A limit is written first and told afterwards, and the two sides can not be read at one moment: so what differs is looked at
 * again. A request in which somebody has to free memory is told of when that is over, which may take the two seconds that the
 * agent waits for a collection, once for instances and once for their tenant; what is wrong stays wrong.
 */
const hostSettleMs = 5_000;

export interface SamplesAccount {
  readonly samples: number;
  /** Samples where both sides were read within the same moment of rest. */
  readonly equalAtOnce: number;
  /** The longest time in which the two sides were not seen to be equal. */
  readonly longestApartMs: number;
  /** What differed for the longest time; empty when nothing did. */
  readonly longestApart: readonly string[];
  /** What differed and went on to differ; empty when all is well. */
  readonly wrong: readonly string[];
  /** The most memory that the kernel allowed all instances together at a sample. */
  readonly mostBytes: number;
}

/** Where limits are held, and how long what differs there may go on to differ. */
export interface Held {
  readonly look: (bellows: Bellows) => Promise<Look>;
  readonly settleMs: number;
}

async function lookAtHost(bellows: Bellows): Promise<Look> {
  const [instances, line] = await Promise.all([running(bellows), memoryLine(bellows)]);
  const differences = new Differences();
  const limits = new Map<string, number>();
  for (const { id, pid, tenant, memory: own } of instances) {
    const group = groupDirectory(pid, 'memory');
    limits.set(id, memoryLimitOf(group));
    differences.compare(`grant of ${id}`, memory(own.grant), memoryLimitOf(group));
    const limit = line.tenants.find((each) => each.tenant === tenant)?.limit ?? null;
    differences.compare(
      `limit of ${tenant}`,
      limit === null ? Infinity : memory(limit),
      memoryLimitOf(dirname(group)),
    );
  }
  const bytes = compareLedger(differences, line, instances, limits);
  return { found: differences.found, bytes };
}

const heldByHost: Held = { look: lookAtHost, settleMs: hostSettleMs };

export class GrantSamples {
  readonly #bellows: Bellows;
  readonly #held: Held;
  readonly #wrong: string[] = [];
  #samples = 0;
  #equalAtOnce = 0;
  #longestApartMs = 0;
  #longestApart: readonly string[] = [];
  #mostBytes = 0;
  #isOver = false;
  #going: Promise<void> | undefined;

  constructor(bellows: Bellows, held: Held = heldByHost) {
    this.#bellows = bellows;
    this.#held = held;
  }

  start(everyMs: number): void {
    this.#going ??= this.#go(everyMs);
  }

  async stop(): Promise<SamplesAccount> {
    this.#isOver = true;
    await this.#going;
    return {
      samples: this.#samples,
      equalAtOnce: this.#equalAtOnce,
      longestApartMs: Math.round(this.#longestApartMs),
      longestApart: this.#longestApart,
      wrong: this.#wrong,
      mostBytes: this.#mostBytes,
    };
  }

  async #go(everyMs: number): Promise<void> {
    while (!this.#isOver) {
      await this.#sample();
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }

  async #sample(): Promise<void> {
    const begunMs = performance.now();
    let apart: readonly string[] = [];
    for (;;) {
      const { found, bytes } = await this.#look();
      if (found.length === 0) {
        const apartMs = performance.now() - begunMs;
        if (apart.length === 0) this.#equalAtOnce += 1;
        else if (apartMs > this.#longestApartMs) {
          this.#longestApartMs = apartMs;
          this.#longestApart = apart;
        }
        this.#mostBytes = Math.max(this.#mostBytes, bytes);
        break;
      }
      apart = found;
      if (performance.now() - begunMs > this.#held.settleMs) {
        this.#wrong.push(...found);
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    this.#samples += 1;
  }

  /** An instance that ends between the two looks has no group any more: looked at again like all that differs. */
  async #look(): Promise<Look> {
    try {
      return await this.#held.look(this.#bellows);
    } catch (thrown) {
      return { found: [String(thrown)], bytes: 0 };
    }
  }
}
