// Puts a machine's state into a file and out of one again. Owns the steps that QEMU wants for that, and waiting for them.
// The memory of a template stays where it is (`x-ignore-shared`): the file then has the devices' state alone. A unit that is
// put to rest has its memory in the file, too.
import { chownSync, createWriteStream } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { BellowsError } from '../../base/errors.ts';
import type { Machine } from './machine/machine.ts';
import type { QmpArguments } from './qmp/commands.ts';

/** Devices' state is half a megabyte; a guest's memory some hundred, to a disk that may be busy. */
const timeoutMs = 120_000;
/** QEMU's own limit, 128 MiB/s, is for networks. */
const bytesPerSecond = 16 * 1024 ** 3;
/** Devices' state takes some milliseconds, and a start waits for it. */
const pollMs = { first: 1, longest: { devices: 2, everything: 20 } } as const;

/** Of the machine: its devices alone, for a template and its clones, or all of it. */
export type StateExtent = 'devices' | 'everything';

const capabilities = (extent: StateExtent): QmpArguments<'migrate-set-capabilities'> => ({
  capabilities: [{ capability: 'x-ignore-shared', state: extent === 'devices' }],
});

/** In the machine's run directory: QEMU sends to a socket, for of files it knows only those that it reads. */
const socketName = 'm';

/**
 * The machine must be stopped, and can only be ended afterwards; when it fails, it can go on.
 * @param places `seen`: the run directory as QEMU sees it; `uid`: QEMU's user.
 */
export async function saveState(
  machine: Machine,
  extent: StateExtent,
  places: { readonly runDirectory: string; readonly seen: string; readonly uid: number | null },
  file: string,
): Promise<void> {
  const path = join(places.runDirectory, socketName);
  const written = Promise.withResolvers<void>();
  written.promise.catch(() => undefined);
  const server = createServer((socket) => {
    pipeline(socket, createWriteStream(file, { mode: 0o600 })).then(written.resolve, written.reject);
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
  try {
    if (places.uid !== null) chownSync(path, places.uid, places.uid);
    await machine.execute('migrate-set-capabilities', capabilities(extent));
    await machine.execute('migrate-set-parameters', { 'max-bandwidth': bytesPerSecond });
    await machine.execute('migrate', { uri: `unix:${places.seen}/${socketName}` });
    // What the disk says comes first: to QEMU it is only a connection that broke.
    await Promise.all([written.promise, migrated(machine, extent)]);
  } finally {
    server.close();
  }
}

/** The machine was started to wait for it. Runs the guest. @param fd QEMU's number of the file */
export async function restoreState(machine: Machine, extent: StateExtent, fd: number): Promise<void> {
  await receiveState(machine, extent, fd);
  await machine.execute('cont', {});
}

/** The same, but that it does not run yet. */
export async function receiveState(machine: Machine, extent: StateExtent, fd: number): Promise<void> {
  await machine.execute('migrate-set-capabilities', capabilities(extent));
  await machine.execute('migrate-incoming', { uri: `fd:${fd}` });
  await migrated(machine, extent);
}

async function migrated(machine: Machine, extent: StateExtent): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  for (let pauseMs: number = pollMs.first; ; pauseMs = Math.min(pauseMs * 2, pollMs.longest[extent])) {
    const answer = await machine.execute('query-migrate', {});
    if (answer.status === 'completed') return;
    if (answer.status === 'failed' || answer.status === 'cancelled')
      throw new BellowsError(
        'StartFailed',
        `A machine's state did not pass: ${answer['error-desc'] ?? answer.status}.`,
      );
    if (performance.now() > deadlineMs)
      throw new BellowsError('StartFailed', `A machine's state did not pass within ${timeoutMs} ms.`);
    await sleep(pauseMs);
  }
}
