// Where a group lies below a mount, and the guard that nothing outside Bellows' root group is ever named. Pure.
import { BellowsError } from '../../base/errors.ts';
import type { GroupPath } from './port.ts';

/** A file name that is neither hidden nor a way up; longer than any id or tenant's name of ours. */
const safeName = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** @throws BellowsError InvalidName for a name that could lead out of the root group. */
export function checkGroupName(name: string): string {
  if (safeName.test(name)) return name;
  throw new BellowsError(
    'InvalidName',
    `${JSON.stringify(name.slice(0, 80))} can not be the name of a resource group.`,
  );
}

/** The path of `group` below the mount point, its root group first. @throws BellowsError InvalidName */
export function relativePath(rootName: string, group: GroupPath): string {
  let path = checkGroupName(rootName);
  for (const part of group) path += `/${checkGroupName(part)}`;
  return path;
}
