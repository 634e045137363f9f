// Gives a machine its identity: what a clone must have anew before any user's code runs, and the way to its door.
// Owns what is new about it, on the host's side; putting it into effect inside is the guest's agent's.
import { randomBytes } from 'node:crypto';
import { BellowsError } from '../../base/errors.ts';
import { doorPort } from '../../protocol/door.ts';
import type { UnitCore } from './core.ts';
import { keepClock } from './guest-clock.ts';
import type { VmHost } from './host.ts';
import { qemuNames } from './machine/arguments.ts';
import type { Door } from './port.ts';

/** Twice what the kernel's generator is keyed with, and as much for all that is seeded from it. */
const seedBytes = 64;
const tokenBytes = 32;
/** An emulated guest that was just restored finds none of its code translated. */
const personaliseTimeoutMs = 60_000;

/** Writes the door down. @throws BellowsError of the guest's agent */
export async function personalise(host: VmHost, core: UnitCore): Promise<Door> {
  const { id, mac, network } = core.record;
  const token = randomBytes(tokenBytes).toString('base64url');
  const tap = network === 'tap' ? host.network?.tapOf(core.record) : undefined;
  const { doorPort: port } = await core.link.call(
    'personalise',
    {
      unit: id,
      seed: randomBytes(seedBytes).toString('base64'),
      nowMs: Date.now(),
      doorToken: token,
      network: tap === undefined ? null : { mac, address: tap.address, prefixLength: tap.prefixLength },
      ownPort: host.options.ownPort,
    },
    { timeoutMs: personaliseTimeoutMs },
  );
  // That message may have been seconds under way.
  await keepClock(core.link, { timeoutMs: personaliseTimeoutMs });
  if (tap !== undefined) await host.network?.connect(core.record, mac);
  const door: Door =
    tap === undefined
      ? { host: '127.0.0.1', port: await forwardPort(core, port), token }
      : { host: tap.address, port, token };
  core.update({ door });
  return door;
}

/** For a machine that is given its state again: with user networking, ports are QEMU's and not part of it. */
export async function reopenDoor(core: UnitCore): Promise<void> {
  const { door, network } = core.record;
  if (door === null || network === 'tap') return;
  core.update({ door: { ...door, port: await forwardPort(core, doorPort) } });
}

/** Has QEMU listen on a free port of the loopback for the guest's. */
async function forwardPort(core: UnitCore, guestPort: number): Promise<number> {
  const monitor = (line: string): Promise<string> =>
    core.machine.execute('human-monitor-command', { 'command-line': line });
  const complaint = await monitor(`hostfwd_add ${qemuNames.network} tcp:127.0.0.1:0-:${guestPort}`);
  const shown = await monitor('info usernet');
  // "  TCP[HOST_FORWARD]  12       127.0.0.1 40123       10.0.2.15  7000 …"
  const pattern = new RegExp(
    `HOST_FORWARD\\]\\s+\\d+\\s+127\\.0\\.0\\.1\\s+(\\d+)\\s+\\S+\\s+${guestPort}\\s`,
  );
  const port = Number(pattern.exec(shown)?.[1]);
  if (Number.isInteger(port) && port > 0) return port;
  throw new BellowsError('Internal', `QEMU forwards no port to unit ${core.record.id}: ${complaint.trim()}`);
}
