// Instances on this machine and in virtual machines under one Bellows, from outside: workloads that are had to run elsewhere while
// their clients talk, and what becomes of both when one of the processes that answer for them is killed. Where something runs
// is the kernel's word: a process in a group of its own here, or QEMU's.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tarGzOf } from '../support/archives.ts';
import { deployStatefulApp } from '../support/apps.ts';
import { Bellows, eventually, type InstanceAnswer } from '../support/bellows.ts';
import { groupDirectory, isProcess } from '../support/kernel.ts';
import { missingForMachines, tracesOf, unitsOf } from '../support/machines.ts';
import { suiteNeeding } from '../support/needs.ts';
import { NumberedSockets } from '../support/numbered-sockets.ts';
import { talkingFunction } from '../support/talking-function.ts';

type Kind = 'host' | 'vm';

/** Emulated, a start takes ten seconds, and on a busy machine several times that. */
const timeout = 600_000;
const slowMs = 240_000;
const nothingLost = { lost: 0, doubled: 0, reordered: 0, closes: 0 };

/** Numbered calls, one after another, each of which has to be answered with its number. */
class Callers {
  answered = 0;
  readonly wrong: string[] = [];
  #ended = false;
  #running: Promise<void>;

  constructor(url: string) {
    this.#running = this.#run(url);
  }

  async stop(): Promise<void> {
    this.#ended = true;
    await this.#running;
  }

