// The tree that an archive describes: refuses entries that contradict each other and links that lead out of it.
// Pure bookkeeping; whoever writes files asks here first. Names that differ in case only are two names, as on Linux.
import { BellowsError } from '../../base/errors.ts';
import { parseEntryPath, quoteName } from './entry-path.ts';
import { maxEntries, maxLinkHops } from './limits.ts';

type Node =
  | { readonly kind: 'directory' }
  | { readonly kind: 'file' }
  | { readonly kind: 'link'; readonly target: string };

export interface Claim {
  /** Relative, with `/`; empty for the root. */
  readonly path: string;
  /** Directories to make before it, outermost first. */
  readonly newDirectories: readonly string[];
}

function tooManyEntries(): BellowsError {
  return new BellowsError(
    'ArchiveTooLarge',
    `The archive holds more than ${maxEntries} files and directories.`,
    'Leave development dependencies out, or bundle the code.',
  );
}

export class EntryTree {
  readonly #nodes = new Map<string, Node>([['', { kind: 'directory' }]]);
  /** A directory may be named any number of times, which makes no node. */
  #claims = 0;

  /** @throws BellowsError UnsafeArchive, InvalidArchive, ArchiveTooLarge */
  claim(name: string, node: Node): Claim {
    this.#claims += 1;
    if (this.#claims > maxEntries) throw tooManyEntries();
    const segments = parseEntryPath(name);
    const newDirectories: string[] = [];
    let path = '';
    for (const segment of segments.slice(0, -1)) {
      path = path === '' ? segment : `${path}/${segment}`;
      this.#requireDirectory(name, path, newDirectories);
    }
    const last = segments.at(-1);
    if (last !== undefined) path = path === '' ? last : `${path}/${last}`;
    if (node.kind === 'directory') {
      this.#requireDirectory(name, path, newDirectories);
    } else {
      if (this.#nodes.has(path)) {
        throw new BellowsError(
          'InvalidArchive',
          `The archive holds ${quoteName(name)} twice, so that it is unclear which one is meant.`,
          'Make the archive anew, with each file once.',
        );
      }
      this.#add(path, node);
    }
    return { path, newDirectories };
  }

  #requireDirectory(name: string, path: string, newDirectories: string[]): void {
    const there = this.#nodes.get(path);
    if (there?.kind === 'directory') return;
    if (there !== undefined) {
      throw new BellowsError(
        'UnsafeArchive',
        `The archive's entry ${quoteName(name)} would be written through ${quoteName(path)}, which is a ${there.kind}.`,
        'Make the archive anew from a plain directory.',
      );
    }
    this.#add(path, { kind: 'directory' });
    newDirectories.push(path);
  }

  #add(path: string, node: Node): void {
    if (this.#nodes.size > maxEntries) throw tooManyEntries();
    this.#nodes.set(path, node);
  }

  /** Every link with its target, once all entries are known. @throws BellowsError UnsafeArchive when one leads out. */
  links(): { readonly path: string; readonly target: string }[] {
    const links: { path: string; target: string }[] = [];
    for (const [path, node] of this.#nodes) {
      if (node.kind !== 'link') continue;
      this.#followInside(path, node.target);
      links.push({ path, target: node.target });
    }
    return links;
  }

  /** Walks as the kernel would, through other links too: `a/..` is not the same as nothing when `a` is a link. */
  #followInside(path: string, target: string): void {
    const refuse = (why: string): BellowsError =>
      new BellowsError(
        'UnsafeArchive',
        `The archive's link ${quoteName(path)} to ${quoteName(target)} ${why}.`,
        'Link only to files in the archive, by relative paths, or put the files themselves in it.',
      );
    const at = path.split('/').slice(0, -1);
    let todo = target.split('/');
    if (target === '' || target.includes('\0')) throw refuse('has no usable target');
    if (target.startsWith('/')) throw refuse('is absolute');
    for (let hops = 0; ;) {
      const segment = todo.shift();
      if (segment === undefined) return;
      if (segment === '' || segment === '.') continue;
      if (segment === '..') {
        if (at.pop() === undefined) throw refuse('leads out of the archive');
        continue;
      }
      at.push(segment);
      const node = this.#nodes.get(at.join('/'));
      if (node?.kind !== 'link') continue;
      hops += 1;
      if (hops > maxLinkHops) throw refuse('goes round in circles');
      if (node.target.startsWith('/')) throw refuse('leads to an absolute link');
      at.pop();
      todo = [...node.target.split('/'), ...todo];
    }
  }
}
