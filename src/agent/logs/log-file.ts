// One workload's log on disk: JSON lines, and one older file when it has grown. A position is counted in bytes since the
// log began, over both files, so that a reader's cursor stays true when the file turns over.
//
//   NAME.log.1  {"from":0}        entries…          older
//   NAME.log    {"from":16777216} entries…          newer; its header says where it begins
import {
  appendFileSync,
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';

/** Two of these are kept: some 100,000 lines. */
const defaultFileBytes = 16 * 1024 * 1024;
/** One answer fits into a frame with room to spare, and holds the longest line there is. */
const maxReadBytes = 4 * 1024 * 1024;

const headerSchema = z.object({ from: z.number().int().nonnegative() });
const entrySchema = z.object({ t: z.number(), i: z.string(), l: z.string() });

export interface LogEntry {
  readonly timeMs: number;
  readonly instance: string;
  readonly line: string;
}

interface FileState {
  readonly path: string;
  /** Position of the first entry. */
  readonly from: number;
  readonly headerBytes: number;
  /** Bytes of entries. */
  bytes: number;
}

export class LogFile {
  readonly #path: string;
  readonly #fileBytes: number;
  #current: FileState;
  #older: FileState | undefined;

  /** @param fileBytes at which size it turns over */
  constructor(path: string, fileBytes = defaultFileBytes) {
    this.#path = path;
    this.#fileBytes = fileBytes;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#older = stateOf(olderPath(path));
    this.#current = stateOf(path) ?? create(path, endOf(this.#older));
  }

  get end(): number {
    return endOf(this.#current);
  }

  /** In one write, and at once, so that nothing is lost when the agent is killed. */
  append(entries: readonly LogEntry[]): void {
    let text = '';
    for (const { timeMs, instance, line } of entries)
      text += `${JSON.stringify({ t: timeMs, i: instance, l: line })}\n`;
    if (this.#current.bytes > this.#fileBytes) this.#turn();
    const bytes = Buffer.from(text);
    appendFileSync(this.#path, bytes);
    this.#current.bytes += bytes.length;
  }

  /** At most `limit` entries from `position` on, and where to read on. */
  async read(position: number, limit: number): Promise<{ entries: LogEntry[]; position: number }> {
    // What was turned out of both files is gone; a position beyond the end is from a log that was removed since.
    const first = this.#older?.from ?? this.#current.from;
    let at = position < first || position > this.end ? first : position;
    const entries: LogEntry[] = [];
    for (const file of [this.#older, this.#current]) {
      if (file === undefined || at >= endOf(file) || entries.length >= limit) continue;
      const bytes = await readPart(file, at);
      let from = 0;
      while (entries.length < limit) {
        const end = bytes.indexOf(0x0a, from);
        if (end < 0) break;
        const entry = parseEntry(bytes.toString('utf8', from, end));
        if (entry !== undefined) entries.push(entry);
        from = end + 1;
      }
      at += from;
      // The older file was read only in part: the newer one is not next.
      if (file !== this.#current && at < endOf(file)) break;
    }
    return { entries, position: at };
  }

  /** The last `limit` entries, at most, and where to read on. */
  async readLast(limit: number): Promise<{ entries: LogEntry[]; position: number }> {
    const end = this.end;
    const files = [this.#older, this.#current].filter(
      (file) => file !== undefined && file.bytes > 0,
    ) as FileState[];
    const last = files.at(-1);
    if (last === undefined) return { entries: [], position: end };
    const entries: LogEntry[] = [];
    for (const file of files.reverse()) {
      if (entries.length >= limit) break;
      const from = Math.max(file.from, endOf(file) - maxReadBytes);
      const lines = (await readPart(file, from)).toString().split('\n');
      // Begun in the middle of a line.
      if (from > file.from) lines.shift();
      const parsed = lines.map(parseEntry).filter((entry) => entry !== undefined);
      entries.unshift(...parsed.slice(-(limit - entries.length)));
    }
    return { entries, position: end };
  }

  async remove(): Promise<void> {
    for (const path of [this.#path, olderPath(this.#path)]) await rm(path, { force: true });
  }

  #turn(): void {
    renameSync(this.#path, olderPath(this.#path));
    this.#older = { ...this.#current, path: olderPath(this.#path) };
    this.#current = create(this.#path, this.end);
  }
}

const olderPath = (path: string): string => `${path}.1`;
const endOf = (file: FileState | undefined): number => (file === undefined ? 0 : file.from + file.bytes);

function create(path: string, from: number): FileState {
  const header = `${JSON.stringify({ from })}\n`;
  writeFileSync(path, header, { mode: 0o600 });
  return { path, from, headerBytes: Buffer.byteLength(header), bytes: 0 };
}

/** Longer than any header. */
const headerRoomBytes = 64;

/** Undefined when there is no such file, or it has no header of ours. */
function stateOf(path: string): FileState | undefined {
  if (!existsSync(path)) return undefined;
  const fd = openSync(path, 'r');
  try {
    const start = readAt(fd, 0, headerRoomBytes);
    const headerBytes = start.indexOf(0x0a) + 1;
    const header = headerSchema.safeParse(parseJson(start.toString('utf8', 0, headerBytes)));
    if (!header.success) return undefined;
    let size = fstatSync(fd).size;
    // A write that a full disk or a loss of power cut: the next entry begins on a line of its own.
    if (readAt(fd, size - 1, 1)[0] !== 0x0a) {
      appendFileSync(path, '\n');
      size += 1;
    }
    return { path, from: header.data.from, headerBytes, bytes: size - headerBytes };
  } finally {
    closeSync(fd);
  }
}

function readAt(fd: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(fd, bytes, 0, length, position));
}

async function readPart(file: FileState, position: number): Promise<Buffer> {
  const handle = await open(file.path, 'r');
  try {
    const bytes = Buffer.alloc(Math.min(maxReadBytes, endOf(file) - position));
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, file.headerBytes + position - file.from);
    return bytes.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

function parseEntry(line: string): LogEntry | undefined {
  const entry = entrySchema.safeParse(parseJson(line));
  return entry.success ? { timeMs: entry.data.t, instance: entry.data.i, line: entry.data.l } : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
