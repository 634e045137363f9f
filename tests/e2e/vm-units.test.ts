// Virtual machine units from outside, with real guests (emulated where KVM does not work): functions of any size out of one
// pool of one size, what is claimed seen in the host's own accounting, live resizes, and what becomes of faults.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  CreateFunctionCommand,
  InvokeCommand,
  UpdateFunctionConfigurationCommand,
  type LambdaClient,
} from '@aws-sdk/client-lambda';
import { tarGzOf, zipOf } from '../support/archives.ts';
import { amountOf, deployStatefulApp } from '../support/apps.ts';
import { Bellows, eventually } from '../support/bellows.ts';
import { groupDirectory, isProcess } from '../support/kernel.ts';
import { instanceOf, missingForMachines, privateBytesOf, unitOf, unitsOf } from '../support/machines.ts';
import { suiteNeeding } from '../support/needs.ts';
import { NumberedSockets } from '../support/numbered-sockets.ts';

const mib = 1024 * 1024;
const runtime = 'nodejs26.x' as never;
const unitMemoryMib = 1024;
interface Hibernated {
  readonly before: string;
  readonly after: string;
  readonly stored: string;
  readonly durationMs: number;
}
interface Transaction {
  readonly status: string;
  readonly connections: { readonly dropped: number };
}

/** Holds as much as it is told, every page of it touched, until it is told to let go; stores likewise. */
const holder = `
  import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
  let held = [];
  export const handler = async ({ hold = 0, drop = false, store, remove }) => {
    if (drop) held = [];
    if (remove) rmSync('/tmp/' + remove);
    if (store) {
      const file = openSync('/tmp/' + store.name, 'w');
      const block = Buffer.alloc(1024 * 1024, 7);
      for (let done = 0; done < store.mib; done += 1) writeSync(file, block);
      fsyncSync(file);
      closeSync(file);
    }
    for (let index = 0; index < hold; index += 8) held.push(Buffer.alloc(8 * 1024 * 1024, index + 1));
    return { held: held.length * 8, memory: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE };
  };`;

