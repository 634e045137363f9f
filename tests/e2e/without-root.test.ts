// Bellows as an ordinary user runs it: no users for tenants, no sandboxes, often no limits. It says so, and all else works.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InvokeCommand } from '@aws-sdk/client-lambda';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { deployStatefulApp } from '../support/apps.ts';
import { tarGzOf } from '../support/archives.ts';
import { Bellows, commandAs, eventually, projectRoot } from '../support/bellows.ts';
import { suiteNeeding } from '../support/needs.ts';
import { missingForOrdinaryUser, ordinaryUser, processesOfOrdinaryUser } from '../support/ordinary-user.ts';

suiteNeeding('an ordinary user', missingForOrdinaryUser(), () => {
  let bellows: Bellows;
  const home = mkdtempSync(join(tmpdir(), 'bellows-user-'));
  beforeAll(async () => {
    bellows = await Bellows.start({ uid: ordinaryUser, env: { HOME: home } });
  });
  afterAll(async () => {
    await bellows.stop();
    rmSync(home, { recursive: true, force: true });
  });

  const deploy = async (name: string, files: Readonly<Record<string, string>>): Promise<number> =>
    (await bellows.v1('PUT', `/workloads/default/${name}`, await tarGzOf(files))).status;

  test('the start says what is not enforced, and `bellows doctor` why and what to do', () => {
    expect(bellows.output).toContain('Not enforced on this machine');
    expect(bellows.output).toContain('isolation of tenants');
    const [program, ...args] = commandAs(ordinaryUser);
    const doctor = spawnSync(program, [...args, join(projectRoot, 'bin', 'bellows.js'), 'doctor'], {
      env: { ...process.env, BELLOWS_DATA: bellows.dataDirectory, HOME: home },
      encoding: 'utf8',
    });
    expect(doctor.status).toBe(1);
    expect(doctor.stdout).toContain('Not enforced: ');
    expect(doctor.stdout).toContain('Run Bellows as root');
  });

  test('a function is deployed, answers, and has a log', async () => {
    const code = `export const handler = async (event) => { console.log('called'); return { uid: process.getuid(), event } }`;
    const manifest = JSON.stringify({ kind: 'function', handler: 'index.handler' });
    expect(await deploy('fn', { 'index.mjs': code, 'bellows.json': manifest })).toBe(201);
    const { Payload } = await bellows
      .lambda()
      .send(new InvokeCommand({ FunctionName: 'fn', Payload: Buffer.from('{"a":1}') }));
    expect(JSON.parse(Buffer.from(Payload ?? []).toString())).toEqual({ uid: ordinaryUser, event: { a: 1 } });
    await eventually(async () => (await bellows.cli('logs', 'fn')).stdout.includes('called'));
  });

  test('an app serves HTTP and a WebSocket, and a resize does not claim what the kernel does not hold', async () => {
    await deployStatefulApp(bellows);
    expect((await fetch(`${bellows.url}/w/default/stateful/state`)).status).toBe(200);
    const socket = new WebSocket(`${bellows.url.replace('http', 'ws')}/w/default/stateful/hello`);
    const message = await new Promise<string>((resolve, reject) => {
      socket.once('message', (data: Buffer) => resolve(data.toString()));
      socket.once('error', reject);
    });
    expect(message).not.toBe('');
    const { code, stdout, stderr } = await bellows.cli('resize', 'stateful', '--memory', '256MiB');
    expect(code).toBe(0);
    expect(stdout + stderr).toMatch(/enforce no memory limit/);
    expect(socket.readyState).toBe(WebSocket.OPEN);
    socket.terminate();
  });

  test('a server in another language is reached', async () => {
    const manifest = JSON.stringify({
      kind: 'app',
      runtime: 'custom',
      start: 'python3 -m http.server $PORT',
    });
    expect(await deploy('files', { 'hello.txt': 'hello', 'bellows.json': manifest })).toBe(201);
    expect(await (await fetch(`${bellows.url}/w/default/files/hello.txt`)).text()).toBe('hello');
  });

  test('nothing of it is left after a stop', async () => {
    expect(processesOfOrdinaryUser()).not.toEqual([]);
    expect(await bellows.stop({ keepData: true })).toBe(0);
    expect(processesOfOrdinaryUser()).toEqual([]);
    const files = readdirSync(bellows.dataDirectory, { recursive: true, encoding: 'utf8' });
    expect(files.filter((name) => name.endsWith('.sock'))).toEqual([]);
  });
});
