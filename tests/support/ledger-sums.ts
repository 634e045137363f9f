// The ledger's line of memory, and whether it adds up to what is held of each instance. Owns that arithmetic and the words for
// what differs; where limits are held, and how that is read, is ./grant-samples.ts' and ./machine-grants.ts'.
import { amountOf } from './apps.ts';
import type { Bellows, InstanceAnswer } from './bellows.ts';

interface LedgerAnswer {
  readonly resource: string;
  readonly capacity: string;
  readonly provisioned: string;
  readonly claimed: string;
  readonly granted: string;
  readonly unallocated: string;
  readonly oversubscribed: string;
  readonly tenants: readonly {
    readonly tenant: string;
    readonly limit: string | null;
    readonly granted: string;
  }[];
}

/** One look at both sides. */
export interface Look {
  /** In words, each thing that Bellows says of memory and that is not so; empty when all is well. */
  readonly found: readonly string[];
  /** What is held of all instances together. */
  readonly bytes: number;
}

export const memory = (text: string): number => amountOf('memory', text);
export const sum = (amounts: readonly number[]): number =>
  amounts.reduce((total, amount) => total + amount, 0);

/** Collects what differs, in words. */
export class Differences {
  readonly found: string[] = [];

  compare(what: string, said: number, held: number): void {
    if (said !== held) this.found.push(`${what}: ${said} is said, and it is ${held}`);
  }
}

export async function memoryLine(bellows: Bellows): Promise<LedgerAnswer> {
  const { body } = await bellows.v1<LedgerAnswer[]>('GET', '/ledger');
  const line = body.find(({ resource }) => resource === 'memory');
  if (line === undefined) throw new Error('the ledger has no line of memory');
  return line;
}

/** Whether the ledger adds up to what is held of each instance. @returns what is held of all together */
export function compareLedger(
  differences: Differences,
  line: LedgerAnswer,
  running: readonly InstanceAnswer[],
  heldBytes: ReadonlyMap<string, number>,
): number {
  for (const { tenant, granted, limit } of line.tenants) {
    const own = running.filter((each) => each.tenant === tenant);
    const bytes = sum(own.map(({ id }) => heldBytes.get(id) ?? 0));
    differences.compare(`granted to ${tenant}`, memory(granted), bytes);
    if (limit !== null && bytes > memory(limit))
      differences.found.push(`${tenant} has ${bytes}, and its limit is ${limit}`);
  }
  const bytes = sum([...heldBytes.values()]);
  differences.compare('granted in all', memory(line.granted), bytes);
  differences.compare(
    'granted, unallocated and oversubscribed',
    memory(line.granted) + memory(line.unallocated) - memory(line.oversubscribed),
    memory(line.capacity),
  );
  return bytes;
}

export async function running(bellows: Bellows): Promise<InstanceAnswer[]> {
  return (await bellows.instances()).filter(({ state }) => state !== 'stopping' && state !== 'gone');
}
