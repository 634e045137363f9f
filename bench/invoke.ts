// Warm invocations: requests/s through a function's URL and through the signed Lambda API, beside a bare node:http server
// that answers the same bytes. wrk is the client; rounds alternate, so that noise meets all three alike.
import { spawn } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { CreateFunctionCommand } from '@aws-sdk/client-lambda';
import { zipOf } from '../tests/support/archives.ts';
import { Bellows, freePort, type Credentials } from '../tests/support/bellows.ts';
import { percentile, times, type Bench } from './figure.ts';
import { wrk, type Load } from './wrk.ts';
import { installSystemPackages } from '../scripts/system-packages.mjs';

const rounds = 5;
const secondsPerRound = 4;
const connections = 32;
const load = { connections, seconds: secondsPerRound };

/** One signed request that wrk repeats: valid for five minutes, verified by Bellows anew each time. */
function signed(
  host: string,
  path: string,
  { accessKeyId, secretAccessKey }: Credentials,
): Record<string, string> {
  const hmac = (key: string | Buffer, text: string): Buffer =>
    createHmac('sha256', key).update(text).digest();
  const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
  const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d{3}/g, '');
  const scope = `${stamp.slice(0, 8)}/eu-central-1/lambda/aws4_request`;
  const canonical = [
    'POST',
    path,
    '',
    `host:${host}`,
    `x-amz-date:${stamp}`,
    '',
    'host;x-amz-date',
    sha256('{}'),
  ].join('\n');
  const key = scope
    .split('/')
    .reduce<string | Buffer>((derived, part) => hmac(derived, part), `AWS4${secretAccessKey}`);
  const signature = hmac(key, ['AWS4-HMAC-SHA256', stamp, scope, sha256(canonical)].join('\n')).toString(
    'hex',
  );
  // wrk sends the Host header by itself.
  return {
    'x-amz-date': stamp,
    authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=host;x-amz-date, Signature=${signature}`,
  };
}

export const invoke: Bench = {
  what: `warm requests/s, ${connections} connections, ${rounds} alternating rounds of ${secondsPerRound} s`,
  run: async () => {
    if (installSystemPackages(['wrk']).length > 0)
      throw new Error('the invoke bench needs wrk: apt-get install wrk');
    const bellows = await Bellows.start();
    const barePort = await freePort();
    const bareServer = spawn(
      process.execPath,
      [fileURLToPath(new URL('bare-server.ts', import.meta.url)), String(barePort)],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    try {
      await new Promise((resolve) => bareServer.stdout.once('data', resolve));
      const code = { 'index.mjs': 'export const handler = async () => ({ ok: true });' };
      await bellows.v1(
        'PUT',
        '/workloads/default/warm',
        await zipOf({ ...code, 'bellows.json': '{"kind":"function","handler":"index.handler","url":true}' }),
      );
      await bellows.lambda().send(
        new CreateFunctionCommand({
          FunctionName: 'signed',
          Runtime: 'nodejs26.x',
          Role: 'arn:aws:iam::000000000000:role/any',
          Handler: 'index.handler',
          Code: { ZipFile: await zipOf(code) },
        }),
      );
      const script = fileURLToPath(new URL('post.lua', import.meta.url));
      const path = '/2015-03-31/functions/signed/invocations';
      const measured: Record<'bare' | 'url' | 'sdk', Load[]> = { bare: [], url: [], sdk: [] };
      const turns = {
        bare: () => wrk(`http://127.0.0.1:${barePort}/`, load),
        url: () => wrk(`${bellows.url}/w/default/warm/`, load),
        sdk: () =>
          wrk(`${bellows.url}${path}`, {
            ...load,
            headers: signed(`127.0.0.1:${bellows.port}`, path, bellows.credentials.tenants['default']!),
            script,
          }),
      };
      for (const turn of Object.values(turns)) await turn();
      for (let round = 0; round < rounds; round += 1) {
        for (const name of ['bare', 'url', 'sdk'] as const) measured[name].push(await turns[name]());
      }
      const median = (name: 'bare' | 'url' | 'sdk', of: (load: Load) => number): number =>
        percentile(measured[name].map(of), 0.5);
      const rate = (name: 'bare' | 'url' | 'sdk'): number => median(name, (load) => load.requestsPerSecond);
      const show = (name: 'bare' | 'url' | 'sdk'): string => `${Math.round(rate(name))} /s`;
      const latency = (name: 'bare' | 'url' | 'sdk'): string =>
        `${median(name, (load) => load.p50Ms).toFixed(2)} / ${median(name, (load) => load.p99Ms).toFixed(2)}`;
      return [
        { name: 'bare node:http', value: show('bare') },
        { name: 'function URL', value: show('url') },
        { name: 'signed Invoke', value: show('sdk') },
        { name: 'p50 / p99 ms, bare', value: latency('bare') },
        { name: 'p50 / p99 ms, function URL', value: latency('url') },
        { name: 'p50 / p99 ms, signed Invoke', value: latency('sdk') },
        {
          name: 'function URL / bare',
          value: times(rate('url') / rate('bare')),
          aim: '>= 0.7 ×',
          met: rate('url') / rate('bare') >= 0.7,
        },
        {
          name: 'signed Invoke / bare',
          value: times(rate('sdk') / rate('bare')),
          aim: '>= 0.4 ×',
          met: rate('sdk') / rate('bare') >= 0.4,
        },
      ];
    } finally {
      bareServer.kill();
      await bellows.stop();
    }
  },
};
