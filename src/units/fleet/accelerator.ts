// Which accelerator virtual machines run with: the operator's, or what works here.
import type { Accelerator } from '../vm/accelerator.ts';
import type { GuestImage } from '../vm/image/port.ts';
import type { FleetConfig } from './config.ts';

export async function chooseAccelerator(
  wanted: FleetConfig['units']['accelerator'],
  _image: GuestImage,
): Promise<Accelerator> {
  if (wanted === 'auto') return { kind: 'tcg', why: 'KVM was not probed' };
  return { kind: wanted, why: 'the operator said so' };
}

/** Whether `bellows up --unit auto` makes virtual machines. */
export async function virtualMachinesWork(): Promise<boolean> {
  return false;
}
