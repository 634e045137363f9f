/**
 * Owns: mount(2) and umount(2) of the calling process's mount namespace, their flags, and what is mounted there.
 * Does not own: what is mounted where, and taking it away again.
 */
import { readFileSync } from 'node:fs';
import { libc, SystemError } from './libc.ts';

export const MS_RDONLY = 0x1;
export const MS_NOSUID = 0x2;
export const MS_NODEV = 0x4;
export const MS_NOEXEC = 0x8;
export const MS_REMOUNT = 0x20;
export const MS_BIND = 0x1000;
/** Moves a mount; neither where it was nor where it goes may be shared. */
export const MS_MOVE = 0x2000;
export const MS_REC = 0x4000;
export const MS_PRIVATE = 0x4_0000;
export const MS_SLAVE = 0x8_0000;
export const MS_SHARED = 0x10_0000;

const MNT_DETACH = 0x2;
const UMOUNT_NOFOLLOW = 0x8;

/**
 * What a kind of mount does not use is null. A bind mount ignores every other flag, so a read-only
 * one takes two calls: MS_BIND, then MS_BIND | MS_REMOUNT | MS_RDONLY.
 */
export function mount(
  source: string | null,
  target: string,
  fstype: string | null,
  flags: number,
  data: string | null,
): void {
  for (const text of [source, target, fstype, data]) refuseNul(text);
  const { call, errno } = libc();
  if (call.mount(source, target, fstype, BigInt(flags), data) === 0) return;
  throw new SystemError('mount', errno(), `'${source ?? 'none'}' -> '${target}'`);
}

export interface UmountOptions {
  /** Takes the mount out of sight now and ends it when its last user is gone. */
  readonly detach?: boolean;
}

/** Never follows a symbolic link at `target`: whoever may write beside it must not choose what is unmounted. */
export function umount(target: string, { detach = false }: UmountOptions = {}): void {
  refuseNul(target);
  const { call, errno } = libc();
  if (call.umount2(target, UMOUNT_NOFOLLOW | (detach ? MNT_DETACH : 0)) === 0) return;
  throw new SystemError('umount', errno(), `'${target}'`);
}

/** C would end the string there, and act on another path than the one that was checked. */
function refuseNul(text: string | null): void {
  if (text?.includes('\0') === true) throw new TypeError(`NUL character in ${JSON.stringify(text)}`);
}

/** Mount points at `directory` and below it, deepest and latest first: the order in which they can be unmounted. */
export function mountPointsAt(directory: string): string[] {
  return parseMountPoints(readFileSync('/proc/self/mountinfo', 'utf8'))
    .filter((path) => path === directory || path.startsWith(`${directory}/`))
    .reverse();
}

/** Mount points in the order they were mounted, from the text of /proc/self/mountinfo. */
export function parseMountPoints(mountinfo: string): string[] {
  const points: string[] = [];
  for (const line of mountinfo.split('\n')) {
    // "36 35 98:0 /root /mount/point options…" with blanks and backslashes as octal numbers (proc_pid_mountinfo(5))
    const point = line.split(' ')[4];
    if (point !== undefined)
      points.push(
        point.replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8))),
      );
  }
  return points;
}
