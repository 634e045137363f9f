import { describe, expect, test } from 'vitest';
import type { TenantId } from '../base/ids.ts';
import { mib } from '../base/quantity.ts';
import { deployedWorkload } from './deployment.ts';
import { generationOf } from './generation.ts';
import { fn } from './testing/harness.ts';

const tenant = 'acme' as TenantId;
const moment = { nowMs: 1, revisionId: 'r', network: 'host' } as const;

describe('generation', () => {
  const input = {
    codeSha256: 'c',
    env: { A: '1', B: '2' },
    runtime: 'nodejs26.x',
    network: 'host',
    entry: 'index.handler',
  } as const;

  test('does not depend on the order of environment names', () => {
    expect(generationOf({ ...input, env: { B: '2', A: '1' } })).toBe(generationOf(input));
  });

  test('changes with code, environment, runtime, network and entry', () => {
    const others = [
      { codeSha256: 'd' },
      { env: { A: '1' } },
      { runtime: 'custom' },
      { network: 'none' },
      { entry: 'other' },
    ] as const;
    const all = [input, ...others.map((change) => ({ ...input, ...change }))].map(generationOf);
    expect(new Set(all).size).toBe(all.length);
  });

  test('does not change with memory, timeout or tags', () => {
    const one = deployedWorkload(tenant, fn('f'), undefined, moment);
    const two = deployedWorkload(
      tenant,
      fn('f', { request: { memory: (512 * mib) as never }, timeoutMs: 9, tags: { a: 'b' } }),
      undefined,
      moment,
    );
    expect(two.generation).toBe(one.generation);
  });
});
