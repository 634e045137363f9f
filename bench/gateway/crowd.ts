// Ten thousand WebSockets at once, at the bare server, at an app and held for a function: each is closed before the next, for the
// client holds them all. How long they take to open, and what they cost the gateway's process while they idle.
import { readdirSync, readFileSync } from 'node:fs';
import { eventually, type Bellows } from '../../tests/support/bellows.ts';
import { ms, times, type Figure } from '../figure.ts';
import type { Started } from '../interrupted.ts';
import { closeSockets, openSockets, type Target } from './sockets.ts';

export const crowd = 10_000;
const mostDescriptors = 100;
const mostKibHeld = 6;

export async function crowdFigures(bellows: Bellows, barePort: number, started: Started): Promise<Figure[]> {
  const pid = bellows.pidOf('gateway');
  if (pid === undefined) throw new Error('there is no gateway');
  const bare = await openAndClose({ port: barePort, path: '/' }, started, () => undefined);
  const target = (name: string): Target => ({ port: bellows.port, path: `/w/default/${name}/` });
  const before = footprint(pid);
  const direct = await openAndClose(target('direct'), started, async () => {
    // What was only for the handshakes is closed by the gateway a moment later.
    await eventually(() => footprint(pid).descriptors <= before.descriptors + mostDescriptors);
    return footprint(pid);
  });
  const first = await started(openSockets(target('chat'), 1), ({ sockets }) => closeSockets(sockets));
  const beforeHeld = footprint(pid);
  const held = await openAndClose(target('chat'), started, () => footprint(pid));
  await closeSockets(first.sockets);
  const kept = direct.measured.descriptors - before.descriptors;
  const kib = (after: Footprint, since: Footprint): number => (after.privateKib - since.privateKib) / crowd;
  const kibHeld = kib(held.measured, beforeHeld);
  return [
    { name: `${crowd} WebSockets to open, bare`, value: ms(bare.tookMs) },
    { name: `${crowd} WebSockets to open, direct`, value: ms(direct.tookMs) },
    { name: '  direct / bare', value: times(direct.tookMs / bare.tookMs) },
    { name: `${crowd} WebSockets to open, held, each with a call of $connect`, value: ms(held.tookMs) },
    {
      name: "gateway's own memory for each direct one, garbage included",
      value: `${kib(direct.measured, before).toFixed(2)} KiB`,
    },
    {
      name: `descriptors that the gateway keeps for all ${crowd} direct ones`,
      value: String(kept),
      aim: `<= ${mostDescriptors}`,
      met: kept <= mostDescriptors,
    },
    {
      name: "gateway's own memory for each held one, idle, garbage included",
      value: `${kibHeld.toFixed(2)} KiB`,
      aim: `<= ${mostKibHeld} KiB`,
      met: kibHeld <= mostKibHeld,
    },
  ];
}

async function openAndClose<Measured>(
  target: Target,
  started: Started,
  measure: () => Measured | Promise<Measured>,
): Promise<{ readonly tookMs: number; readonly measured: Measured }> {
  const { sockets, tookMs } = await started(openSockets(target, crowd), (each) => closeSockets(each.sockets));
  const measured = await measure();
  await closeSockets(sockets);
  return { tookMs, measured };
}

interface Footprint {
  readonly privateKib: number;
  readonly descriptors: number;
}

function footprint(pid: number): Footprint {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = (name: string): number => Number(new RegExp(`^${name}: +(\\d+) kB`, 'm').exec(rollup)?.[1]);
  return {
    privateKib: kib('Private_Clean') + kib('Private_Dirty'),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}
