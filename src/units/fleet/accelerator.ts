// Which accelerator virtual machines run with: the operator's, or what works here.
import { join } from 'node:path';
import { BellowsError } from '../../base/errors.ts';
import type { Accelerator } from '../vm/accelerator.ts';
import type { GuestImage } from '../vm/image/port.ts';
import { probeAccelerator } from '../vm/probe.ts';
import type { FleetConfig } from './config.ts';

/** @throws BellowsError NotSupportedHere when there is no QEMU. */
export async function chooseAccelerator(
  wanted: FleetConfig['units']['accelerator'],
  { kernel }: GuestImage,
  dataDirectory: string,
): Promise<Accelerator> {
  if (wanted === 'auto')
    return probeAccelerator({ kernel, cacheFile: join(dataDirectory, 'accelerator.json') });
  return { kind: wanted, why: 'the operator said so' };
}

/** Whether `bellows up --unit auto` makes virtual machines: where they are as fast as the machine. */
export async function virtualMachinesWork(): Promise<boolean> {
  try {
    return (await probeAccelerator()).kind === 'kvm';
  } catch (thrown) {
    // There is no QEMU, and nobody asked for it.
    if (thrown instanceof BellowsError && thrown.code === 'NotSupportedHere') return false;
    throw thrown;
  }
}
