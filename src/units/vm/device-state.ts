// The state of a machine's devices as QEMU writes it, put behind the beginning that a clone's state has. Pure: knows of QEMU's
// stream (docs/devel/migration.rst) no more than where the devices begin.
//
//   template's state    head │ list of the memory's blocks │ small blocks of firmware │ devices │ description
//   a unit's devices    head │ devices
import { BellowsError } from '../../base/errors.ts';

/** Its magic number and version. */
const headBytes = 8;
const fullSection = 0x04;
/** Of a section before its name: its kind, a number, and how long the name is; after it, instance and version. */
const beforeNameBytes = 6;
const afterNameBytes = 8;

/** What a clone of the template is given to be that unit. @throws BellowsError StartFailed when the two do not fit together */
export function unitState(template: Buffer, devices: Buffer): Buffer {
  const nameBytes = devices.length > headBytes + beforeNameBytes ? devices.readUInt8(headBytes + 5) : 0;
  const first = devices.subarray(headBytes, headBytes + beforeNameBytes + nameBytes + afterNameBytes);
  const at = template.indexOf(first);
  if (first[0] !== fullSection || at < 0 || template.indexOf(first, at + 1) >= 0)
    throw new BellowsError('StartFailed', "The state of a machine is not as its template's.");
  return Buffer.concat([template.subarray(0, at), devices.subarray(headBytes)]);
}
