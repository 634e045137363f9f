// Virtual machine units from outside when things go wrong: a guest that hangs, an agent inside that is killed, memory that is needed at once while nobody
// controls, and a tenant's limit on the processor as the host's kernel holds it.
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CreateFunctionCommand, InvokeCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import { zipOf } from '../support/archives.ts';
import { amountOf, deployStatefulApp } from '../support/apps.ts';
import { Bellows, eventually } from '../support/bellows.ts';
import { imageWithShell, shellIn } from '../support/guest-with-shell.ts';
import { cpuLimitOf, groupDirectory, oomKillsOf } from '../support/kernel.ts';
import {
  instanceOf,
  missingForMachines,
  privateBytesOf,
  tracesOf,
  unitOf,
  unitsOf,
} from '../support/machines.ts';
import { suiteNeeding } from '../support/needs.ts';

const mib = 1024 * 1024;
/** docs/guides/vm-units.md: QEMU that stands still is given up after 25 s; and what a loaded machine needs for it. */
const standstillDeadlineMs = 25_000 + 65_000;
/** As above: an agent that does not come back, after 90 s. */
const awayDeadlineMs = 90_000 + 65_000;
/** Of QEMU itself, in every quota on the host. */
const emulationMillicores = 250;

/** Holds as much as it is told, every page of it touched. */
const holder = `
  let held = [];
  export const handler = async ({ hold = 0 }) => {
    for (let index = 0; index < hold; index += 8) held.push(Buffer.alloc(8 * 1024 * 1024, index + 1));
    return { held: held.length * 8 };
  };`;

interface EventAnswer {
  readonly type: string;
  readonly instance: string | null;
  readonly data: { readonly reason?: string; readonly unit?: string };
}

