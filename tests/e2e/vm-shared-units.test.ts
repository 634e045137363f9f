// Several customers in one virtual machine, where the operator allows it: isolated from each other as on the host, and what
// the machine has is re-allocated among them while they run. Real guests, emulated where KVM does not work.
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  CreateFunctionCommand,
  InvokeCommand,
  UpdateFunctionConfigurationCommand,
  type LambdaClient,
} from '@aws-sdk/client-lambda';
import { zipOf } from '../support/archives.ts';
import { amountOf } from '../support/apps.ts';
import { Bellows, eventually } from '../support/bellows.ts';
import { instanceOf, missingForMachines, unitOf, unitsOf } from '../support/machines.ts';
import { suiteNeeding } from '../support/needs.ts';

const mib = 1024 * 1024;

/** Reads, lists or runs what it is told, and holds memory, each page of it touched. */
const probe = (secret: string): string => `
  import { execFileSync } from 'node:child_process';
  import * as fs from 'node:fs';
  // In its code, its environment, its files and its memory.
  const inCode = 'code-${secret}';
  const inMemory = Buffer.from(['memory', process.env.SECRET].join('-').repeat(1000));
  fs.writeFileSync('/tmp/secret', process.env.SECRET);
  let held = [];
  export const handler = async ({ read, list, sh, kill, hold }) => {
    try {
      if (read) return { got: fs.readFileSync(read).toString('latin1').slice(0, 100000) };
      if (list) return { got: fs.readdirSync(list).join(' ') };
      if (sh) return { got: execFileSync('/bin/sh', ['-c', sh], { stdio: ['ignore', 'pipe', 'ignore'] }).toString() };
      if (kill) return { got: String(process.kill(kill, 'SIGKILL')) };
      if (hold !== undefined) {
        held = [];
        for (let index = 0; index < hold; index += 8) held.push(Buffer.alloc(8 * 1024 * 1024, index + 1));
        return { got: String(held.length * 8) };
      }
      return { got: [process.getuid(), inCode.length, inMemory.length > 0].join(' ') };
    } catch (error) {
      return { error: error.code ?? error.message };
    }
  };`;

interface Tenant {
  readonly function: string;
  readonly secret: string;
  lambda: LambdaClient;
}

