// The gateway beside a bare server and other proxies, all in one run and by turns: requests to functions and apps, messages over
// WebSockets, how quickly and at what cost it takes ten thousand of them, and what one tenant's flood does to another.
import { readdirSync, readFileSync } from 'node:fs';
import { archiveOf } from '../tests/support/apps.ts';
import { zipOf } from '../tests/support/archives.ts';
import { Bellows, eventually } from '../tests/support/bellows.ts';
import { installSystemPackages } from '../scripts/system-packages.mjs';
import { ms, percent, percentile, times, type Bench, type Figure } from './figure.ts';
import { floodFigures, loudRequests } from './gateway/flood.ts';
import { Peers, type Peer } from './gateway/peers.ts';
import { closeSockets, echo, openSockets, type Echoes, type Target } from './gateway/sockets.ts';
import { wrk, type Load } from './wrk.ts';

const rounds = 3;
const load = { connections: 32, seconds: 2 };
const chatting = 64;
const chatMs = 1_500;
const crowd = 10_000;

export const gateway: Bench = {
  what: `${load.connections} HTTP connections, ${chatting} WebSockets, ${crowd} of them to open; ${rounds} alternating rounds; each proxy one thread`,
  run: async () => {
    if (installSystemPackages(['wrk']).length > 0)
      throw new Error('the gateway bench needs wrk: apt-get install wrk');
    const peers = await Peers.start();
    try {
      const bellows = await Bellows.start({ args: ['--no-examples', '--unit', 'host'] });
      try {
        await deploy(bellows);
        return [
          ...requestFigures(bellows, peers),
          ...(await messageFigures(bellows, peers)),
          ...(await crowdFigures(bellows, peers)),
          ...(await floodFigures(bellows, `${bellows.url}/w/default/warm/`, `${bellows.url}/w/loud/warm/`)),
          ...peers.missing.map((name) => ({ name: `not measured: ${name}`, value: 'not installed' })),
        ];
      } finally {
        await bellows.stop();
      }
    } finally {
      await peers.stop();
    }
  },
};

async function deploy(bellows: Bellows): Promise<void> {
  const put = async (path: string, body: unknown): Promise<void> => {
    const { status, body: said } = await bellows.v1('PUT', path, body);
    if (status >= 300) throw new Error(`${path} answered ${status}: ${JSON.stringify(said)}`);
  };
  const code = await zipOf({
    'index.mjs': 'export const handler = async () => ({ ok: true });',
    'bellows.json': '{"kind":"function","handler":"index.handler","url":true}',
  });
  await put('/tenants/loud', { limits: { requests: loudRequests } });
  await put('/workloads/default/warm', code);
  await put('/workloads/loud/warm', code);
  await put('/workloads/default/direct', await archiveOf('bench/gateway/app', ['ws']));
  await put(
    '/workloads/default/tunnelled',
    await archiveOf('bench/gateway/app', ['ws'], { runtime: 'custom' }),
  );
  for (const name of ['warm', 'direct', 'tunnelled'])
    await eventually(async () => (await fetch(`${bellows.url}/w/default/${name}/`)).status === 200);
}

function requestFigures(bellows: Bellows, { ports }: Peers): Figure[] {
  const turns = new Map<string, () => Load>([
    ...[...ports].map(([peer, port]): [string, () => Load] => [
      peer,
      () => wrk(`http://127.0.0.1:${port}/`, load),
    ]),
    ['function URL', () => wrk(`${bellows.url}/w/default/warm/`, load)],
    ['app', () => wrk(`${bellows.url}/`, { ...load, headers: { Host: 'direct.default.localhost' } })],
  ]);
  const loads = new Map<string, Load[]>([...turns.keys()].map((name) => [name, []]));
  for (const turn of turns.values()) turn();
  for (let round = 0; round < rounds; round += 1)
    for (const [name, turn] of turns) loads.get(name)?.push(turn());
  const median = (name: string, of: (load: Load) => number): number =>
    percentile((loads.get(name) ?? []).map(of), 0.5);
  const rate = (name: string): number => median(name, (each) => each.requestsPerSecond);
  const p50 = (name: string): number => median(name, (each) => each.p50Ms);
  const ofBare = rate('function URL') / rate('bare');
  const more = p50('function URL') - p50('bare');
  const ofProxy = rate('function URL') / rate('http-proxy');
  return [
    ...[...turns.keys()].flatMap((name): Figure[] => [
      { name: `${name}, requests/s`, value: `${Math.round(rate(name))} /s` },
      {
        name: '  p50 / p99 ms',
        value: `${p50(name).toFixed(2)} / ${median(name, (each) => each.p99Ms).toFixed(2)}`,
      },
    ]),
    { name: 'function URL / bare node:http', value: percent(ofBare), aim: '>= 80 %', met: ofBare >= 0.8 },
    { name: 'its p50, more than bare', value: ms(more), aim: '<= 0.2 ms', met: more <= 0.2 },
    { name: 'function URL / http-proxy', value: times(ofProxy), aim: '>= 5 ×', met: ofProxy >= 5 },
    { name: 'app by host, forwarded / bare node:http', value: percent(rate('app') / rate('bare')) },
    { name: 'app by host, forwarded / http-proxy', value: times(rate('app') / rate('http-proxy')) },
  ];
}

