// What appears in running sandboxes: code and memory figures. Owns two small file systems of the agent's own and every
// mount in them but those of scratch.ts; they stand in the machine's mount table, so a new agent finds them again.
//
//   stage/code/HASH ── read-only view of a code directory ──bind──▶ m/SLOT/task ══propagates══▶ /var/task inside
//   memory group    ── read-only view ─────────────────────bind──▶ m/SLOT/cg   ══propagates══▶ /var/cg inside
//   stage/tmp/SLOT  ── scratch.ts ─────────────────────────bind at launch────────────────────▶ /tmp inside
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  mount,
  mountPointsAt,
  MS_BIND,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_PRIVATE,
  MS_RDONLY,
  MS_REMOUNT,
  MS_SHARED,
  umount,
} from '../../sys/mount.ts';

/** They hold empty directories only. */
const ownFileSystem = 'mode=755,size=1m';

export class SandboxMounts {
  readonly #shared: string;
  readonly #stage: string;
  /** Which slots show a staged code directory. */
  readonly #users = new Map<string, Set<string>>();
  /** Code directories that are mounted, by whichever agent: the machine's table is read once, for it takes 0.2 ms. */
  readonly #staged = new Set<string>();

  constructor(runDirectory: string) {
    this.#shared = join(runDirectory, 'm');
    this.#stage = join(runDirectory, 'stage');
  }

  open(): void {
    // Shared: what is mounted below appears in every sandbox that was given a part of it.
    // Private: a bind made from here must not be in the sandboxes' reach before it is read-only.
    for (const [directory, propagation] of [
      [this.#shared, MS_SHARED],
      [this.#stage, MS_PRIVATE],
    ] as const) {
      mkdirSync(directory, { recursive: true, mode: 0o755 });
      if (!mountPointsAt(directory).includes(directory)) {
        mount('bellows', directory, 'tmpfs', MS_NOSUID | MS_NODEV, ownFileSystem);
      }
      mount(null, directory, null, propagation, null);
    }
    for (const name of ['code', 'cg']) mkdirSync(join(this.#stage, name), { recursive: true });
    for (const point of mountPointsAt(join(this.#stage, 'code'))) this.#staged.add(point);
  }

  close(): void {
    for (const directory of [this.#shared, this.#stage]) {
      for (const point of mountPointsAt(directory)) umount(point, { detach: true });
      if (existsSync(directory)) rmdirSync(directory);
    }
    this.#users.clear();
    this.#staged.clear();
  }

  slots(): string[] {
    return existsSync(this.#shared) ? readdirSync(this.#shared) : [];
  }

  prepare(slot: string): void {
    for (const name of ['task', 'cg']) mkdirSync(join(this.#shared, slot, name), { recursive: true });
  }

  /** The part of the shared file system that a slot's sandbox sees as /var. */
  shared(slot: string): string {
    return join(this.#shared, slot);
  }

  /** Of the agent's own, and seen by nobody else: what is mounted here is not in a sandbox's reach. */
  get stage(): string {
    return this.#stage;
  }

  /** A bind of a read-only mount is read-only at once; made read-only afterwards it would stay writable inside. */
  showCode(slot: string, codeDirectory: string): void {
    const staged = join(this.#stage, 'code', stagedName(codeDirectory));
    if (!this.#staged.has(staged)) {
      this.#bindReadOnly(codeDirectory, staged, 0);
      this.#staged.add(staged);
    }
    this.adopt(slot, codeDirectory);
    mount(staged, join(this.#shared, slot, 'task'), null, MS_BIND, null);
  }

  adopt(slot: string, codeDirectory: string): void {
    const staged = join(this.#stage, 'code', stagedName(codeDirectory));
    const users = this.#users.get(staged) ?? new Set();
    this.#users.set(staged, users.add(slot));
  }

  showMemory(slot: string, memoryDirectory: string): void {
    const staged = join(this.#stage, 'cg', slot);
    this.#bindReadOnly(memoryDirectory, staged, MS_NOEXEC);
    mount(staged, join(this.#shared, slot, 'cg'), null, MS_BIND, null);
    umount(staged);
    rmdirSync(staged);
  }

  clear(slot: string): void {
    const staged = join(this.#stage, 'cg', slot);
    for (const directory of [this.shared(slot), staged]) {
      for (const point of mountPointsAt(directory)) umount(point, { detach: true });
    }
    for (const directory of [
      join(this.shared(slot), 'task'),
      join(this.shared(slot), 'cg'),
      this.shared(slot),
      staged,
    ]) {
      if (existsSync(directory)) rmdirSync(directory);
    }
    for (const users of this.#users.values()) users.delete(slot);
    this.#dropUnused();
  }

  #bindReadOnly(from: string, to: string, flags: number): void {
    mkdirSync(to, { recursive: true });
    mount(from, to, null, MS_BIND, null);
    mount(null, to, null, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | flags, null);
  }

  /** Staged code that no slot shows, whoever staged it: an unpacked archive can then be removed. */
  #dropUnused(): void {
    const directory = join(this.#stage, 'code');
    for (const name of readdirSync(directory)) {
      const staged = join(directory, name);
      if ((this.#users.get(staged)?.size ?? 0) > 0) continue;
      this.#users.delete(staged);
      this.#staged.delete(staged);
      for (const point of mountPointsAt(staged)) umount(point, { detach: true });
      rmdirSync(staged);
    }
  }
}

function stagedName(codeDirectory: string): string {
  return createHash('sha256').update(codeDirectory).digest('hex').slice(0, 32);
}
