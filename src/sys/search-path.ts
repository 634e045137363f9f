// Where the system's own programs are looked for. Owns nothing but the list.
import { delimiter } from 'node:path';

/** Debian leaves these out of an ordinary user's PATH, and mkfs.ext4, losetup, ip and tc are in there; nobody needs to be root for all. */
const systemDirectories = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** `path`, and behind it the directories of system programs that it leaves out. */
export function withSystemDirectories(path: string | undefined): string {
  const given = (path ?? '').split(delimiter).filter((directory) => directory !== '');
  return [...given, ...systemDirectories.filter((directory) => !given.includes(directory))].join(delimiter);
}
