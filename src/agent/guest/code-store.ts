// Workloads' code inside a virtual machine: what comes through the door as a tar, complete or not there, root's and
// read-only. Owns DATA/code in a guest. That it is the code that was submitted is its owner's word.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Socket } from 'node:net';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { BellowsError } from '../../base/errors.ts';
import { parseTenantId, type TenantId } from '../../base/ids.ts';
import { humanBytes, mib } from '../../base/quantity.ts';
import { layoutOf, type Layout } from '../../sys/layout.ts';
import { runProgram } from './run-program.ts';

/** Lambda's 250 MB of unpacked code, and as much again as headers and padding of very many small files come to. */
export const maxTarBytes = 512 * mib;
const sha256Pattern = /^[0-9a-f]{64}$/;
/** Bytes of what the unpacking program says that are told on. */
const wordsBytes = 400;

export interface CodeStoreOptions {
  readonly maxBytes?: number;
  /** Asked when code is on the disk, before it counts as being there: what it throws refuses the code, which then goes. */
  readonly admit?: () => Promise<void>;
}

export class CodeStore {
  readonly #layout: Layout;
  readonly #maxBytes: number;
  readonly #admit: () => Promise<void>;
  /** Being unpacked, by directory: who asks for the same meanwhile waits for it. */
  readonly #receiving = new Map<string, Promise<void>>();

  constructor(dataDirectory: string, options: CodeStoreOptions = {}) {
    this.#layout = layoutOf(dataDirectory);
    this.#maxBytes = options.maxBytes ?? maxTarBytes;
    this.#admit = options.admit ?? (() => Promise.resolve());
  }

  /** Removes what an earlier agent left half unpacked. */
  open(): void {
    rmSync(this.#unfinished(), { recursive: true, force: true });
    mkdirSync(this.#layout.code, { recursive: true, mode: 0o700 });
    mkdirSync(this.#unfinished(), { recursive: true, mode: 0o700 });
  }

  /**
   * Checks the name; the function it returns reads a tar to its end and returns when the code is there.
   * @throws BellowsError BadRequest, InvalidName; later PayloadTooLarge, InvalidArchive, or what `admit` throws
   */
  receive(tenant: string, sha256: string): (tar: Socket) => Promise<void> {
    if (!sha256Pattern.test(sha256)) throw new BellowsError('BadRequest', 'This is no SHA-256.');
    const directory = this.#layout.codeOf(parseTenantId(tenant), sha256);
    return async (tar) => {
      const receiving = this.#receiving.get(directory);
      if (existsSync(directory) || receiving !== undefined) {
        for await (const chunk of tar.iterator({ destroyOnReturn: false })) void chunk;
        return receiving;
      }
      const unpacking = this.#unpack(tar, directory).finally(() => this.#receiving.delete(directory));
      this.#receiving.set(directory, unpacking);
      return unpacking;
    };
  }

  /** Where the code of the same tenant and content is in here. @throws BellowsError BadRequest, InvalidName, NotFound */
  inside(codeDirectoryOutside: string): string {
    const sha256 = basename(codeDirectoryOutside);
    const tenant: TenantId = parseTenantId(basename(dirname(codeDirectoryOutside)));
    if (!sha256Pattern.test(sha256))
      throw new BellowsError('BadRequest', `${codeDirectoryOutside} does not end in a tenant and a SHA-256.`);
    const directory = this.#layout.codeOf(tenant, sha256);
    if (existsSync(directory)) return directory;
    throw new BellowsError(
      'NotFound',
      `The code ${sha256} of ${tenant} is not in this unit.`,
      'Send it through the door first.',
    );
  }

  /** Beside the finished ones, so that a rename is all that is left to do; no tenant is called that. */
  #unfinished(): string {
    return join(this.#layout.code, '.unfinished');
  }

  async #unpack(tar: Socket, directory: string): Promise<void> {
    const temporary = join(this.#unfinished(), randomBytes(8).toString('hex'));
    mkdirSync(temporary, { mode: 0o755 });
    try {
      await this.#extract(tar, temporary);
      await this.#admit();
      // Whatever the archive says: root's, for all to read, for none to write, and with no rights of its own.
      await runProgram(['busybox', 'chmod', '-R', 'a+rX,go-w,ug-s,-t', temporary]);
      chmodSync(temporary, 0o755);
      mkdirSync(dirname(directory), { recursive: true, mode: 0o755 });
      renameSync(temporary, directory);
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  }

  async #extract(tar: Socket, into: string): Promise<void> {
    const child = spawn('busybox', ['tar', '-x', '-o', '-C', into], { stdio: ['pipe', 'ignore', 'pipe'] });
    let words = '';
    child.stderr.on('data', (data: Buffer) => (words = (words + data.toString()).slice(-wordsBytes)));
    const exited = once(child, 'exit') as Promise<[number | null, string | null]>;
    // Awaited below; a refusal on the way must not count as unheard.
    exited.catch(() => undefined);
    try {
      // The tail of a tar is zeros that the program may not read: its end is no failure of the sender's.
      await pipeline(tar.iterator({ destroyOnReturn: false }), bounded(this.#maxBytes), child.stdin);
    } catch (thrown) {
      child.stdin.destroy();
      if (thrown instanceof BellowsError || !isBrokenPipe(thrown)) {
        child.kill('SIGKILL');
        await exited;
        throw thrown;
      }
    }
    const [code, signal] = await exited;
    if (code === 0) return;
    throw new BellowsError(
      'InvalidArchive',
      `The code could not be unpacked (${signal ?? `exit ${code}`}): ${words.trim()}.`,
    );
  }
}

function bounded(maxBytes: number): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes <= maxBytes) return done(null, chunk);
      done(new BellowsError('PayloadTooLarge', `The tar is larger than ${humanBytes(maxBytes)}.`));
    },
  });
}

function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE';
}
