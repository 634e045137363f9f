// What one tenant's flood does to another tenant's calls: those of the calm one, one after the other, alone and beside each kind of
// flood, by turns. Owns the floods and their end.
import { spawn } from 'node:child_process';
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Bellows } from '../../tests/support/bellows.ts';
import { percentile, times, type Figure } from '../figure.ts';
import type { Started } from '../interrupted.ts';
import { wrkArguments } from '../wrk.ts';
import { closeSockets } from './sockets.ts';

const rounds = 3;
const probeMs = 1_000;
/** What the loud tenant may send in a second: hardly anything of what it sends. */
export const loudRequests = 20;
const floodConnections = 32;
const slowClients = 1_000;

interface Probed {
  readonly tookMs: number[];
  refused: number;
}

/** @param calm the calm tenant's URL @param loud the loud one's, which is limited to {@link loudRequests} */
export async function floodFigures(
  bellows: Bellows,
  calm: string,
  loud: string,
  started: Started,
): Promise<Figure[]> {
  const floods: Readonly<Record<string, () => () => Promise<void>>> = {
    requests: () => wrkFlood(loud, {}),
    'heads of 40 KiB': () => wrkFlood(loud, { 'X-Large': 'x'.repeat(40 * 1024) }),
    'bodies of 4 MiB': () => wrkFlood(loud, {}, fileURLToPath(new URL('large-body.lua', import.meta.url))),
    [`${slowClients} slow clients`]: () => slowFlood(bellows.port),
  };
  const alone: Probed = { tookMs: [], refused: 0 };
  const beside = new Map<string, Probed>(
    Object.keys(floods).map((kind) => [kind, { tookMs: [], refused: 0 }]),
  );
  for (let round = 0; round < rounds; round += 1) {
    for (const [kind, begin] of Object.entries(floods)) {
      await probe(calm, alone);
      const end = await started(Promise.resolve(begin()), (each) => each());
      await probe(calm, beside.get(kind)!);
      await end();
    }
  }
  const p = ({ tookMs }: Probed, fraction: number): number => percentile(tookMs, fraction);
  const shown = (probed: Probed): string => `${p(probed, 0.5).toFixed(2)} / ${p(probed, 0.99).toFixed(2)}`;
  const all = [alone, ...beside.values()];
  const refused = all.reduce((sum, each) => sum + each.refused, 0);
  const calls = all.reduce((sum, each) => sum + each.tookMs.length, 0);
  return [
    { name: 'p50 / p99 ms of a calm tenant, alone', value: shown(alone) },
    ...[...beside].flatMap(([kind, probed]): Figure[] => [
      { name: `  beside another tenant's flood of ${kind}`, value: shown(probed) },
      { name: '  p50 beside it / alone', value: times(p(probed, 0.5) / p(alone, 0.5)) },
    ]),
    {
      name: `the calm tenant's calls that were refused, of ${calls}`,
      value: String(refused),
      aim: '0',
      met: refused === 0,
    },
  ];
}

async function probe(url: string, into: Probed): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const endMs = performance.now() + probeMs;
  try {
    while (performance.now() < endMs) {
      const begunMs = performance.now();
      const status = await new Promise<number>((resolve, reject) => {
        request(url, { agent }, (answer) => {
          answer.resume().once('end', () => resolve(answer.statusCode ?? 0));
        })
          .once('error', reject)
          .end();
      });
      into.tookMs.push(performance.now() - begunMs);
      if (status !== 200) into.refused += 1;
    }
  } finally {
    agent.destroy();
  }
}

/** Until it is ended, once or twice, for which a minute is enough. */
function wrkFlood(
  url: string,
  headers: Readonly<Record<string, string>>,
  script?: string,
): () => Promise<void> {
  const options = { connections: floodConnections, seconds: 60, headers };
  const flood = spawn('wrk', wrkArguments(url, script === undefined ? options : { ...options, script }), {
    stdio: 'ignore',
  });
  return () =>
    new Promise((resolve) => {
      flood.once('exit', () => resolve());
      if (!flood.kill('SIGKILL')) resolve();
    });
}

/** Clients that begin a head and never end it. */
function slowFlood(port: number): () => Promise<void> {
  const sockets: Socket[] = Array.from({ length: slowClients }, () => {
    const socket = connect(port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nHost: x\r\nX-Slow: '));
    return socket.on('error', () => undefined);
  });
  return () => closeSockets(sockets);
}