suiteNeeding('faults of virtual machine units', missingForMachines, () => {
  let bellows: Bellows;
  let sdk: LambdaClient;
  let image: string | undefined;
  /** Resolves with its id when nothing of it is left. */
  let unitWithoutAgent: { readonly lost: Promise<string> };

  beforeAll(async () => {
    image = await imageWithShell();
    bellows = await Bellows.start({
      args: ['--no-examples', '--unit', 'vm', '--pool', '1', '--guest-image', image],
      readyMs: 400_000,
    });
    sdk = bellows.lambda('default', { requestHandler: { requestTimeout: 170_000 } });
    // Its deadline is long, and passes while the others are tested.
    unitWithoutAgent = { lost: loseAgentOf('agentless') };
    // Told when it is awaited.
    unitWithoutAgent.lost.catch(() => undefined);
  }, 420_000);
  afterAll(async () => {
    await bellows.stop();
    if (image !== undefined) rmSync(image, { recursive: true, force: true });
  });

  const events = async (): Promise<EventAnswer[]> => {
    const { stdout } = await bellows.cli('events', '--json');
    const lines = stdout.split('\n').filter((line) => line !== '');
    return lines.map((line) => JSON.parse(line) as EventAnswer);
  };
  const invoke = async (name: string, event: unknown = {}): Promise<unknown> => {
    const answer = await sdk.send(new InvokeCommand({ FunctionName: name, Payload: JSON.stringify(event) }));
    return JSON.parse(new TextDecoder().decode(answer.Payload));
  };

  /** Deploys an app, and kills every agent that comes in its machine. Answers the machine's id when nothing of it is left. */
  const loseAgentOf = async (name: string): Promise<string> => {
    await deployStatefulApp(bellows, 'default', name);
    const unit = await unitOf(bellows, name);
    const traces = tracesOf(bellows, unit);
    expect(traces().length).toBeGreaterThan(3);
    // What the shell does itself: to start a program for each process would take most of an emulated processor.
    await shellIn(
      bellows,
      unit.id,
      `while :; do
         for process in /proc/[0-9]*; do
           read -r name <$process/comm && [ "$name" = bellows-agent ] && kill -9 \${process#/proc/}
         done
         sleep 1
       done </dev/null >/dev/null 2>&1 &`,
    );
    await eventually(() => traces().length === 0, {
      everyMs: 500,
      timeoutMs: awayDeadlineMs,
      what: () => `nothing to be left of the machine but there is ${traces().join(', ')}`,
    });
    return unit.id;
  };

  test(
    'a machine that stands still is noticed by its deadline and told with the reason and a code; its app answers from another machine, and nothing is left',
    { timeout: 420_000 },
    async () => {
      await deployStatefulApp(bellows);
      const before = await unitOf(bellows, 'stateful');
      const { id } = await instanceOf(bellows, 'stateful');
      const traces = tracesOf(bellows, before);
      expect(traces().length).toBeGreaterThan(3);
      const stoppedMs = performance.now();
      process.kill(before.pid, 'SIGSTOP');
      await eventually(() => traces().length === 0, {
        timeoutMs: standstillDeadlineMs,
        what: () => `nothing to be left of the machine but there is ${traces().join(', ')}`,
      });
      console.log(
        `a machine that stood still was gone after ${Math.round((performance.now() - stoppedMs) / 1000)} s`,
      );
      const reason = expect.stringMatching(
        /^its unit .* was lost: its guest did not answer and its process stood still/,
      );
      const told = await events();
      expect(told).toContainEqual(
        expect.objectContaining({
          type: 'unit.lost',
          data: expect.objectContaining({ unit: before.id, code: 'GuestHung', instances: [id] }),
        }),
      );
      expect(told).toContainEqual(
        expect.objectContaining({
          type: 'instance.exited',
          instance: id,
          data: expect.objectContaining({ reason }),
        }),
      );
      expect(bellows.output).toContain('a unit was lost');
      await eventually(async () => (await unitOf(bellows, 'stateful')).id !== before.id, {
        timeoutMs: 180_000,
      });
      expect((await fetch(`${bellows.url}/w/default/stateful/state`)).status).toBe(200);
      expect((await unitsOf(bellows)).map((unit) => unit.id)).not.toContain(before.id);
    },
  );

  test(
    'an agent that is killed inside a machine comes back; what runs there goes on as it was',
    { timeout: 240_000 },
    async () => {
      const before = await instanceOf(bellows, 'stateful');
      const state = async () =>
        (await (await fetch(`${bellows.url}/w/default/stateful/state`)).json()) as { counter: number };
      const { counter } = await state();
      const agent = (): Promise<string> => shellIn(bellows, before.unit, 'echo $PPID');
      const killed = await agent();
      expect(Number(killed)).toBeGreaterThan(1);
      await shellIn(bellows, before.unit, 'kill -9 $PPID');
      const another = async (): Promise<boolean> => {
        const now = await agent();
        return now !== '' && now !== killed && (await unitOf(bellows, 'stateful')).state === 'bound';
      };
      await eventually(another, { timeoutMs: awayDeadlineMs, what: () => 'another agent inside' });
      const { id, pid, unit, unitPid } = await instanceOf(bellows, 'stateful');
      expect({ id, pid, unit, unitPid }).toEqual({
        id: before.id,
        pid: before.pid,
        unit: before.unit,
        unitPid: before.unitPid,
      });
      expect((await state()).counter).toBe(counter + 1);
    },
  );

  test(
    'M-B3 M-B6 M-B4: what a running app does not use is claimed on request, and is its own again when it needs it, by the guest’s pressure and without the controller',
    { timeout: 300_000 },
    async () => {
      const grown = await bellows.v1('PATCH', '/workloads/default/stateful?wait=60', { memory: '768MiB' });
      expect(grown.status, JSON.stringify(grown.body)).toBe(200);
      const before = await instanceOf(bellows, 'stateful');
      const { pid } = await unitOf(bellows, 'stateful');
      const app = async (path: string) =>
        (await (await fetch(`${bellows.url}/w/default/stateful/${path}`)).json()) as { heldMib: number };
      const claimed = async (): Promise<number> =>
        amountOf('memory', (await unitOf(bellows, 'stateful')).claimed.memory);
      const unclaimed = await claimed();
      interface Reclaim {
        readonly claimed: string;
        readonly from: readonly {
          readonly instance: string;
          readonly how: string;
          readonly claimed: string;
        }[];
      }
      const { body } = await bellows.v1<Reclaim>('POST', '/reclaim', { from: 'default/stateful' });
      console.log(`M-B6: ${JSON.stringify(body)}`);
      expect(body.from).toMatchObject([{ instance: before.id, how: 'claim', claimed: body.claimed }]);
      expect(amountOf('memory', body.claimed)).toBeGreaterThan(300 * mib);
      expect(await claimed()).toBe(unclaimed + amountOf('memory', body.claimed));
      const small = privateBytesOf(pid);
      const controller = bellows.pidOf('controller')!;
      process.kill(controller, 'SIGSTOP');
      try {
        expect(await app('hold?mib=480')).toEqual({ heldMib: 480 });
        expect(privateBytesOf(pid) - small).toBeGreaterThan(350 * mib);
      } finally {
        process.kill(controller, 'SIGCONT');
      }
      expect(bellows.output).toContain('memory is short in a unit');
      const { id } = await unitOf(bellows, 'stateful');
      await eventually(
        async () => {
          const told = (await events()).filter(({ data }) => data.unit === id).map(({ type }) => type);
          return told.includes('unit.claimed') && told.includes('unit.released');
        },
        { timeoutMs: 30_000, what: () => 'the claim and the release to be told' },
      );
      expect(await app('free')).toEqual({ heldMib: 0 });
      expect(oomKillsOf(groupDirectory(pid, 'memory'))).toBe(0);
      expect(await instanceOf(bellows, 'stateful')).toMatchObject({ id: before.id, pid: before.pid });
    },
  );

  test(
    'M-B4: a burst in a machine that was claimed down has all its memory at once, with the controller stopped, and no kill',
    { timeout: 300_000 },
    async () => {
      await sdk.send(
        new CreateFunctionCommand({
          FunctionName: 'burst',
          Runtime: 'nodejs26.x',
          Role: 'arn:aws:iam::000000000000:role/any',
          Handler: 'index.handler',
          MemorySize: 900,
          Timeout: 150,
          Code: { ZipFile: await zipOf({ 'index.mjs': holder }) },
        }),
      );
      expect(await invoke('burst')).toEqual({ held: 0 });
      const before = await instanceOf(bellows, 'burst');
      const { pid } = await unitOf(bellows, 'burst');
      // Frozen, and for long enough: what it does not hold is the host's.
      await eventually(
        async () => amountOf('memory', (await unitOf(bellows, 'burst')).claimed.memory) > 600 * mib,
        { timeoutMs: 90_000, what: () => 'the machine to be claimed down' },
      );
      const small = privateBytesOf(pid);
      const controller = bellows.pidOf('controller')!;
      process.kill(controller, 'SIGSTOP');
      try {
        const startedMs = performance.now();
        expect(await invoke('burst', { hold: 640 })).toEqual({ held: 640 });
        console.log(`M-B4: 640 MiB touched ${Math.round(performance.now() - startedMs)} ms after the call`);
        expect(privateBytesOf(pid) - small).toBeGreaterThan(500 * mib);
      } finally {
        process.kill(controller, 'SIGCONT');
      }
      expect(oomKillsOf(groupDirectory(pid, 'memory'))).toBe(0);
      expect(await instanceOf(bellows, 'burst')).toMatchObject({ id: before.id, pid: before.pid });
    },
  );

  test(
    'an agent that does not come back is noticed by its deadline and told with a code; its app answers from another machine, and nothing is left',
    { timeout: 420_000 },
    async () => {
      const unit = await unitWithoutAgent.lost;
      expect(await events()).toContainEqual(
        expect.objectContaining({
          type: 'unit.lost',
          data: expect.objectContaining({
            unit,
            code: 'UnitLost',
            reason: 'its agent did not come back within 90 s',
          }),
        }),
      );
      await eventually(async () => (await unitOf(bellows, 'agentless')).id !== unit, { timeoutMs: 180_000 });
      expect((await fetch(`${bellows.url}/w/default/agentless/state`)).status).toBe(200);
    },
  );

  test(
    'a tenant’s CPU limit holds on the host over all its machines, and changes live',
    { timeout: 120_000 },
    async () => {
      const { pid } = await unitOf(bellows, 'stateful');
      const group = groupDirectory(pid, 'cpu');
      const limitTo = async (cpu: string | null): Promise<void> => {
        const { status } = await bellows.v1('PUT', '/tenants/default/limits', { cpu, memory: null });
        expect([200, 202]).toContain(status);
      };
      expect(cpuLimitOf(dirname(group))).toBe(Infinity);
      for (const millicores of [700, 400, 1500]) {
        await limitTo(`${millicores}m`);
        expect(cpuLimitOf(dirname(group))).toBe(millicores + emulationMillicores);
        expect(cpuLimitOf(group)).toBeLessThanOrEqual(millicores + emulationMillicores);
      }
      await limitTo(null);
      expect(cpuLimitOf(dirname(group))).toBe(Infinity);
      expect((await unitOf(bellows, 'stateful')).pid).toBe(pid);
    },
  );
});
