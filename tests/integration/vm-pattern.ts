// A pattern that a tenant leaves behind on purpose, and searches for it: in files and in a process's memory on the host, and
// as root inside a virtual machine in all of its memory and its raw disk. Owns what counts as found, which is a page or block
// that holds the pattern twice in a row: who searches holds it once, and so does not find itself.
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { mib } from '../../src/base/quantity.ts';
import type { VmUnit } from '../../src/units/vm/port.ts';
import { shellPort } from './guest-shell.ts';

const node = '/opt/node/bin/node';
const pageBytes = 4096;
const chunkBytes = 4 * mib;

/** Runs inside as well as here, so it stands on nothing. */
function pagesWith(pattern: Buffer, buffer: Buffer): number {
  let pages = 0;
  for (let at = buffer.indexOf(pattern); at >= 0; at = buffer.indexOf(pattern, at)) {
    const next = at + pattern.length;
    const twice = buffer.compare(pattern, 0, pattern.length, next, next + pattern.length) === 0;
    if (twice) pages += 1;
    at = twice ? at - (at % 4096) + 4096 : next;
  }
  return pages;
}

export interface Found {
  readonly pages: number;
  /** Where it was looked for: a search of nothing finds nothing. */
  readonly searchedBytes: number;
}
const found = z.object({ pages: z.number(), searchedBytes: z.number() });

export class Pattern {
  readonly #bytes = randomBytes(32);
  readonly #hex = this.#bytes.toString('hex');

  /** For JavaScript that is to write it: an expression of a Buffer. */
  get expression(): string {
    return `Buffer.from('${this.#hex}', 'hex')`;
  }

  /** As root inside: a file of it, and not just in a cache. */
  async writeInside(unit: VmUnit, path: string, bytes: number): Promise<void> {
    const js = `require("node:fs").writeFileSync("${path}", Buffer.alloc(${bytes}, Buffer.from("${this.#hex}", "hex")))`;
    const said = await shell(unit, `${node} -e '${js}' && sync`);
    if (said !== '') throw new Error(said);
  }

  inFile(path: string): Found {
    const fd = openSync(path, 'r');
    try {
      return this.#inDescriptor(fd, [[0, Number.POSITIVE_INFINITY]]);
    } finally {
      closeSync(fd);
    }
  }

  /** All files below a directory. */
  inDirectory(directory: string): Found {
    const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    return sum(files.map((entry) => this.inFile(join(entry.parentPath, entry.name))));
  }

  /** What a process on this machine has in memory, a machine's memory in QEMU among it. */
  inProcess(pid: number): Found {
    const ranges = readFileSync(`/proc/${pid}/maps`, 'latin1')
      .split('\n')
      .filter((line) => / r\S{3} /.test(line) && !line.includes('[v'))
      .map((line) => line.split(/[- ]/, 2).map((hex) => Number.parseInt(hex, 16)) as [number, number]);
    const fd = openSync(`/proc/${pid}/mem`, 'r');
    try {
      return this.#inDescriptor(fd, ranges);
    } finally {
      closeSync(fd);
    }
  }

  /** All of its memory, in use or free, as its kernel shows it to root. */
  inGuestMemory(unit: VmUnit): Promise<Found> {
    return this.#inside(unit, '/proc/kcore');
  }

  /** Its raw scratch disk, in use or free, not through its cache. */
  async inGuestDisk(unit: VmUnit): Promise<Found> {
    await shell(unit, 'sync; echo 1 > /proc/sys/vm/drop_caches');
    return this.#inside(unit, '/dev/vdb');
  }

  async #inside(unit: VmUnit, path: string): Promise<Found> {
    const said = await shell(unit, `${node} -e '${searchInside}' ${this.#hex} ${path}`);
    try {
      return found.parse(JSON.parse(said));
    } catch (thrown) {
      throw new Error(`the search of ${path} in unit ${unit.handle.id} said: ${said}`, { cause: thrown });
    }
  }

  #inDescriptor(fd: number, ranges: readonly (readonly [number, number])[]): Found {
    const chunk = Buffer.allocUnsafe(chunkBytes);
    let [pages, searchedBytes] = [0, 0];
    for (const [from, to] of ranges) {
      for (let at = from; at < to;) {
        const bytes = readSync(fd, chunk, 0, Math.min(chunkBytes, to - at), at);
        if (bytes === 0) break;
        pages += pagesWith(this.#bytes, chunk.subarray(0, bytes));
        searchedBytes += bytes;
        at += bytes;
      }
    }
    return { pages, searchedBytes };
  }
}

/** As a script for `node -e`, without a single quote: the kernel's memory is an ELF file, of which the parts with a physical address are memory. */
const searchInside = `
  const fs = require("node:fs");
  ${pagesWith.toString()}
  const [, hex, path] = process.argv;
  const pattern = Buffer.from(hex, "hex");
  const fd = fs.openSync(path, "r");
  let ranges = [[0n, 1n << 60n]];
  if (path === "/proc/kcore") {
    const head = Buffer.alloc(65536);
    fs.readSync(fd, head, 0, head.length, 0);
    ranges = [];
    for (let index = 0; index < head.readUInt16LE(56); index += 1) {
      const at = Number(head.readBigUInt64LE(32)) + index * 56;
      const [offset, virtual, physical, , bytes] = [8, 16, 24, 32, 40].map((field) => head.readBigUInt64LE(at + field));
      const isMemory = head.readUInt32LE(at) === 1 && physical < 1n << 52n && virtual < 0xffffffff80000000n;
      if (isMemory) ranges.push([offset, offset + bytes]);
    }
  }
  const chunk = Buffer.alloc(1048576);
  let [pages, searchedBytes] = [0, 0];
  for (const [from, to] of ranges) {
    for (let at = from; at < to; ) {
      const left = to - at;
      const bytes = fs.readSync(fd, chunk, 0, left < 1048576n ? Number(left) : 1048576, at);
      if (bytes === 0) break;
      pages += pagesWith(pattern, chunk.subarray(0, bytes));
      searchedBytes += bytes;
      at += BigInt(bytes);
    }
  }
  console.log(JSON.stringify({ pages, searchedBytes }));`;

/** Runs a command inside as root: see fixtures/agent-with-shell.ts. */
export async function shell(unit: VmUnit, command: string): Promise<string> {
  const socket = connect({ host: unit.door.host, port: shellPort, allowHalfOpen: true });
  socket.end(command);
  return (await text(socket)).trim();
}

export const bytesOf = ({ pages }: Found): number => pages * pageBytes;

function sum(all: readonly Found[]): Found {
  const total = (field: keyof Found): number => all.reduce((before, each) => before + each[field], 0);
  return { pages: total('pages'), searchedBytes: total('searchedBytes') };
}
