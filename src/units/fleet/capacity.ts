// What virtual machines on this host may be granted together: its quantity of each resource, less what it keeps.
import { capacityOf } from '../../agent/capabilities.ts';
import type { Bytes } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import { defaultTuning } from './config.ts';

export async function fleetCapacity(dataDirectory: string): Promise<Resources> {
  const host = capacityOf(dataDirectory);
  return { ...host, memory: Math.max(0, host.memory - defaultTuning.hostReserveBytes) as Bytes };
}
