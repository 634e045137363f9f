// Where a group's files are under v2, which has one directory for it, and what is true of the files of any controller.
import { readTextIfThere, writeText, hasCode } from './files.ts';
import { checkGroupName, relativePath } from './group-path.ts';
import type { GroupPath } from './port.ts';

export class V2Files {
  readonly baseDirectory: string;
  readonly rootName: string;

  constructor(baseDirectory: string, rootName: string) {
    this.baseDirectory = baseDirectory;
    this.rootName = checkGroupName(rootName);
  }

  directory(group: GroupPath): string {
    return `${this.baseDirectory}/${relativePath(this.rootName, group)}`;
  }

  read(group: GroupPath, file: string): string | undefined {
    return readTextIfThere(`${this.directory(group)}/${file}`);
  }

  /** Does nothing without the file: its controller is missing, or the group has ended. */
  write(group: GroupPath, file: string, text: string): void {
    try {
      writeText(`${this.directory(group)}/${file}`, text);
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENODEV')) throw error;
    }
  }
}

/** "max" is no limit, and so is a file that is not there. */
export function limitOf(text: string | undefined): number | null {
  return text === undefined || text === 'max' ? null : Number(text);
}
