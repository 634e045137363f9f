// The gateway beside a bare server and other proxies, all in one run and by turns: requests to functions and apps, messages over
// WebSockets, how quickly and at what cost it takes ten thousand of them, and what one tenant's flood does to another.
// Owns what is started and deployed. Takes four minutes, and one more the first time, for peers that are installed then.
import { availableParallelism } from 'node:os';
import { archiveOf } from '../tests/support/apps.ts';
import { zipOf } from '../tests/support/archives.ts';
import { Bellows, eventually } from '../tests/support/bellows.ts';
import { installSystemPackages } from '../scripts/system-packages.mjs';
import type { Bench } from './figure.ts';
import { crowd, crowdFigures } from './gateway/crowd.ts';
import { floodFigures, loudRequests } from './gateway/flood.ts';
import { chatting, messageFigures } from './gateway/messages.ts';
import { Peers } from './gateway/peers.ts';
import { load, requestFigures } from './gateway/requests.ts';
import { untilInterrupted } from './interrupted.ts';

export const gateway: Bench = {
  what: `${load.connections} HTTP connections, ${chatting} WebSockets, ${crowd} of them to open; by turns, medians and the middle half of the rounds; each proxy one thread`,
  run: async () => {
    if (installSystemPackages(['wrk']).length > 0)
      throw new Error('the gateway bench needs wrk: apt-get install wrk');
    return untilInterrupted(async (started) => {
      const peers = await started(Peers.start(), (each) => each.stop());
      const args = ['--no-examples', '--unit', 'host'];
      const bellows = await started(Bellows.start({ args }), (each) => each.stop());
      await deploy(bellows);
      return [
        ...(await requestFigures(bellows, peers)),
        ...(await messageFigures(bellows, peers, started)),
        ...(await crowdFigures(bellows, peers.ports.get('bare') ?? 0, started)),
        ...(await floodFigures(
          bellows,
          `${bellows.url}/w/default/warm/`,
          `${bellows.url}/w/loud/warm/`,
          started,
        )),
        ...[...peers.missing].map(([name, why]) => ({ name: `not measured: ${name}`, value: why })),
      ];
    });
  },
};

async function deploy(bellows: Bellows): Promise<void> {
  const put = async (path: string, body: unknown): Promise<void> => {
    const { status, body: said } = await bellows.v1('PUT', path, body);
    if (status >= 300) throw new Error(`${path} answered ${status}: ${JSON.stringify(said)}`);
  };
  const functionOf = (answer: string, manifest: object): Promise<Buffer> =>
    zipOf({
      'index.mjs': `export const handler = async () => (${answer});`,
      'bellows.json': JSON.stringify({ kind: 'function', handler: 'index.handler', ...manifest }),
    });
  // As many processors as the bare one has: what is measured is the way to the app, not its limit.
  const cpu = String(availableParallelism());
  const app = (manifest: Readonly<Record<string, string | boolean>> = {}): Promise<Buffer> =>
    archiveOf('bench/gateway/app', ['ws'], { cpu, ...manifest });
  await put('/tenants/loud', { limits: { requests: loudRequests } });
  await put('/workloads/default/warm', await functionOf('{ ok: true }', { url: true }));
  await put('/workloads/loud/warm', await functionOf('{ ok: true }', { url: true }));
  await put(
    '/workloads/default/chat',
    await functionOf('{ statusCode: 200 }', {
      websocket: { routes: ['$connect', '$default'], idleTimeout: null },
    }),
  );
  await put('/workloads/default/direct', await app());
  await put('/workloads/default/handed', await app({ directHttp: true }));
  await put('/workloads/default/tunnelled', await app({ runtime: 'custom' }));
  for (const name of ['warm', 'direct', 'handed', 'tunnelled'])
    await eventually(async () => (await fetch(`${bellows.url}/w/default/${name}/`)).status === 200);
}
