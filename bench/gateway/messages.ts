// Messages over WebSockets: of an app that has its clients' sockets beside the same app bare, and tunnelled ones beside haproxy's.
// All sockets stay open, and who is measured next sends.
import type { Bellows } from '../../tests/support/bellows.ts';
import { percentile, type Figure } from '../figure.ts';
import type { Started } from '../interrupted.ts';
import { byTurns, percentOf, ratioOf, type Rounds } from '../turns.ts';
import type { Peers } from './peers.ts';
import { closeSockets, echo, openSockets, type Echoes, type Target } from './sockets.ts';

export const chatting = 64;
const rounds = 5;
const chatMs = 1_000;
/** What is to be the same takes more and shorter turns to be told apart. */
const shortRounds = 20;
const shortMs = 500;

const leastDirect = 0.95;
const leastOfHaproxy = 0.5;

type Kind = 'bare' | 'http-proxy' | 'haproxy' | 'direct' | 'tunnelled';

export async function messageFigures(
  bellows: Bellows,
  { ports }: Peers,
  started: Started,
): Promise<Figure[]> {
  const targets: [Kind, Target][] = [
    ['direct', { port: bellows.port, path: '/w/default/direct/' }],
    ['tunnelled', { port: bellows.port, path: '/w/default/tunnelled/' }],
  ];
  for (const peer of ['bare', 'http-proxy', 'haproxy'] as const) {
    const port = ports.get(peer);
    if (port !== undefined) targets.push([peer, { port, path: '/' }]);
  }
  const turns = async (forMs: number, kinds: readonly Kind[]): Promise<Map<Kind, () => Promise<Echoes>>> => {
    const made = new Map<Kind, () => Promise<Echoes>>();
    for (const [kind, target] of targets) {
      if (!kinds.includes(kind)) continue;
      const { sockets } = await started(openSockets(target, chatting), (each) => closeSockets(each.sockets));
      made.set(kind, () => echo(sockets, forMs));
    }
    return made;
  };
  const kinds = targets.map(([kind]) => kind);
  const all = await turns(chatMs, kinds);
  await byTurns(all, 1);
  const measured = await byTurns(all, rounds);
  const alike = await byTurns(await turns(shortMs, ['bare', 'direct']), shortRounds);
  const direct = ratioOf(rates('direct', alike), rates('bare', alike));
  const figures = [...measured.keys()].map((kind) => speedOf(kind, measured));
  figures.push({
    name: 'messages/s, direct / bare',
    value: percentOf(direct),
    aim: `>= ${leastDirect * 100} %`,
    met: direct.median >= leastDirect,
  });
  const name = 'messages/s, tunnelled / haproxy';
  const aim = `>= ${leastOfHaproxy * 100} %`;
  if (!measured.has('haproxy')) return [...figures, { name, value: 'not measured', aim }];
  const tunnelled = ratioOf(rates('tunnelled', measured), rates('haproxy', measured));
  return [...figures, { name, value: percentOf(tunnelled), aim, met: tunnelled.median >= leastOfHaproxy }];
}

const rates = (kind: Kind, all: Rounds<Kind, Echoes>): number[] =>
  (all.get(kind) ?? []).map((each) => each.perSecond);

function speedOf(kind: Kind, all: Rounds<Kind, Echoes>): Figure {
  const p99Ms = percentile(
    (all.get(kind) ?? []).map((each) => each.p99Ms),
    0.5,
  );
  return {
    name: `${kind}, WebSocket messages/s; p99 ms`,
    value: `${Math.round(percentile(rates(kind, all), 0.5))} /s; ${p99Ms.toFixed(2)}`,
  };
}