const appPath = (name: 'direct' | 'tunnelled'): string => `/w/default/${name}/`;

async function messageFigures(bellows: Bellows, { ports }: Peers): Promise<Figure[]> {
  const proxies: Peer[] = ['bare', 'http-proxy', 'haproxy'];
  const targets = new Map<string, Target>([
    ...proxies.flatMap((peer): [string, Target][] => {
      const port = ports.get(peer);
      return port === undefined ? [] : [[peer, { port, path: '/' }]];
    }),
    ['direct', { port: bellows.port, path: appPath('direct') }],
    ['tunnelled', { port: bellows.port, path: appPath('tunnelled') }],
  ]);
  const heard = new Map<string, Echoes[]>([...targets.keys()].map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, target] of targets) {
      const { sockets } = await openSockets(target, chatting);
      heard.get(name)?.push(await echo(sockets, chatMs));
      await closeSockets(sockets);
    }
  }
  const median = (name: string, of: (echoes: Echoes) => number): number =>
    percentile((heard.get(name) ?? []).map(of), 0.5);
  const rate = (name: string): number => median(name, (each) => each.perSecond);
  const ofBare = rate('direct') / rate('bare');
  const figures: Figure[] = [
    ...[...targets.keys()].map((name): Figure => ({
      name: `${name}, WebSocket messages/s; p99 ms`,
      value: `${Math.round(rate(name))} /s; ${median(name, (each) => each.p99Ms).toFixed(2)}`,
    })),
    { name: 'messages/s, direct / bare', value: percent(ofBare), aim: '>= 95 %', met: ofBare >= 0.95 },
  ];
  if (targets.has('haproxy')) {
    const ofHaproxy = rate('tunnelled') / rate('haproxy');
    figures.push({
      name: 'messages/s, tunnelled / haproxy',
      value: percent(ofHaproxy),
      aim: '>= 50 %',
      met: ofHaproxy >= 0.5,
    });
  }
  return figures;
}

/** Ten thousand at once, at the bare server and then at the app: each is closed before the next, for the client holds them all. */
async function crowdFigures(bellows: Bellows, { ports }: Peers): Promise<Figure[]> {
  const bare = await openSockets({ port: ports.get('bare') ?? 0, path: '/' }, crowd);
  await closeSockets(bare.sockets);
  const pid = bellows.pidOf('gateway');
  if (pid === undefined) throw new Error('there is no gateway');
  const before = footprint(pid);
  const direct = await openSockets({ port: bellows.port, path: appPath('direct') }, crowd);
  // What was only for the handshakes is closed by the gateway a moment later.
  await eventually(() => footprint(pid).descriptors <= before.descriptors + 100);
  const after = footprint(pid);
  await closeSockets(direct.sockets);
  const kept = after.descriptors - before.descriptors;
  return [
    { name: `${crowd} WebSockets to open, bare`, value: ms(bare.tookMs) },
    { name: `${crowd} WebSockets to open, direct`, value: ms(direct.tookMs) },
    { name: '  direct / bare', value: times(direct.tookMs / bare.tookMs) },
    {
      name: "gateway's own memory for each of them, garbage included",
      value: `${((after.privateKib - before.privateKib) / crowd).toFixed(2)} KiB`,
    },
    {
      name: `descriptors that the gateway keeps for all ${crowd}`,
      value: String(kept),
      aim: '<= 100',
      met: kept <= 100,
    },
  ];
}

function footprint(pid: number): { readonly privateKib: number; readonly descriptors: number } {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = (name: string): number => Number(new RegExp(`^${name}: +(\\d+) kB`, 'm').exec(rollup)?.[1]);
  return {
    privateKib: kib('Private_Clean') + kib('Private_Dirty'),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}
