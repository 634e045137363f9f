// Ends what an earlier fleet left, without a fleet: where there is to be none, or none could be opened. What is the driver's of it is
// src/units/vm's.
import { detectCgroup } from '../../agent/cgroup/detect.ts';
import type { Logger } from '../../sys/log.ts';
import { sweepUnits } from '../vm/sweep.ts';
import { fleetCgroupRoot, type FleetConfig } from './config.ts';
import { UnitRecords } from './records.ts';

/** At once: instances in guests could be asked to end by a fleet alone, and that begins with an image. */
export async function sweepFleet(
  { dataDirectory, cgroupRoot }: Pick<FleetConfig, 'dataDirectory' | 'cgroupRoot'>,
  log: Logger,
): Promise<void> {
  const { cgroup } = detectCgroup(fleetCgroupRoot(cgroupRoot));
  const onDefect = (error: unknown, context: string): void =>
    log.error({ err: error, context }, 'something of a virtual machine is left');
  await sweepUnits({ dataDirectory, cgroup, onDefect });
  new UnitRecords(dataDirectory).removeAllBut(new Set());
}
