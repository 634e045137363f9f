// One tenant's code tries to get at another's, and at the machine. The attempts run as deployed functions.
import { join } from 'node:path';
import { CreateFunctionCommand, InvokeCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { zipOf } from '../support/archives.ts';
import { Bellows, eventually } from '../support/bellows.ts';
import { isProcess } from '../support/kernel.ts';

const secret = 'the-victims-secret-93b1';
let bellows: Bellows;
let attacker: LambdaClient;
let victim: LambdaClient;
let victimPid: number;

/** Runs the given shell or JavaScript in an instance of the attacker's and returns what it got. */
const probe = `
  import { execFileSync } from 'node:child_process';
  import * as fs from 'node:fs';
  import * as net from 'node:net';
  export const handler = async ({ read, list, sh, kill, connect, fill, write }) => {
    try {
      if (read) return { got: fs.readFileSync(read).toString('latin1').slice(0, 100000) };
      if (list) return { got: fs.readdirSync(list).join(' ') };
      if (sh) return { got: execFileSync('/bin/sh', ['-c', sh], { stdio: ['ignore', 'pipe', 'pipe'] }).toString() };
      if (kill) return { got: String(process.kill(kill, 'SIGKILL')) };
      if (write) { fs.writeFileSync(write, 'x'); return { got: 'written' }; }
      if (connect) return await new Promise((resolve) => net.connect(connect).on('connect', () => resolve({ got: 'connected' })).on('error', (e) => resolve({ error: e.code })));
      if (fill) { let n = 0; const fd = fs.openSync(fill, 'w'); const b = Buffer.alloc(1 << 20, 1); try { for (; n < 4096; n++) fs.writeSync(fd, b); } catch (e) { fs.unlinkSync(fill); return { error: e.code, mib: n }; } return { got: n }; }
      return { got: JSON.stringify({ uid: process.getuid(), gid: process.getgid(), groups: process.getgroups(), status: fs.readFileSync('/proc/self/status', 'utf8') }) };
    } catch (error) {
      return { error: error.code ?? error.message };
    }
  };`;

async function deploy(
  client: LambdaClient,
  name: string,
  code: string,
  env: Record<string, string> = {},
): Promise<void> {
  await client.send(
    new CreateFunctionCommand({
      FunctionName: name,
      Runtime: 'nodejs26.x',
      Role: 'arn:aws:iam::000000000000:role/any',
      Handler: 'index.handler',
      Code: { ZipFile: await zipOf({ 'index.mjs': code }) },
      MemorySize: 256,
      Timeout: 20,
      Environment: { Variables: env },
    }),
  );
}
async function call(
  client: LambdaClient,
  name: string,
  event: unknown = {},
): Promise<{ got?: string; error?: string; mib?: number }> {
  const answer = await client.send(new InvokeCommand({ FunctionName: name, Payload: JSON.stringify(event) }));
  return JSON.parse(new TextDecoder().decode(answer.Payload)) as { got?: string; error?: string };
}

beforeAll(async () => {
  bellows = await Bellows.start();
  victim = bellows.lambda();
  const { body } = await bellows.v1<{ accessKeyId: string; secretAccessKey: string }>(
    'PUT',
    '/tenants/attacker',
    {},
  );
  attacker = bellows.lambda('default', { credentials: body });
  await deploy(
    victim,
    'victim',
    `import { writeFileSync } from 'node:fs'; writeFileSync('/tmp/secret', process.env.SECRET); const kept = process.env.SECRET; export const handler = async () => kept.length;`,
    { SECRET: secret },
  );
  await call(victim, 'victim');
  victimPid = (await bellows.instances()).find((each) => each.workload.endsWith('victim'))!.pid;
  await deploy(attacker, 'probe', probe);
});
afterAll(async () => {
  await bellows.stop();
});

describe('M-A7: an instance can not reach another tenant, the machine, or Bellows', () => {
  test('it runs as its tenant’s own user, without any capability, and can not gain one', async () => {
    const { got } = await call(attacker, 'probe');
    const { uid, gid, groups, status } = JSON.parse(got!) as {
      uid: number;
      gid: number;
      groups: number[];
      status: string;
    };
    expect(uid).toBeGreaterThan(1_000_000);
    expect(gid).toBe(uid);
    expect(groups.filter((group) => group !== gid)).toEqual([]);
    expect(/CapEff:\s+0+$/m.test(status)).toBe(true);
    expect(/CapPrm:\s+0+$/m.test(status)).toBe(true);
    expect(/NoNewPrivs:\s+1/.test(status)).toBe(true);
    expect(/Seccomp:\s+2/.test(status)).toBe(true);
  });

  test.each([
    ['the victim’s environment', () => ({ read: `/proc/${victimPid}/environ` })],
    ['the victim’s memory', () => ({ read: `/proc/${victimPid}/mem` })],
    ['the victim’s files through /proc', () => ({ read: `/proc/${victimPid}/root/tmp/secret` })],
    ['a file of the same name in /tmp', () => ({ read: '/tmp/secret' })],
    ['the credentials file', () => ({ read: join(bellows.dataDirectory, 'credentials.json') })],
    ['the data directory', () => ({ list: bellows.dataDirectory })],
    ['the host’s shadow passwords', () => ({ read: '/etc/shadow' })],
    ['root’s home', () => ({ list: '/root' })],
    ['a raw device', () => ({ read: '/dev/vda' })],
    ['killing the victim', () => ({ kill: victimPid })],
    ['killing its own sandbox’s first process', () => ({ kill: 1 })],
    ['its own code, for writing', () => ({ write: '/var/task/new' })],
    ['a system file, for writing', () => ({ write: '/usr/bin/new' })],
    ['a new user namespace', () => ({ sh: 'unshare --user --map-root-user id -u' })],
    ['mounting', () => ({ sh: 'mount -t tmpfs none /tmp' })],
    ['the agent’s socket', () => ({ connect: { path: join(bellows.dataDirectory, 'run/agent.sock') } })],
  ])('%s is refused', async (_what, event) => {
    const outcome = await call(attacker, 'probe', event());
    expect(outcome.got).toBeUndefined();
    expect(outcome.error).toBeDefined();
    expect(isProcess(victimPid)).toBe(true);
  });

  test('no file it can see holds the victim’s secret', async () => {
    const { got = '' } = await call(attacker, 'probe', {
      sh: `grep -rls ${secret.slice(0, -2)} /tmp /var /run /dev/shm /opt /etc /proc/[0-9]*/environ 2>/dev/null | head -5; true`,
    });
    expect(got.trim()).toBe('');
  });

  test('it sees only its own processes', async () => {
    const { got = '' } = await call(attacker, 'probe', { sh: 'ls /proc | grep -c "^[0-9]"' });
    expect(Number(got)).toBeLessThan(12);
  });

  test('/tmp is full at its size, the host’s disk is not touched', { timeout: 60_000 }, async () => {
    const full = await call(attacker, 'probe', { fill: '/tmp/full' });
    // ENOSPC at the size of /tmp, or the instance’s own memory limit, since /tmp is in memory: then the invocation fails.
    if (full.error !== 'ENOSPC') expect(JSON.stringify(full)).toMatch(/killed|Runtime\.ExitError/);
    expect((await call(attacker, 'probe')).got).toBeDefined();
  });

  test('a fork bomb stays in its box: the other tenant answers meanwhile', async () => {
    const bomb = call(attacker, 'probe', {
      sh: 'for i in 1 2 3 4 5 6 7 8 9; do (for j in $(seq 1 200); do sleep 2 & done; wait) & done; wait; echo end',
    });
    for (let n = 0; n < 10; n += 1) {
      expect(await call(victim, 'victim')).toBe(secret.length);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await bomb;
    await eventually(async () => (await call(attacker, 'probe')).got !== undefined, {
      timeoutMs: 60_000,
      what: () => 'the attacker to be served again',
    });
  });

  test('with network none, the host’s loopback and other instances can not be reached', async () => {
    const archive = await zipOf({
      'index.mjs': probe,
      'bellows.json': JSON.stringify({
        kind: 'function',
        handler: 'index.handler',
        timeout: 10,
        memory: '256MiB',
        network: 'none',
      }),
    });
    expect((await bellows.v1('PUT', '/workloads/attacker/lonely', archive)).status).toBeLessThan(300);
    expect(
      (await call(attacker, 'lonely', { connect: { port: bellows.port, host: '127.0.0.1' } })).error,
    ).toBe('ECONNREFUSED');
    expect((await call(attacker, 'probe', { connect: { port: bellows.port, host: '127.0.0.1' } })).got).toBe(
      'connected',
    );
  });
});
