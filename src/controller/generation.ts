// Which deployments running instances can serve: the short hash that names a generation. Pure.
import { createHash } from 'node:crypto';
import type { UnitKind } from '../model/unit-kind.ts';
import type { NetworkMode, RuntimeName } from '../model/workload.ts';

interface GenerationInput {
  readonly codeSha256: string;
  readonly env: Readonly<Record<string, string>>;
  readonly runtime: RuntimeName;
  readonly network: NetworkMode;
  /** A function's handler or an app's command. */
  readonly entry: string;
  /** Where they run. `host` is the same as nothing: it was the only place for long. */
  readonly unit?: UnitKind | undefined;
}

/** 64 bits: short in paths and logs; only generations of one workload must differ. */
const hashCharacters = 16;

/** Equal inputs give equal generations, whatever the order of the environment's names. Memory, CPU and timeout are not in it: they change live. */
export function generationOf(input: GenerationInput): string {
  const env = Object.entries(input.env).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const place = input.unit === 'vm' ? [input.unit] : [];
  const text = JSON.stringify([input.codeSha256, env, input.entry, input.runtime, input.network, ...place]);
  return createHash('sha256').update(text).digest('hex').slice(0, hashCharacters);
}