  async #run(url: string): Promise<void> {
    for (let number = 0; !this.#ended; number += 1) {
      const answer = await fetch(url, { method: 'POST', body: `call ${number}` });
      const text = await answer.text();
      if (answer.status !== 200 || text !== `call ${number}`) this.wrong.push(`${answer.status} ${text}`);
      this.answered += 1;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

suiteNeeding('this machine and virtual machines at once', missingForMachines, () => {
  let bellows: Bellows;

  beforeAll(async () => {
    bellows = await Bellows.start({ args: ['--no-examples', '--unit', 'both', '--pool', '1'] });
    const isMachine = ({ id }: { readonly id: string }): boolean => id !== 'host';
    await eventually(async () => (await unitsOf(bellows)).some(isMachine), { timeoutMs: 400_000 });
  }, 420_000);
  afterAll(async () => bellows?.stop(), 120_000);

  const running = async (name: string): Promise<InstanceAnswer[]> =>
    (await bellows.instances()).filter(
      ({ workload, state }) => workload.endsWith(name) && state !== 'stopping',
    );

  /** By the kernel's word. */
  function kindOf({ id, pid, unit, unitPid }: InstanceAnswer): Kind {
    if (unit !== 'host') {
      expect(readFileSync(`/proc/${unitPid}/comm`, 'utf8')).toMatch(/^qemu/);
      expect(groupDirectory(unitPid!, 'memory')).toContain(unit);
      return 'vm';
    }
    expect(unitPid).toBeUndefined();
    expect(groupDirectory(pid, 'memory')).toContain(id);
    return 'host';
  }

  async function move(name: string, to: Kind): Promise<void> {
    const { stdout, code } = await bellows.cli('move', name, '--to', to);
    console.log(`M-C4: ${stdout.trim()}`);
    expect(code, stdout).toBe(0);
  }

  const comeBack = async (clients: NumberedSockets, more: number): Promise<void> => {
    const until = clients.sent - clients.outstanding + more;
    await eventually(() => clients.sent - clients.outstanding > until, { timeoutMs: slowMs });
  };

  test(
    'M-C4 M-C5 M-C6: a function goes from this machine into a virtual machine and back while held clients and callers talk to it, and nothing is lost',
    { timeout },
    async () => {
      const manifest = {
        kind: 'function',
        handler: 'index.handler',
        timeout: 150,
        url: true,
        websocket: { routes: ['$default'] },
      };
      const echo = 'export const handler = async ({ body }) => ({ statusCode: 200, body });';
      const archive = await tarGzOf({ 'index.mjs': echo, 'bellows.json': JSON.stringify(manifest) });
      expect((await bellows.v1('PUT', '/workloads/default/echo', archive)).status).toBe(201);
      const clients = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/echo/`, 2);
      const ports = clients.localPorts;
      clients.start(4);
      const callers = new Callers(`${bellows.url}/w/default/echo/`);
      await comeBack(clients, 3);
      for (const [from, to] of [
        ['host', 'vm'],
        ['vm', 'host'],
      ] as const) {
        const before = await running('echo');
        expect(before.map(kindOf)).toContain(from);
        await move('echo', to);
        await comeBack(clients, 5);
        const answered = callers.answered;
        await eventually(() => callers.answered > answered + 2, { timeoutMs: slowMs });
        await eventually(
          async () => {
            const now = await running('echo');
            return now.length > 0 && now.every((instance) => kindOf(instance) === to);
          },
          { timeoutMs: slowMs },
        );
        await eventually(() => before.every(({ pid, unitPid }) => !isProcess(unitPid ?? pid)), {
          timeoutMs: slowMs,
        });
      }
      await callers.stop();
      clients.pause();
      await eventually(() => clients.outstanding === 0, { timeoutMs: slowMs });
      const account = await clients.stop();
      console.log(`M-C4, from host to vm to host: ${JSON.stringify(account)}, ${callers.answered} calls`);
      expect(account).toMatchObject(nothingLost);
      expect(clients.localPorts).toEqual(ports);
      expect(callers.wrong).toEqual([]);
      clients.close();
    },
  );

  test(
    'M-C4: an app goes into a virtual machine: new connections are there, those that are open stay in its process until they end',
    { timeout },
    async () => {
      await deployStatefulApp(bellows, 'default', 'mover');
      const url = `ws://127.0.0.1:${bellows.port}/w/default/mover/`;
      const before = await NumberedSockets.open(url, 4);
      before.start(20);
      const [old] = await running('mover');
      await move('mover', 'vm');
      // Emulated and on a busy machine, the first connection into a new one takes longer than a client is kept waiting.
      const get = `${bellows.url}/w/default/mover/`;
      await eventually(async () => (await fetch(get)).status !== 503, { timeoutMs: slowMs });
      const after = await NumberedSockets.open(url, 4);
      after.start(20);
      await comeBack(before, 20);
      await comeBack(after, 20);
      await eventually(async () => {
        const now = await running('mover');
        const open = now.map((instance) => `${kindOf(instance)} ${instance.connections}`);
        return open.toSorted().join() === 'host 4,vm 4';
      });
      expect((await running('mover')).find(({ unit }) => unit === 'host')?.pid).toBe(old?.pid);

      // Each of both that answer for what runs may be killed: what runs goes on, and is known again.
      const known = (list: InstanceAnswer[]): string[] =>
        list.map(({ id, pid }) => `${id} ${pid}`).toSorted();
      const all = known(await running('mover'));
      for (const name of ['agent', 'units'] as const) {
        const killed = bellows.pidOf(name);
        process.kill(killed!, 'SIGKILL');
        await eventually(
          async () => {
            const now = bellows.pidOf(name);
            return now !== undefined && now !== killed && known(await running('mover')).length === all.length;
          },
          { timeoutMs: 60_000 },
        );
        await eventually(async () => (await unitsOf(bellows))[0]?.state === 'ready', { timeoutMs: 60_000 });
        expect(known(await running('mover'))).toEqual(all);
        await comeBack(before, 20);
        await comeBack(after, 20);
      }

      for (const clients of [before, after]) {
        const account = await clients.stop();
        console.log(`M-C4, an app with a move: ${JSON.stringify(account)}`);
        expect(account).toMatchObject(nothingLost);
      }
      // The last of the old ones goes, and with it the process that it was in.
      before.close();
      await eventually(async () => (await running('mover')).every((instance) => kindOf(instance) === 'vm'), {
        timeoutMs: 60_000,
      });
      await eventually(() => !isProcess(old!.pid));
      after.start(20);
      await comeBack(after, 10);
      expect(await after.stop()).toMatchObject(nothingLost);
      after.close();
    },
  );

  test(
    'M-C4 M-E6: kill -9 of `bellows up` while both places serve: the next one adopts all; one for this machine alone ends the machines, says so and leaves nothing of them',
    { timeout },
    async () => {
      await deployStatefulApp(bellows, 'default', 'direct');
      await deployStatefulApp(bellows, 'default', 'inside', { unit: 'vm' });
      const archive = await talkingFunction();
      expect((await bellows.v1('PUT', '/workloads/default/talk', archive)).status).toBe(201);
      const open = (name: string): Promise<NumberedSockets> =>
        NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/${name}/`, 3);
      const clients = { host: await open('direct'), vm: await open('inside'), held: await open('talk') };
      for (const each of Object.values(clients)) {
        each.start(10);
        await comeBack(each, 3);
      }
      const again = async (unit: 'both' | 'host'): Promise<void> => {
        const { port, dataDirectory } = bellows;
        bellows.process.kill('SIGKILL');
        await eventually(() => bellows.process.signalCode === 'SIGKILL');
        const args = ['--no-examples', '--unit', unit, '--pool', '1'];
        bellows = await Bellows.start({ port, dataDirectory, args, readyMs: slowMs });
      };
      const places = async (): Promise<string[]> =>
        [...(await running('direct')), ...(await running('inside'))].map(
          (instance) => `${instance.workload} ${kindOf(instance)} ${instance.unitPid ?? instance.pid}`,
        );
      const before = await places();
      expect(before.map((place) => place.split(' ').slice(0, 2).join(' '))).toEqual([
        'direct host',
        'inside vm',
      ]);
      await again('both');
      await eventually(async () => (await places()).join() === before.join(), { timeoutMs: slowMs });
      for (const each of Object.values(clients)) await comeBack(each, 5);
      for (const kind of ['vm', 'host', 'held'] as const) {
        clients[kind].pause();
        await eventually(() => clients[kind].outstanding === 0, { timeoutMs: slowMs });
        const account = await clients[kind].stop();
        console.log(`M-E6, ${kind}, over two supervisors: ${JSON.stringify(account)}`);
        expect(account, kind).toMatchObject(nothingLost);
      }
      clients.vm.close();

      const machines = (await unitsOf(bellows)).filter(({ id }) => id !== 'host');
      expect(machines.length).toBeGreaterThan(0);
      const traces = machines.map((machine) => tracesOf(bellows, machine));
      clients.host.start(10);
      await again('host');
      expect(bellows.output).toMatch(/This Bellows runs nothing in virtual machines: the .* ended/);
      expect(traces.flatMap((left) => left())).toEqual([]);
      expect(readdirSync(join(bellows.dataDirectory, 'units'))).toEqual([]);
      await comeBack(clients.host, 5);
      expect((await places()).filter((place) => place.includes('direct'))).toEqual(before.slice(0, 1));
      expect(await running('inside')).toEqual([]);
      expect(await clients.host.stop()).toMatchObject(nothingLost);
      clients.host.close();
      clients.held.close();
    },
  );
});
