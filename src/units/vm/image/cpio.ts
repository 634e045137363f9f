// Writes a cpio archive of the form that kernels unpack as an initramfs ("newc"). Owns the format only. The same files
// give the same bytes: sorted, owned by root, of one time. See the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

/** Paths are relative to the archive's root, without `./`. */
export type CpioEntry =
  | { readonly path: string; readonly type: 'file'; readonly mode: number; readonly content: Uint8Array }
  | { readonly path: string; readonly type: 'directory'; readonly mode: number }
  | { readonly path: string; readonly type: 'link'; readonly target: string }
  /** A character device: init's console is opened before anything could make it. */
  | {
      readonly path: string;
      readonly type: 'device';
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
    };

const typeBits = { file: 0o100000, directory: 0o040000, link: 0o120000, device: 0o020000 } as const;
const alignment = 4;
const trailer = 'TRAILER!!!';
const nothing = new Uint8Array();

/** Directories that files lie in are made; several archives may follow each other in one initramfs. */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const all = new Map<string, CpioEntry>();
  for (const entry of entries) {
    const parts = entry.path.split('/');
    for (let depth = 1; depth < parts.length; depth += 1) {
      const path = parts.slice(0, depth).join('/');
      if (!all.has(path)) all.set(path, { path, type: 'directory', mode: 0o755 });
    }
    all.set(entry.path, entry);
  }
  const chunks: Uint8Array[] = [];
  // By code unit, so that a directory comes before what is in it, on every machine.
  const sorted = [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  sorted.forEach((entry, index) => append(chunks, entry, index + 1));
  pushHeader(chunks, { inode: 0, mode: 0, links: 1, size: 0, name: trailer, major: 0, minor: 0 });
  return Buffer.concat(chunks);
}

function append(chunks: Uint8Array[], entry: CpioEntry, inode: number): void {
  const content =
    entry.type === 'file' ? entry.content : entry.type === 'link' ? Buffer.from(entry.target) : nothing;
  pushHeader(chunks, {
    inode,
    mode: typeBits[entry.type] | (entry.type === 'link' ? 0o777 : entry.mode),
    links: entry.type === 'directory' ? 2 : 1,
    size: content.byteLength,
    name: entry.path,
    major: entry.type === 'device' ? entry.major : 0,
    minor: entry.type === 'device' ? entry.minor : 0,
  });
  chunks.push(content, padding(content.byteLength));
}

interface Header {
  readonly inode: number;
  readonly mode: number;
  readonly links: number;
  readonly size: number;
  readonly name: string;
  readonly major: number;
  readonly minor: number;
}

function pushHeader(chunks: Uint8Array[], header: Header): void {
  const name = Buffer.from(`${header.name}\0`);
  const fields = [
    header.inode,
    header.mode,
    0, // user
    0, // group
    header.links,
    0, // time
    header.size,
    0, // the archive's device, twice
    0,
    header.major,
    header.minor,
    name.byteLength,
    0, // no checksum
  ];
  const magic = '070701';
  const head = magic + fields.map((field) => field.toString(16).padStart(8, '0')).join('');
  chunks.push(Buffer.from(head), name, padding(head.length + name.byteLength));
}

function padding(length: number): Uint8Array {
  return new Uint8Array((alignment - (length % alignment)) % alignment);
}