suiteNeeding('tenants in one virtual machine', missingForMachines, () => {
  let bellows: Bellows;
  const first: Tenant = { function: 'first', secret: 'd41f-of-the-first', lambda: undefined as never };
  const second: Tenant = { function: 'second', secret: '77c0-of-the-second', lambda: undefined as never };
  const both = [first, second];

  beforeAll(async () => {
    // With none that is ready, the nearest machine is the one that is there.
    const args = [
      '--no-examples',
      '--unit',
      'vm',
      '--pool',
      '0',
      '--share',
      'all',
      '--unit-storage',
      '1200MiB',
    ];
    bellows = await Bellows.start({ args, readyMs: 400_000 });
    const requestHandler = { requestTimeout: 170_000 };
    first.lambda = bellows.lambda('default', { requestHandler });
    const { body: credentials } = await bellows.v1<{ accessKeyId: string; secretAccessKey: string }>(
      'PUT',
      '/tenants/second',
      {},
    );
    second.lambda = bellows.lambda('default', { requestHandler, credentials });
  }, 420_000);
  afterAll(async () => {
    await bellows.stop();
  });

  const deploy = async ({ lambda, function: name, secret }: Tenant, memoryMib: number): Promise<void> => {
    await lambda.send(
      new CreateFunctionCommand({
        FunctionName: name,
        Runtime: 'nodejs26.x',
        Role: 'arn:aws:iam::000000000000:role/any',
        Handler: 'index.handler',
        MemorySize: memoryMib,
        Timeout: 150,
        Environment: { Variables: { SECRET: secret } },
        Code: { ZipFile: await zipOf({ 'index.mjs': probe(secret) }) },
      }),
    );
  };
  interface Got {
    readonly got?: string;
    readonly error?: string;
    readonly errorType?: string;
  }
  const call = async ({ lambda, function: name }: Tenant, event: unknown = {}): Promise<Got> => {
    const answer = await lambda.send(
      new InvokeCommand({ FunctionName: name, Payload: JSON.stringify(event) }),
    );
    return JSON.parse(new TextDecoder().decode(answer.Payload)) as Got;
  };
  const identities = async (): Promise<unknown[]> =>
    (await Promise.all(both.map((tenant) => instanceOf(bellows, tenant.function)))).map(
      ({ id, pid, unit }) => ({
        id,
        pid,
        unit,
      }),
    );

  test(
    'M-C1: instances of two tenants run in one machine, each as a user of its own',
    { timeout: 620_000 },
    async () => {
      await deploy(first, 384);
      await deploy(second, 256);
      // With none that is kept ready, the first has to wait for what machines are cloned from.
      const served = async (tenant: Tenant): Promise<boolean> =>
        (await call(tenant).catch(() => ({ got: undefined }))).got !== undefined;
      for (const tenant of both)
        await eventually(() => served(tenant), {
          timeoutMs: 300_000,
          what: () => `${tenant.function} to serve`,
        });
      const [one, other] = [await call(first), await call(second)];
      const [uid, otherUid] = [one, other].map(({ got }) => Number(got?.split(' ')[0]));
      expect(uid).toBeGreaterThan(0);
      expect(otherUid).toBeGreaterThan(0);
      expect(uid).not.toBe(otherUid);
      const unit = await unitOf(bellows, first.function);
      expect(await unitOf(bellows, second.function)).toMatchObject({
        id: unit.id,
        tenant: null,
        instances: 2,
      });
      expect(amountOf('memory', (await unitOf(bellows, first.function)).granted.memory)).toBe(640 * mib);
      expect(await unitsOf(bellows)).toHaveLength(1);
    },
  );

  test.each([
    ['the second', second, first],
    ['the first', first, second],
  ])(
    'M-A7 M-C1: %s can not get at the other’s code, environment, memory, files or life',
    { timeout: 300_000 },
    async (_, attacker, victim) => {
      const { pid, id } = await instanceOf(bellows, victim.function);
      // What is refused below is there for its owner.
      expect((await call(victim, { read: '/tmp/secret' })).got).toBe(victim.secret);
      expect((await call(attacker, { read: '/tmp/secret' })).got).toBe(attacker.secret);
      for (const event of [
        { read: `/proc/${pid}/environ` },
        { read: `/proc/${pid}/mem` },
        { read: `/proc/${pid}/root/tmp/secret` },
        { list: '/var/lib/bellows' },
        { list: '/var/lib/bellows/code' },
        { read: '/dev/vdb' },
        { read: '/dev/virtio-ports/bellows.agent' },
        { kill: pid },
      ]) {
        const outcome = await call(attacker, event);
        expect(outcome.got, JSON.stringify(event)).toBeUndefined();
        expect(outcome.error, JSON.stringify(event)).toBeDefined();
      }
      // All that it can read: every process's environment, and every file but the read-only system's.
      const part = victim.secret.slice(2);
      const search = `
        cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c -- '${part}'
        find /tmp /var /run /dev/shm /etc /home -type f -size -1024k | head -2000 | xargs -r grep -ls -- '${part}'
        true`;
      expect((await call(attacker, { sh: search })).got?.trim()).toBe('0');
      const own = search.replaceAll(part, attacker.secret.slice(2));
      expect((await call(attacker, { sh: own })).got).toMatch(/^[1-9][^]*\/tmp\/secret/);
      expect(await instanceOf(bellows, victim.function)).toMatchObject({ id, pid });
      expect((await call(victim)).got).toBeDefined();
    },
  );

  test(
    'M-C1 M-A3: memory moves from one tenant’s instance to the other’s while both run, in the same machine',
    { timeout: 400_000 },
    async () => {
      const before = await identities();
      const unit = await unitOf(bellows, first.function);
      const resized = ({ lambda, function: name }: Tenant, memoryMib: number) =>
        lambda.send(new UpdateFunctionConfigurationCommand({ FunctionName: name, MemorySize: memoryMib }));
      const granted = (tenant: Tenant, memoryMib: number) =>
        eventually(
          async () =>
            amountOf('memory', (await instanceOf(bellows, tenant.function)).memory.grant) === memoryMib * mib,
          { timeoutMs: 90_000, what: () => `${memoryMib} MiB for ${tenant.function}` },
        );
      // What the second is about to have is more than it has, and more than the machine has beside the first.
      await resized(first, 192);
      await granted(first, 192);
      await resized(second, 800);
      await granted(second, 800);
      expect(await call(second, { hold: 640 })).toEqual({ got: '640' });
      expect((await call(first)).got).toBeDefined();
      await call(second, { hold: 0 });
      // And back.
      await resized(second, 256);
      await granted(second, 256);
      await resized(first, 700);
      await granted(first, 700);
      expect(await call(first, { hold: 480 })).toEqual({ got: '480' });
      expect((await call(second)).got).toBeDefined();
      await call(first, { hold: 0 });
      expect(await identities()).toEqual(before);
      expect(await unitsOf(bellows)).toMatchObject([{ id: unit.id, pid: unit.pid, instances: 2 }]);
    },
  );

  test(
    'M-C1: one that takes more than it was left ends alone: the other tenant’s instance goes on',
    { timeout: 300_000 },
    async () => {
      const { id, pid } = await instanceOf(bellows, first.function);
      expect((await call(second, { hold: 320 })).errorType).toBe('Runtime.OutOfMemory');
      expect(await instanceOf(bellows, first.function)).toMatchObject({ id, pid });
      expect((await call(first)).got).toBeDefined();
    },
  );
});
