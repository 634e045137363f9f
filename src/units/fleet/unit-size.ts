// What a virtual machine is provisioned with when nobody says otherwise: any part of it can be claimed again.
import { availableParallelism } from 'node:os';
import type { Bytes, Millicores } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import { defaultBandwidth } from '../../model/workload.ts';
import { defaultUnitMemoryBytes, defaultUnitStorageBytes, mostUnitCpus } from './config.ts';

export function defaultUnitSize(
  memoryBytes: number = defaultUnitMemoryBytes,
  storageBytes: number = defaultUnitStorageBytes,
): Resources {
  return {
    memory: memoryBytes as Bytes,
    cpu: (Math.min(availableParallelism(), mostUnitCpus) * 1000) as Millicores,
    storage: storageBytes as Bytes,
    bandwidth: defaultBandwidth,
  };
}
