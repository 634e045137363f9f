import { describe, expect, test } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { Sample } from '../measures.ts';
import type { Tracked } from '../state/actual.ts';
import { observeHost, type HostSources } from './observation.ts';

const usage = (id: string, megabytes: number): Sample['instances'][number] =>
  ({
    id,
    usage: { memoryBytes: megabytes * mib, workingSetBytes: megabytes * mib },
  }) as Sample['instances'][number];
const memory = (megabytes: number): Resources => ({ memory: megabytes * mib }) as Resources;

function instance(id: string, phase: 'waiting' | 'starting' | 'serving', grantMegabytes = 128): Tracked {
  const known = phase === 'serving' ? { info: { grant: memory(grantMegabytes) } } : null;
  return { spec: { id: id as InstanceId }, life: { phase, known } } as Tracked;
}

function observed(change: Partial<HostSources> & { readonly used?: Record<string, number> }) {
  const { used = {}, ...rest } = change;
  return observeHost({
    sample: {
      host: { memoryAvailableBytes: 3 * gib, memoryTotalBytes: 4 * gib, memoryPressurePercent: 4 },
      instances: Object.entries(used).map(([id, megabytes]) => usage(id, megabytes)),
    } as Sample,
    instances: [],
    capacityBytes: 4 * gib,
    reserveBytes: 256 * mib,
    demandOf: () => memory(100),
    waitingBytes: 0,
    ...rest,
  });
}

describe('M-B1: what is weighed', () => {
  test('what is available beyond the reserve, and pressure as the kernel says it', () => {
    expect(observed({})).toEqual({
      capacity: 4 * gib,
      unallocated: 3 * gib - 256 * mib,
      coming: 0,
      unmet: 0,
      pressurePercent: 4,
    });
  });

  test('half of the demand beyond what is used is coming, also of what is just starting', () => {
    const instances = [instance('i-1', 'serving'), instance('i-2', 'starting'), instance('i-3', 'waiting')];
    expect(observed({ instances, used: { 'i-1': 40 } }).coming).toBe((30 + 50) * mib);
  });

  test('demand beyond the grant, and starts that wait, are unmet', () => {
    const instances = [instance('i-1', 'serving', 70), instance('i-2', 'serving', 128)];
    expect(observed({ instances, waitingBytes: 64 * mib }).unmet).toBe((30 + 64) * mib);
  });

  test('a kernel that says nothing of pressure has none', () => {
    const sample = {
      host: { memoryAvailableBytes: 0, memoryTotalBytes: 1, memoryPressurePercent: null },
      instances: [],
    };
    expect(observed({ sample: sample as unknown as Sample })).toMatchObject({
      unallocated: 0,
      pressurePercent: 0,
    });
  });
});
