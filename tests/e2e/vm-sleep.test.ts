// Virtual machines that go to disk without anybody naming them, with real guests: after a time in which nothing happened
// (`--hibernate-after`), and when their memory is needed. That one is put there on request is vm-units.test.ts.
import { readFileSync, readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InvokeCommand } from '@aws-sdk/client-lambda';
import { tarGzOf } from '../support/archives.ts';
import { deployStatefulApp } from '../support/apps.ts';
import { Bellows, eventually } from '../support/bellows.ts';
import { isProcess } from '../support/kernel.ts';
import { instanceOf, missingForMachines, privateBytesOf, unitOf } from '../support/machines.ts';
import { suiteNeeding } from '../support/needs.ts';
import { NumberedSockets } from '../support/numbered-sockets.ts';

interface Reclaimed {
  readonly from: readonly { readonly workload: string; readonly how: string }[];
}

const mib = 1024 * 1024;
const afterSeconds = 12;
/** Longer than that, and than a look at it takes. */
const slowAnswerMs = (afterSeconds + 10) * 1_000;
const sleptMs = 180_000;
/** A minute in which nothing happens, after idle connections of the first requests have been closed. */
const quietMs = 300_000;
/** At once: more take an emulated machine longer, on a busy host, than a client is let wait. */
const clientCount = 5;

const slow = `
  import { createServer } from 'node:http';
  createServer((request, response) => {
    const [, path] = request.url.split('?')[0].split('/').slice(-2);
    setTimeout(() => response.end('done'), path === 'slow' ? ${slowAnswerMs} : 0);
  }).listen(process.env.PORT);`;
const counter = `
  let calls = 0;
  export const handler = async () => ({ calls: ++calls });`;

/** That have the unit's name among their arguments, as a machine's have. */
function processesOf(unit: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(unit);
      } catch {
        return false;
      }
    });
}

