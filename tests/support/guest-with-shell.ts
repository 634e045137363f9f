// An image of virtual machines whose agent has a shell beside it (tests/integration/fixtures/agent-with-shell.ts), for
// `--guest-image`: faults inside a guest, and what its kernel says, can not be had from outside. Owns making it, and talking to the shell.
import { chmodSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { buildGuestImage } from '../../src/units/vm/image/build.ts';
import { cpioArchive } from '../../src/units/vm/image/cpio.ts';
import { bundledAgent } from '../integration/guest-machine.ts';
import { shellPort } from '../integration/guest-shell.ts';
import type { Bellows, InstanceAnswer } from './bellows.ts';

const silentMs = 10_000;

/** A directory for `--guest-image`; the caller removes it. */
export async function imageWithShell(): Promise<string> {
  const { kernel, root, initrd } = await buildGuestImage();
  const directory = mkdtempSync(join(tmpdir(), 'bellows-image-'));
  // QEMU reads it as a user of its own.
  chmodSync(directory, 0o755);
  symlinkSync(kernel, join(directory, 'kernel'));
  symlinkSync(root, join(directory, 'root'));
  const archive = cpioArchive([await bundledAgent('agent-with-shell.ts')]);
  writeFileSync(join(directory, 'initrd'), Buffer.concat([readFileSync(initrd), archive]));
  return directory;
}

/** Runs a command in a machine, as root; answers what it wrote, or nothing when the agent with the shell was killed. */
export async function shellIn(bellows: Bellows, unit: string, command: string): Promise<string> {
  const { door } = JSON.parse(readFileSync(`${bellows.dataDirectory}/units/${unit}.json`, 'utf8')) as {
    door: { host: string };
  };
  const socket = connect({ host: door.host, port: shellPort, allowHalfOpen: true });
  // One that is just being killed, or comes, may take a connection and never answer it.
  socket.setTimeout(silentMs, () => socket.destroy(new Error('the shell does not answer')));
  socket.end(command);
  return (await text(socket).catch(() => '')).trim();
}

/** What the kernel in its machine holds an instance to, in bytes: what is held is in memory.high, what is enforced in memory.max. */
export async function limitInside(
  bellows: Bellows,
  { unit, tenant, id }: Pick<InstanceAnswer, 'unit' | 'tenant' | 'id'>,
): Promise<number> {
  const group = `/sys/fs/cgroup/bellows/tenants/${tenant}/${id}`;
  const limits = await shellIn(bellows, unit, `cat ${group}/memory.max ${group}/memory.high`);
  return Math.min(...limits.split('\n').map((limit) => (limit === 'max' ? Infinity : Number(limit))));
}
