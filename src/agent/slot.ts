// A slot: the places on this machine that one sandboxed process has, from before it belongs to a workload until it is
// gone. An instance keeps its slot's name, since sockets and mounts can not be renamed under a running process.
// Owns names and the run directory. Does not own mounts (sandbox/) nor what is written into the files.
import { chownSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Brand } from '../base/brand.ts';
import { newInstanceId } from '../base/ids.ts';
import { makeFifo } from '../sys/descriptors.ts';

export type SlotName = Brand<string, 'slot'>;

/** Files in the run directory that the sandbox shows in /etc: the names of users and groups. */
export const userFiles = { users: 'passwd', groups: 'group' } as const;

export interface Slot {
  readonly name: SlotName;
  /** Holds the sockets; seen inside the sandbox, writable there by nobody but root. */
  readonly runDirectory: string;
  /** The FIFO that standard output and error go to. */
  readonly logFifo: string;
}

/** A slot's name looks like an instance's id: both are unique without asking anyone. */
export const newSlotName = (): SlotName => newInstanceId().replace(/^i-/, 's-') as SlotName;

export function slotAt(slotsDirectory: string, name: SlotName): Slot {
  const runDirectory = join(slotsDirectory, name);
  return {
    name,
    runDirectory,
    logFifo: join(runDirectory, 'log'),
  };
}

/** Makes the run directory. */
export function makeSlot(slot: Slot): void {
  // 755: the tenant inside may look a socket up, and replace none.
  mkdirSync(slot.runDirectory, { recursive: true, mode: 0o755 });
  makeFifo(slot.logFifo, 0o600);
  nameUser(slot, null);
}

/** Gives the user of the sandbox a name: programs ask for it and some fail without. Null: it is not known yet. */
export function nameUser(slot: Slot, uid: number | null): void {
  const user = uid === null ? '' : `bellows:x:${uid}:${uid}::/tmp:/bin/sh\n`;
  const group = uid === null ? '' : `bellows:x:${uid}:\n`;
  writeFileSync(join(slot.runDirectory, userFiles.users), `root:x:0:0::/:/sbin/nologin\n${user}`, {
    mode: 0o644,
  });
  writeFileSync(join(slot.runDirectory, userFiles.groups), `root:x:0:\n${group}`, { mode: 0o644 });
}

/** Lets the tenant open its own standard output again, as programs do through /dev/stdout. */
export function giveLog(slot: Slot, uid: number): void {
  chownSync(slot.logFifo, uid, uid);
}

export function removeSlot(slot: Slot): void {
  rmSync(slot.runDirectory, { recursive: true, force: true });
}
