// Brings a workload's unpacked code into a virtual machine, through its door, as a tar. Owns one connection at a time for
// each; that the same code is sent once is unit-code.ts's matter.
import { readdir, readlink, lstat } from 'node:fs/promises';
import { createReadStream } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { pack, type Pack } from 'tar-stream';
import { BellowsError, messageOf } from '../../base/errors.ts';
import { doorAnswer, doorLineBytes, type DoorRequest } from '../../protocol/door.ts';
import type { Door } from '../vm/port.ts';

/**
 * Nothing moved for so long: the way to the guest is gone. Longer than a guest that hangs is given before it is noticed for itself
 * (hungAfterMs): one that still answers, on a loaded machine, was seen to take no byte for twenty seconds.
 */
const stalledMs = 60_000;

/** @throws BellowsError CodeNotDelivered when the door does not answer, says no, or takes nothing more */
export async function sendCode(
  door: Door,
  code: { readonly tenant: string; readonly sha256: string; readonly directory: string },
  patienceMs: number = stalledMs,
): Promise<void> {
  const socket = connect({ host: door.host, port: door.port, allowHalfOpen: true });
  socket.setTimeout(patienceMs, () =>
    socket.destroy(
      new Error(`nothing moved for ${patienceMs / 1000} s; the machine, or the way to it, hangs`),
    ),
  );
  try {
    const lines = readLines(socket);
    const { tenant, sha256 } = code;
    const request: DoorRequest = { token: door.token, to: { kind: 'code', tenant, sha256 } };
    socket.write(`${JSON.stringify(request)}\n`);
    refuse(await lines.next());
    const tar = pack();
    // Not awaited first: the pack holds back until the socket takes bytes.
    const sent = pipeline(tar, socket);
    const filled = addDirectory(tar, code.directory, '').then(() => tar.finalize());
    await Promise.all([sent, filled]).catch((thrown: unknown) => {
      tar.destroy();
      throw thrown;
    });
    refuse(await lines.next());
  } catch (thrown) {
    if (thrown instanceof BellowsError) throw thrown;
    throw new BellowsError(
      'CodeNotDelivered',
      `Code could not be brought into the virtual machine: ${messageOf(thrown)}.`,
      'Try again: the next start gets another machine.',
    );
  } finally {
    socket.destroy();
  }
}

function refuse({ value, done }: IteratorResult<string, void>): void {
  if (done === true || typeof value !== 'string')
    throw new Error('the connection ended before it was answered');
  const { error } = doorAnswer.parse(JSON.parse(value));
  if (error !== undefined) throw new Error(error);
}

/** What the other side says, line by line; it says little. */
async function* readLines(socket: Socket): AsyncGenerator<string, void> {
  let rest = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    rest += String(chunk);
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      yield rest.slice(0, end);
      rest = rest.slice(end + 1);
    }
    if (rest.length > doorLineBytes) throw new Error('its answer is too long');
  }
}

/** As it lies there: files, directories and links, with who may run them. Submitted archives hold nothing else. */
async function addDirectory(tar: Pack, root: string, path: string): Promise<void> {
  for (const name of (await readdir(join(root, path))).toSorted()) {
    const entry = path === '' ? name : `${path}/${name}`;
    const full = join(root, entry);
    const stat = await lstat(full);
    const mode = stat.mode & 0o777;
    if (stat.isDirectory()) {
      tar.entry({ name: `${entry}/`, type: 'directory', mode });
      await addDirectory(tar, root, entry);
    } else if (stat.isSymbolicLink()) {
      tar.entry({ name: entry, type: 'symlink', linkname: await readlink(full), mode });
    } else {
      await pipeline(createReadStream(full), tar.entry({ name: entry, size: stat.size, mode }));
    }
  }
}