suiteNeeding('virtual machines that sleep', missingForMachines, () => {
  let bellows: Bellows;
  const begin = (...args: string[]) => {
    beforeAll(async () => {
      bellows = await Bellows.start({
        args: ['--no-examples', '--unit', 'vm', '--pool', '1', ...args],
        readyMs: 400_000,
      });
    }, 420_000);
    afterAll(async () => {
      await bellows.stop();
    });
  };
  const deploy = async (name: string, files: Record<string, string>, manifest: object): Promise<void> => {
    const archive = await tarGzOf({ ...files, 'bellows.json': JSON.stringify(manifest) });
    expect((await bellows.v1('PUT', `/workloads/default/${name}`, archive)).status).toBe(201);
  };
  const deployDozer = async (): Promise<void> => {
    await deployStatefulApp(bellows, 'default', 'dozer');
    await eventually(async () => (await fetch(`${bellows.url}/w/default/dozer/state`)).ok, {
      timeoutMs: sleptMs,
      what: () => 'the app to serve',
    });
  };
  const deployCounter = () =>
    deploy('counter', { 'index.mjs': counter }, { kind: 'function', handler: 'index.handler', timeout: 150 });
  const countOf = async (): Promise<unknown> => {
    const sdk = bellows.lambda('default', { requestHandler: { requestTimeout: 170_000 } });
    const { Payload } = await sdk.send(new InvokeCommand({ FunctionName: 'counter' }));
    return JSON.parse(new TextDecoder().decode(Payload));
  };
  const untilItIs = (name: string, state: 'hibernated' | 'bound'): Promise<void> =>
    eventually(
      async () => {
        const unit = await unitOf(bellows, name);
        // On its way to the disk it has its process still.
        return unit.state === state && (unit.pid === null) === (state === 'hibernated');
      },
      { timeoutMs: sleptMs, what: () => `${name} to be ${state}` },
    );
  const asleep = (name: string): Promise<void> => untilItIs(name, 'hibernated');
  const awake = (name: string): Promise<void> => untilItIs(name, 'bound');
  /** Who owns the machines is killed; until another one does. */
  const killOwner = async (): Promise<void> => {
    const killed = bellows.pidOf('units');
    process.kill(killed!, 'SIGKILL');
    await eventually(
      () => {
        const next = bellows.pidOf('units');
        return next !== undefined && next !== killed;
      },
      { timeoutMs: sleptMs, what: () => 'another owner of the machines' },
    );
  };
  /** Each says something several times, all in turn, which wakes it; until all of it is answered. */
  const talk = async (clients: NumberedSockets, messages: number): Promise<void> => {
    const before = clients.sent;
    clients.start(20);
    await awake('dozer');
    await eventually(() => clients.sent - before >= messages, { timeoutMs: 60_000 });
    clients.pause();
    // What was sent early in the sleep is sent again as long after it as it had waited, at the latest.
    await eventually(() => clients.outstanding === 0, { timeoutMs: 120_000 });
  };

  describe('by themselves', () => {
    begin('--hibernate-after', String(afterSeconds));

    test(
      'M-C4 M-C5: an app whose clients are silent goes to disk, stays there when its owner is killed, and what a client says wakes it and is answered',
      { timeout: 600_000 },
      async () => {
        await deployDozer();
        const clients = await NumberedSockets.open(
          `ws://127.0.0.1:${bellows.port}/w/default/dozer/`,
          clientCount,
        );
        const first = await unitOf(bellows, 'dozer');
        const heldBytes = privateBytesOf(first.pid);
        expect(heldBytes).toBeGreaterThan(20 * mib);
        expect(processesOf(first.id)).not.toEqual([]);
        await asleep('dozer');
        // By the kernel: the process is gone, and with it all that was its alone.
        expect(isProcess(first.pid)).toBe(false);
        expect((await bellows.cli('events')).stdout).toMatch(
          new RegExp(`${first.id} was hibernated in \\d+ ms, since nothing had happened in it for \\d+ s: `),
        );
        expect((await instanceOf(bellows, 'dozer')).connections).toBe(clientCount);
        await killOwner();
        await asleep('dozer');
        expect(processesOf(first.id)).toEqual([]);
        expect((await bellows.cli('events')).stdout).not.toContain(`${first.id} was woken`);
        const ports = clients.localPorts;
        await talk(clients, 100);
        const { pid } = await unitOf(bellows, 'dozer');
        expect(pid).not.toBe(first.pid);
        // And once more, without anybody's word.
        await asleep('dozer');
        expect(isProcess(pid)).toBe(false);
        expect(processesOf(first.id)).toEqual([]);
        await talk(clients, 100);
        const account = await clients.stop();
        console.log(`M-C4, asleep by itself twice: ${JSON.stringify(account)}`);
        expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
        expect(clients.localPorts).toEqual(ports);
        clients.close();
      },
    );

    test(
      'M-C4: a request that takes longer than that is answered: who has something to answer stays awake',
      { timeout: 600_000 },
      async () => {
        await deploy('slow', { 'server.mjs': slow }, { kind: 'app', start: 'node server.mjs' });
        const { pid } = await unitOf(bellows, 'slow');
        const answer = await fetch(`${bellows.url}/w/default/slow/at/slow`);
        expect(await answer.text()).toBe('done');
        // The same process: it did not sleep meanwhile.
        expect((await unitOf(bellows, 'slow')).pid).toBe(pid);
        await asleep('slow');
        expect(isProcess(pid)).toBe(false);
        expect(await (await fetch(`${bellows.url}/w/default/slow/at/once`)).text()).toBe('done');
      },
    );

    test(
      'M-C4: a function that nobody calls goes to disk with what it remembers, and a call wakes it',
      { timeout: 600_000 },
      async () => {
        await deployCounter();
        expect(await countOf()).toEqual({ calls: 1 });
        const { pid } = await unitOf(bellows, 'counter');
        await asleep('counter');
        expect(isProcess(pid)).toBe(false);
        expect(await countOf()).toEqual({ calls: 2 });
      },
    );
  });

  describe('when their memory is needed', () => {
    begin();

    test(
      'M-B4 M-C4: what is quiet goes to disk before any function is ended, and both answer afterwards',
      { timeout: 900_000 },
      async () => {
        await deployCounter();
        await countOf();
        await deployDozer();
        const clients = await NumberedSockets.open(
          `ws://127.0.0.1:${bellows.port}/w/default/dozer/`,
          clientCount,
        );
        const pids = [(await unitOf(bellows, 'dozer')).pid, (await unitOf(bellows, 'counter')).pid];
        const wanted = { memory: '64GiB' };
        const howOf = ({ from }: Reclaimed): string[] =>
          from.filter(({ how }) => how !== 'claim').map(({ workload, how }) => `${workload} ${how}`);
        const all = ['counter hibernate', 'dozer hibernate'];
        let told = '';
        await eventually(
          async () => {
            const { body } = await bellows.v1<Reclaimed>('POST', '/reclaim?plan=true', wanted);
            told = JSON.stringify(body);
            return howOf(body).toSorted().join() === all.join();
          },
          { timeoutMs: quietMs, everyMs: 5_000, what: () => `both to be quiet for long: ${told}` },
        );
        const { body } = await bellows.v1<Reclaimed>('POST', '/reclaim', wanted);
        expect(howOf(body).toSorted()).toEqual(all);
        for (const pid of pids) expect(isProcess(pid)).toBe(false);
        await talk(clients, 20);
        expect(await clients.stop()).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
        clients.close();
        expect(await countOf()).toEqual({ calls: 2 });
      },
    );
  });
});
