// HTTP requests through Bellows beside the same through its peers, by turns: a function at its URL, an app behind the gateway, and
// an app that was given its clients' connections.
import type { Bellows } from '../../tests/support/bellows.ts';
import { ms, percentile, type Figure } from '../figure.ts';
import { processorMicros } from '../processor-time.ts';
import { byTurns, percentOf, ratioOf, timesOf, type Ratio, type Rounds } from '../turns.ts';
import { wrk, type Load } from '../wrk.ts';
import type { Peer, Peers } from './peers.ts';

export const load = { connections: 32, seconds: 2 };
const rounds = 5;
/** What is to be nearly the same takes more and shorter turns to be told apart. */
const shortLoad = { ...load, seconds: 1 };
const shortRounds = 12;

const leastOfBare = 0.8;
const mostMoreMs = 0.2;
const leastOfNpmPeers = 5;
const leastHandedOver = 0.95;

type Turn = Peer | 'function URL' | 'app, forwarded' | 'app, handed over';
/** Processor time: for each request, of the process that is looked at, if any. */
type Measured = Load & { readonly processorMicros: number };
type Turns = Map<Turn, () => Promise<Measured>>;

async function measured(pid: number | undefined, ...asked: Parameters<typeof wrk>): Promise<Measured> {
  if (pid === undefined) return { ...(await wrk(...asked)), processorMicros: Number.NaN };
  const before = processorMicros(pid);
  const load = await wrk(...asked);
  return { ...load, processorMicros: (processorMicros(pid) - before) / load.requests };
}

export async function requestFigures(bellows: Bellows, peers: Peers): Promise<Figure[]> {
  const peerTurns = (options: typeof load): [Turn, () => Promise<Measured>][] =>
    [...peers.ports].map(([peer, port]) => [
      peer,
      () => measured(peer === 'bare' ? peers.pidOf(peer) : undefined, `http://127.0.0.1:${port}/`, options),
    ]);
  const gateway = bellows.pidOf('gateway');
  const appTurn = (host: string, pid: number | undefined, options: typeof load) => (): Promise<Measured> =>
    measured(pid, `${bellows.url}/`, { ...options, headers: { Host: `${host}.default.localhost` } });
  // The app's own, for the gateway has no part in it once the connections are handed over.
  const handed = (await bellows.instances()).find(({ workload }) => workload === 'handed')!.pid;
  const turns: Turns = new Map([
    ...peerTurns(load),
    ['function URL', () => measured(gateway, `${bellows.url}/w/default/warm/`, load)],
    ['app, forwarded', appTurn('direct', gateway, load)],
  ]);
  const alike: Turns = new Map([
    ...peerTurns(shortLoad).filter(([peer]) => peer === 'bare'),
    ['app, handed over', appTurn('handed', handed, shortLoad)],
  ]);
  await byTurns(new Map([...turns, ...alike]), 1);
  const all = await byTurns(turns, rounds);
  return [...all.keys()]
    .flatMap((name) => speedOf(name, all))
    .concat(functionFigures(all, peers), handedOverFigures(await byTurns(alike, shortRounds)));
}

const rates = (name: Turn, all: Rounds<Turn, Measured>): number[] =>
  (all.get(name) ?? []).map((each) => each.requestsPerSecond);

/** Processor time for each request of the process that was looked at: the median of the rounds. */
function microsOf(name: Turn, all: Rounds<Turn, Measured>): string {
  const micros = (all.get(name) ?? []).map((each) => each.processorMicros);
  return percentile(micros, 0.5).toFixed(1);
}

function speedOf(name: Turn, all: Rounds<Turn, Measured>): Figure[] {
  const loads = all.get(name) ?? [];
  const median = (of: (load: Load) => number): number => percentile(loads.map(of), 0.5);
  return [
    { name: `${name}, requests/s`, value: `${Math.round(median((each) => each.requestsPerSecond))} /s` },
    {
      name: '  p50 / p99 ms',
      value: `${median((each) => each.p50Ms).toFixed(2)} / ${median((each) => each.p99Ms).toFixed(2)}`,
    },
  ];
}

function functionFigures(all: Rounds<Turn, Measured>, peers: Peers): Figure[] {
  const of = (name: Turn): Ratio => ratioOf(rates('function URL', all), rates(name, all));
  const p50s = (name: Turn): number[] => (all.get(name) ?? []).map((each) => each.p50Ms);
  const bareP50s = p50s('bare');
  const more = percentile(
    p50s('function URL').map((p50, round) => p50 - bareP50s[round]!),
    0.5,
  );
  const ofBare = of('bare');
  const figures: Figure[] = [
    {
      name: 'function URL / bare node:http',
      value: percentOf(ofBare),
      aim: `>= ${leastOfBare * 100} %`,
      met: ofBare.median >= leastOfBare,
    },
    {
      name: '  processor time for each request, gateway; bare',
      value: `${microsOf('function URL', all)}; ${microsOf('bare', all)} µs`,
    },
    { name: 'its p50, more than bare', value: ms(more), aim: `<= ${mostMoreMs} ms`, met: more <= mostMoreMs },
  ];
  const aim = `>= ${leastOfNpmPeers} ×`;
  for (const peer of ['http-proxy', 'serverless-offline', 'miniflare'] as const) {
    const name = `function URL / ${peer}`;
    if (!peers.ports.has(peer)) {
      figures.push({ name, value: 'not measured', aim });
      continue;
    }
    const ratio = of(peer);
    figures.push({ name, value: timesOf(ratio), aim, met: ratio.median >= leastOfNpmPeers });
  }
  const name = 'serverless-offline, in process';
  // Its function has no thread of its own then: nothing is between it and the server, nor is it ended when it takes too long.
  if (peers.ports.has(name)) figures.push({ name: `function URL / ${name}`, value: timesOf(of(name)) });
  for (const peer of ['bare', 'http-proxy'] as const) {
    const ratio = ratioOf(rates('app, forwarded', all), rates(peer, all));
    figures.push({ name: `app, forwarded / ${peer}`, value: percentOf(ratio) });
  }
  return figures;
}

function handedOverFigures(all: Rounds<Turn, Measured>): Figure[] {
  const ratio = ratioOf(rates('app, handed over', all), rates('bare', all));
  return [
    ...speedOf('app, handed over', all),
    {
      name: 'app, handed over / bare node:http',
      value: percentOf(ratio),
      aim: `>= ${leastHandedOver * 100} %`,
      met: ratio.median >= leastHandedOver,
    },
    {
      name: '  processor time for each request, app; bare',
      value: `${microsOf('app, handed over', all)}; ${microsOf('bare', all)} µs`,
    },
  ];
}
