// Virtual machine units from outside when things go wrong: a guest that hangs, memory that is needed at once while nobody
// controls, and a tenant's limit on the processor as the host's kernel holds it.
import { dirname } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CreateFunctionCommand, InvokeCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import { zipOf } from '../support/archives.ts';
import { amountOf, deployStatefulApp } from '../support/apps.ts';
import { Bellows, eventually } from '../support/bellows.ts';
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
/** docs/guides/vm-units.md: a guest that does not answer is replaced after 55 s; and what a loaded machine needs for it. */
const hungDeadlineMs = 55_000 + 65_000;
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
  readonly data: { readonly reason?: string };
}

suiteNeeding('faults of virtual machine units', missingForMachines, () => {
  let bellows: Bellows;
  let sdk: LambdaClient;

  beforeAll(async () => {
    bellows = await Bellows.start({
      args: ['--no-examples', '--unit', 'vm', '--pool', '1'],
      readyMs: 400_000,
    });
    sdk = bellows.lambda('default', { requestHandler: { requestTimeout: 170_000 } });
  }, 420_000);
  afterAll(async () => {
    await bellows.stop();
  });

  const invoke = async (name: string, event: unknown = {}): Promise<unknown> => {
    const answer = await sdk.send(new InvokeCommand({ FunctionName: name, Payload: JSON.stringify(event) }));
    return JSON.parse(new TextDecoder().decode(answer.Payload));
  };

  test(
    'a guest that hangs is noticed by its deadline and told with the reason; its app answers from another machine, and nothing is left',
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
        timeoutMs: hungDeadlineMs,
        what: () => `nothing to be left of the machine but there is ${traces().join(', ')}`,
      });
      console.log(`a hung guest was gone after ${Math.round((performance.now() - stoppedMs) / 1000)} s`);
      const reason = expect.stringMatching(/^its unit .* was lost: its guest did not answer within 45 s/);
      const { stdout } = await bellows.cli('events', '--json');
      const told = stdout
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as EventAnswer);
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
});
