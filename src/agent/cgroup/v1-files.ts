// Where a group's files are under v1, which has a directory for it in each controller's own hierarchy. Owns paths, and
// what a missing controller or group means. What the files say is v1.ts's.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { BellowsError } from '../../base/errors.ts';
import { hasCode, readTextIfThere, writeText } from './files.ts';
import { checkGroupName, relativePath } from './group-path.ts';
import type { V1Controller, V1Mounts } from './mounts.ts';
import type { GroupPath } from './port.ts';

export class V1Files {
  readonly #mounts: V1Mounts;
  /** Each hierarchy once, although cpu and cpuacct may share one. */
  readonly #hierarchies: readonly string[];
  readonly #rootName: string;

  /**
   * @param rootName the one group below each mount point that is ours; nothing outside it is ever touched
   * @throws BellowsError NotSupportedHere when no controller is mounted
   */
  constructor(mounts: V1Mounts, rootName: string) {
    this.#mounts = mounts;
    this.#rootName = checkGroupName(rootName);
    this.#hierarchies = [...new Set(mounts.values())];
    if (this.#hierarchies.length === 0) {
      throw new BellowsError('NotSupportedHere', 'No cgroup v1 controller that Bellows uses is mounted.');
    }
  }

  /** Makes the group's directories. Its parents' are there. */
  make(group: GroupPath): void {
    for (const directory of this.directories(group)) makeGroup(directory);
  }

  /** One in each hierarchy. */
  directories(group: GroupPath): string[] {
    const path = relativePath(this.#rootName, group);
    return this.#hierarchies.map((hierarchy) => join(hierarchy, path));
  }

  /** Null when the controller is not mounted. */
  directory(controller: V1Controller, group: GroupPath): string | null {
    const mount = this.#mounts.get(controller);
    return mount === undefined ? null : `${mount}/${relativePath(this.#rootName, group)}`;
  }

  read(controller: V1Controller, group: GroupPath, file: string): string | undefined {
    const directory = this.directory(controller, group);
    return directory === null ? undefined : readTextIfThere(`${directory}/${file}`);
  }

  /** Does nothing without the controller, nor when the group is gone: it may end at any moment. */
  write(controller: V1Controller, group: GroupPath, file: string, text: string): void {
    const directory = this.directory(controller, group);
    if (directory === null) return;
    try {
      writeText(`${directory}/${file}`, text);
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENODEV')) throw error;
    }
  }
}

function makeGroup(directory: string): void {
  try {
    mkdirSync(directory);
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return;
    throw error;
  }
  // A new memory group copies the hold of the group around it, and nobody would ever end that one.
  if (readTextIfThere(join(directory, 'memory.oom_control'))?.includes('oom_kill_disable 1')) {
    writeText(join(directory, 'memory.oom_control'), '0');
  }
}
