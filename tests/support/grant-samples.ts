// Whether what Bellows says is what the kernel holds, asked again and again while a test goes on: every instance's grant is
// the limit of its group, every tenant's limit is its group's, and the ledger adds up to the kernel's limits.
// The kernel's side is read from its own files. Owns nothing of why limits change.
import { dirname } from 'node:path';
import { amountOf } from './apps.ts';
import type { Bellows } from './bellows.ts';
import { groupDirectory, memoryLimitOf } from './kernel.ts';

/**
 * A limit is written first and told afterwards, and the two sides can not be read at one moment: so what differs is looked at
 * again. A request in which somebody has to free memory is told of when that is over, which may take the two seconds that the
 * agent waits for a collection, once for instances and once for their tenant; what is wrong stays wrong.
 */
const settleMs = 5_000;

interface LedgerAnswer {
  readonly resource: string;
  readonly capacity: string;
  readonly granted: string;
  readonly unallocated: string;
  readonly oversubscribed: string;
  readonly tenants: readonly {
    readonly tenant: string;
    readonly limit: string | null;
    readonly granted: string;
  }[];
}

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

const memory = (text: string): number => amountOf('memory', text);
const sum = (amounts: readonly number[]): number => amounts.reduce((total, amount) => total + amount, 0);

/** In words, each thing that Bellows says of memory and the kernel does not, at one look; empty when there is none. */
async function differences(bellows: Bellows): Promise<{ readonly found: string[]; readonly bytes: number }> {
  const [instances, ledger] = await Promise.all([
    bellows.instances(),
    bellows.v1<LedgerAnswer[]>('GET', '/ledger').then(({ body }) => body),
  ]);
  const running = instances.filter(({ state }) => state !== 'stopping' && state !== 'gone');
  const line = ledger.find(({ resource }) => resource === 'memory');
  if (line === undefined) throw new Error('the ledger has no line of memory');
  const found: string[] = [];
  const compare = (what: string, said: number, kernel: number): void => {
    if (said !== kernel) found.push(`${what}: ${said} is said, and it is ${kernel}`);
  };

  const limits = new Map<string, number>();
  for (const { id, pid, tenant, memory: own } of running) {
    const group = groupDirectory(pid, 'memory');
    limits.set(id, memoryLimitOf(group));
    compare(`grant of ${id}`, memory(own.grant), memoryLimitOf(group));
    const limit = line.tenants.find((each) => each.tenant === tenant)?.limit ?? null;
    compare(`limit of ${tenant}`, limit === null ? Infinity : memory(limit), memoryLimitOf(dirname(group)));
  }
  for (const { tenant, granted, limit } of line.tenants) {
    const own = running.filter((each) => each.tenant === tenant);
    const bytes = sum(own.map(({ id }) => limits.get(id) ?? 0));
    compare(`granted to ${tenant}`, memory(granted), bytes);
    if (limit !== null && bytes > memory(limit))
      found.push(`${tenant} has ${bytes}, and its limit is ${limit}`);
  }
  const bytes = sum([...limits.values()]);
  compare('granted in all', memory(line.granted), bytes);
  compare(
    'granted, unallocated and oversubscribed',
    memory(line.granted) + memory(line.unallocated) - memory(line.oversubscribed),
    memory(line.capacity),
  );
  return { found, bytes };
}

export class GrantSamples {
  readonly #bellows: Bellows;
  readonly #wrong: string[] = [];
  #samples = 0;
  #equalAtOnce = 0;
  #longestApartMs = 0;
  #longestApart: readonly string[] = [];
  #mostBytes = 0;
  #isOver = false;
  #going: Promise<void> | undefined;

  constructor(bellows: Bellows) {
    this.#bellows = bellows;
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
      if (performance.now() - begunMs > settleMs) {
        this.#wrong.push(...found);
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    this.#samples += 1;
  }

  /** An instance that ends between the two looks has no group any more: looked at again like all that differs. */
  async #look(): Promise<{ readonly found: readonly string[]; readonly bytes: number }> {
    try {
      return await differences(this.#bellows);
    } catch (thrown) {
      return { found: [String(thrown)], bytes: 0 };
    }
  }
}