suiteNeeding('virtual machine units', missingForMachines, () => {
  let bellows: Bellows;
  let sdk: LambdaClient;

  beforeAll(async () => {
    const args = ['--no-examples', '--unit', 'vm', '--pool', '2'];
    bellows = await Bellows.start({ args, readyMs: 400_000 });
    sdk = bellows.lambda('default', { requestHandler: { requestTimeout: 170_000 } });
  }, 420_000);
  afterAll(async () => {
    await bellows.stop();
  });

  const create = async (name: string, memoryMib: number): Promise<void> => {
    await sdk.send(
      new CreateFunctionCommand({
        FunctionName: name,
        Runtime: runtime,
        Role: 'arn:aws:iam::000000000000:role/any',
        Handler: 'index.handler',
        MemorySize: memoryMib,
        Timeout: 150,
        Code: { ZipFile: await zipOf({ 'index.mjs': holder }) },
      }),
    );
  };
  const invoke = async (name: string, event: unknown = {}) => {
    const answer = await sdk.send(new InvokeCommand({ FunctionName: name, Payload: JSON.stringify(event) }));
    return {
      error: answer.FunctionError,
      payload: JSON.parse(new TextDecoder().decode(answer.Payload)) as Record<string, unknown>,
    };
  };
  const claimedOf = async (name: string): Promise<number> =>
    amountOf('memory', (await unitOf(bellows, name)).claimed.memory);

  test.each([128, 200, 512, 1024])(
    'M-A2 M-A6: a function of %d MiB has exactly that, in a machine of 1024 MiB from the one pool',
    { timeout: 300_000 },
    async (memoryMib) => {
      const name = `size-${memoryMib}`;
      await create(name, memoryMib);
      // A Node process itself stands at some 45 MiB.
      const fits = Math.floor((memoryMib - 64) / 8 / 2) * 8;
      expect((await invoke(name, { hold: fits })).payload).toEqual({
        held: fits,
        memory: String(memoryMib),
      });
      const unit = await unitOf(bellows, name);
      expect(unit).toMatchObject({ state: 'bound', tenant: 'default', instances: 1 });
      expect(amountOf('memory', unit.provisioned.memory)).toBe(unitMemoryMib * mib);
      expect(amountOf('memory', unit.granted.memory)).toBe(memoryMib * mib);
      const { unitPid } = await instanceOf(bellows, name);
      expect(unitPid).toBe(unit.pid);
      expect(readFileSync(`/proc/${unitPid}/comm`, 'utf8')).toMatch(/^qemu/);
      const { error, payload } = await invoke(name, { hold: memoryMib });
      expect({ error, type: payload['errorType'] }).toEqual({
        error: 'Unhandled',
        type: 'Runtime.OutOfMemory',
      });
      // The machine was that instance's alone, and goes with it.
      await eventually(() => !isProcess(unit.pid), { timeoutMs: 30_000 });
    },
  );

  test(
    'M-A3 M-A4: what was touched and is then claimed comes back to the host, by the host’s own accounting; and can be had again',
    { timeout: 300_000 },
    async () => {
      await create('breathes', 1024);
      const touchedMib = 600;
      await invoke('breathes', { hold: touchedMib });
      const { pid } = await unitOf(bellows, 'breathes');
      const full = privateBytesOf(pid);
      expect(full).toBeGreaterThan(touchedMib * mib);
      await invoke('breathes', { drop: true });
      const resized = async (memoryMib: number): Promise<void> => {
        await sdk.send(
          new UpdateFunctionConfigurationCommand({ FunctionName: 'breathes', MemorySize: memoryMib }),
        );
      };
      await resized(256);
      await eventually(async () => (await claimedOf('breathes')) >= (unitMemoryMib - 256 - 8) * mib, {
        timeoutMs: 60_000,
        what: () => 'the claim',
      });
      const claimed = privateBytesOf(pid);
      console.log(
        `M-A4: ${Math.round(full / mib)} MiB private before the claim, ${Math.round(claimed / mib)} MiB after; ${touchedMib} MiB had been touched`,
      );
      // Of what was touched all but what the function may still hold had to be given back.
      expect(full - claimed).toBeGreaterThanOrEqual(0.9 * (touchedMib - 256) * mib);
      // The same instance goes on, in the same machine, and gets it all again.
      await resized(1024);
      expect((await invoke('breathes', { hold: 400 })).payload).toMatchObject({ held: 400 });
      expect((await unitOf(bellows, 'breathes')).pid).toBe(pid);
    },
  );

  test(
    'M-A5: what a function stores is on the host’s disk, its size changes both ways while it runs, and what it deleted is the host’s again',
    { timeout: 300_000 },
    async () => {
      await create('stores', 256);
      await invoke('stores', { store: { name: 'first', mib: 8 } });
      const { id, pid } = await unitOf(bellows, 'stores');
      const hostBytes = (): number => statSync(`${bellows.dataDirectory}/scratch/${id}.ext4`).blocks * 512;
      const empty = hostBytes();
      // Far more than its memory.
      await invoke('stores', { store: { name: 'second', mib: 300 } });
      const full = hostBytes();
      expect(full - empty).toBeGreaterThanOrEqual(300 * mib);
      const resized = (storage: string) =>
        bellows.v1<Transaction>('PATCH', '/workloads/default/stores', { storage });
      const claimedBytes = async (): Promise<number> =>
        amountOf('storage', (await unitOf(bellows, 'stores')).claimed.storage);
      expect((await resized('128MiB')).body.status).toBe('deferred');
      await invoke('stores', { remove: 'second' });
      // The machine was provisioned with 1 GiB.
      await eventually(async () => Math.abs((await claimedBytes()) - (1024 - 128) * mib) <= mib, {
        timeoutMs: 60_000,
        what: () => 'the claim',
      });
      await eventually(() => full - hostBytes() >= 290 * mib, { timeoutMs: 60_000 });
      console.log(
        `M-A5: ${Math.round(full / mib)} MiB of the host's disk before 300 MiB were deleted, ${Math.round(hostBytes() / mib)} MiB after`,
      );
      const refused = await invoke('stores', { store: { name: 'second', mib: 150 } });
      expect(refused.payload['errorMessage']).toMatch(/no space left/i);
      expect((await resized('700MiB')).body.status).toBe('applied');
      expect((await invoke('stores', { store: { name: 'second', mib: 400 } })).error).toBeUndefined();
      expect((await unitOf(bellows, 'stores')).pid).toBe(pid);
    },
  );

  test(
    'M-C3 M-C5 M-A3: 10 WebSockets into a machine lose no message through 24 resizes',
    { timeout: 300_000 },
    async () => {
      await deployStatefulApp(bellows);
      const { unitPid } = await instanceOf(bellows, 'stateful');
      const clients = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/stateful/`, 10);
      clients.start(20);
      const seen = new Set<string>();
      for (let change = 0; change < 24; change += 1) {
        const memory = `${[160, 320, 640, 240, 900, 200][change % 6]}MiB`;
        const cpu = `${[500, 1000, 1500][change % 3]}m`;
        const answer = await bellows.v1<Transaction>('PATCH', '/workloads/default/stateful', {
          memory,
          cpu,
        });
        expect([200, 202], JSON.stringify(answer.body)).toContain(answer.status);
        expect(answer.body.connections.dropped).toBe(0);
        seen.add(answer.body.status);
      }
      const account = await clients.stop();
      console.log(`M-C5 in a virtual machine: ${JSON.stringify(account)}`);
      expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
      expect(account.sent).toBeGreaterThan(50);
      expect(seen).toContain('applied');
      expect((await instanceOf(bellows, 'stateful')).unitPid).toBe(unitPid);
    },
  );

  test(
    'M-C4 M-C5: an app is hibernated with its machine: its clients stay connected, what they send wakes it, and nothing is lost',
    { timeout: 300_000 },
    async () => {
      await deployStatefulApp(bellows, 'default', 'sleeper');
      const clients = await NumberedSockets.open(`ws://127.0.0.1:${bellows.port}/w/default/sleeper/`, 10);
      const awake = await unitOf(bellows, 'sleeper');
      const hibernate = async (): Promise<Hibernated> => {
        const { status, body } = await bellows.v1<Hibernated>('POST', `/units/${awake.id}/hibernate`);
        expect(status, JSON.stringify(body)).toBe(200);
        return body;
      };
      const report = await hibernate();
      console.log(`M-C4: ${JSON.stringify(report)}`);
      expect(report.after).toBe('0');
      expect(isProcess(awake.pid)).toBe(false);
      expect(await unitOf(bellows, 'sleeper')).toMatchObject({ state: 'hibernated', pid: null });
      const { state, memory, connections } = await instanceOf(bellows, 'sleeper');
      expect({ state, grant: memory.grant, connections }).toEqual({
        state: 'hibernated',
        grant: '0',
        connections: 10,
      });
      clients.start(20);
      await eventually(async () => (await unitOf(bellows, 'sleeper')).state === 'bound', {
        timeoutMs: 120_000,
      });
      // Once more, in the midst of it: nobody asks for its wake but those who go on sending.
      const { pid } = await unitOf(bellows, 'sleeper');
      await hibernate();
      expect(isProcess(pid)).toBe(false);
      await eventually(async () => (await unitOf(bellows, 'sleeper')).state === 'bound', {
        timeoutMs: 120_000,
      });
      clients.pause();
      // What was sent early in the sleep is sent again as long after it as it had waited, at the latest.
      await eventually(() => clients.outstanding === 0, { timeoutMs: 120_000 });
      const account = await clients.stop();
      console.log(`M-C4, with two sleeps: ${JSON.stringify(account)}`);
      expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
      expect(account.sent).toBeGreaterThan(20);
      expect((await instanceOf(bellows, 'sleeper')).unit).toBe(awake.id);
    },
  );

  test(
    'M-C4 M-C5 M-C6: an app and a function with held clients go on in other machines while their clients talk, and nothing is lost',
    { timeout: 600_000 },
    async () => {
      const manifest = {
        kind: 'function',
        handler: 'index.handler',
        timeout: 150,
        websocket: { routes: ['$default'] },
      };
      const echo = 'export const handler = async ({ body }) => ({ statusCode: 200, body });';
      const archive = await tarGzOf({ 'index.mjs': echo, 'bellows.json': JSON.stringify(manifest) });
      expect((await bellows.v1('PUT', '/workloads/default/echo', archive)).status).toBe(201);
      const at = (name: string): string => `ws://127.0.0.1:${bellows.port}/w/default/${name}/`;
      const talking = {
        sleeper: await NumberedSockets.open(at('sleeper'), 10),
        // Its messages are calls, one after another: more at once would have more machines.
        echo: await NumberedSockets.open(at('echo'), 1),
      };
      talking.sleeper.start(20);
      talking.echo.start(2);
      await eventually(() => talking.echo.sent - talking.echo.outstanding > 3, { timeoutMs: 240_000 });
      for (const [name, clients] of Object.entries(talking)) {
        const before = await unitOf(bellows, name);
        const instance = await instanceOf(bellows, name);
        const { stdout, code } = await bellows.cli('move', before.id);
        console.log(`M-C4: ${stdout.trim()}`);
        expect(code, stdout).toBe(0);
        const after = await unitOf(bellows, name);
        expect(stdout).toContain(`${before.id} goes on in process ${after.pid} `);
        expect(isProcess(before.pid)).toBe(false);
        // The same application in the same unit, which is another process now, in a group of its own.
        expect(after).toMatchObject({ id: before.id, state: 'bound', granted: before.granted });
        expect(await instanceOf(bellows, name)).toMatchObject({
          id: instance.id,
          pid: instance.pid,
          unitPid: after.pid,
        });
        expect(groupDirectory(after.pid, 'memory')).toMatch(new RegExp(`/${before.id}\\.b$`));
        const sent = clients.sent;
        await eventually(() => clients.sent > sent + 5, { timeoutMs: 120_000 });
      }
      // It can be changed as before.
      const resized = { memory: '300MiB', cpu: '1' };
      expect(
        (await bellows.v1<Transaction>('PATCH', '/workloads/default/sleeper', resized)).body,
      ).toMatchObject({
        connections: { dropped: 0 },
      });
      for (const [name, clients] of Object.entries(talking)) {
        clients.pause();
        await eventually(() => clients.outstanding === 0, { timeoutMs: 240_000 });
        const account = await clients.stop();
        console.log(`M-C4, ${name} with a move: ${JSON.stringify(account)}`);
        expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
        clients.close();
      }
    },
  );

  test(
    'M-C6: an app that has outgrown its machine is given room on a second one while it runs: its clients stay, and new ones are served by both',
    { timeout: 600_000 },
    async () => {
      await deployStatefulApp(bellows, 'default', 'grower');
      const url = `ws://127.0.0.1:${bellows.port}/w/default/grower/`;
      const before = await NumberedSockets.open(url, 4);
      before.start(20);
      const first = await unitOf(bellows, 'grower');
      // No machine has more than this: one alone can not be given it.
      const tooMuch = await bellows.v1<Transaction>('PATCH', '/workloads/default/grower', {
        memory: '1536MiB',
      });
      expect(JSON.stringify(tooMuch.body)).toMatch(/infeasible/i);
      const { body } = await bellows.v1('PATCH', '/workloads/default/grower', {
        memory: '768MiB',
        scale: 2,
      });
      const own = async () => (await bellows.instances()).filter(({ workload }) => workload === 'grower');
      await eventually(
        async () => (await own()).filter(({ state }) => state === 'idle' || state === 'busy').length === 2,
        { timeoutMs: 300_000, what: () => `a second instance: ${JSON.stringify(body)}` },
      );
      const units = new Set((await own()).map(({ unit }) => unit));
      expect(units).toContain(first.id);
      expect(units.size).toBe(2);
      const granted = (await unitsOf(bellows))
        .filter(({ id }) => units.has(id))
        .map((unit) => amountOf('memory', unit.granted.memory));
      expect(granted).toEqual([768 * mib, 768 * mib]);
      const after = await NumberedSockets.open(url, 8);
      after.start(20);
      await eventually(async () => (await own()).every(({ connections }) => connections >= 4), {
        timeoutMs: 120_000,
      });
      for (const clients of [before, after]) {
        await eventually(() => clients.sent > 30, { timeoutMs: 120_000 });
        expect(await clients.stop()).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
        clients.close();
      }
      await bellows.v1('PATCH', '/workloads/default/grower', { scale: 1 });
    },
  );

  test(
    'a machine whose QEMU is killed is replaced, its app answers again, and nothing of it is left',
    { timeout: 300_000 },
    async () => {
      const before = await unitOf(bellows, 'stateful');
      process.kill(before.pid, 'SIGKILL');
      await eventually(async () => (await unitOf(bellows, 'stateful')).id !== before.id, {
        timeoutMs: 120_000,
      });
      const answer = await fetch(`${bellows.url}/w/default/stateful/state`);
      expect(answer.status).toBe(200);
      expect((await unitsOf(bellows)).map(({ id }) => id)).not.toContain(before.id);
      expect(existsSync(`${bellows.dataDirectory}/units/${before.id}.json`)).toBe(false);
      expect(existsSync(`${bellows.dataDirectory}/run/u/${before.id}`)).toBe(false);
    },
  );

  test('bellows units shows each machine beside what it takes of the host', { timeout: 60_000 }, async () => {
    const { stdout, code } = await bellows.cli('units');
    expect(code).toBe(0);
    const { id, pid } = await unitOf(bellows, 'stateful');
    expect(stdout).toMatch(new RegExp(`^${id} +vm +bound +default +${pid} `, 'm'));
  });

  test('machines and what runs in them outlive a crash of the fleet', { timeout: 120_000 }, async () => {
    const before = await instanceOf(bellows, 'stateful');
    const { children } = JSON.parse(readFileSync(`${bellows.dataDirectory}/run/processes.json`, 'utf8')) as {
      children: { agent: { pid: number } };
    };
    process.kill(children.agent.pid, 'SIGKILL');
    await eventually(
      async () => {
        const { status } = (await (await fetch(`${bellows.url}/healthz`)).json()) as { status: string };
        return status === 'ok' && (await instanceOf(bellows, 'stateful')).unitPid === before.unitPid;
      },
      { timeoutMs: 60_000 },
    );
    expect((await fetch(`${bellows.url}/w/default/stateful/state`)).status).toBe(200);
    expect(await instanceOf(bellows, 'stateful')).toMatchObject({
      id: before.id,
      unit: before.unit,
      pid: before.pid,
    });
  });

  test('a stop ends every machine and leaves nothing', { timeout: 120_000 }, async () => {
    const pids = (await unitsOf(bellows)).map(({ pid }) => pid);
    expect(pids.length).toBeGreaterThan(0);
    expect(await bellows.stop({ keepData: true })).toBe(0);
    for (const pid of pids) expect(isProcess(pid)).toBe(false);
  });
});
