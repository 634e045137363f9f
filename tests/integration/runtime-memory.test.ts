// The heap governor against the real kernel: an instance whose heap may grow to gigabytes lives in a small group, on a
// machine that is busy with other things. What V8 does on its own threads comes late then, or never.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { plan } from '../../src/runtime/node/testing/plan.ts';
import { grantOf, TestInstance } from '../../src/runtime/testing/instance-client.ts';

const memoryRoot = '/sys/fs/cgroup/memory';
const possible = process.getuid?.() === 0 && existsSync(`${memoryRoot}/memory.limit_in_bytes`);
const group = `${memoryRoot}/bellows-lab-rt-${process.pid}`;
const limitMib = 128;
const mib = 1024 * 1024;

let instance: TestInstance | undefined;
let others: ChildProcess[] = [];

/** More loops than cores compete with the instance. They end by themselves should this process die. */
beforeEach(() => {
  const loop = 'for (const end = Date.now() + 60_000; Date.now() < end; );';
  const spawnLoop = () => spawn(process.execPath, ['-e', loop], { stdio: 'ignore' });
  others = Array.from({ length: availableParallelism() + 1 }, spawnLoop);
});

afterEach(async () => {
  for (const other of others) other.kill('SIGKILL');
  await instance?.dispose();
  instance = undefined;
  if (existsSync(group)) await expect.poll(() => removed(group)).toBe(true);
});

function removed(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch {
    return false;
  }
}

/** 50 MB of live objects; each invocation makes garbage of one kind as fast as it can, without a pause for timers. */
const source = `
const live = Array.from({ length: 120_000 }, (_, id) => ({ id, name: 'item ' + id + ' of the list', tags: ['a' + id, 'b' + id], n: { x: id, y: id * 2, z: [id, id + 1, id + 2] } }));
const document = JSON.stringify(live.slice(0, 8000));
let sink;
const kinds = {
  json() { sink = JSON.stringify(JSON.parse(document)).length },
  strings() { let text = ''; for (let i = 0; i < 20_000; i++) text += String.fromCharCode(65 + i % 26) + i; sink = text.split('1').length },
  buffers() { for (let i = 0; i < 8; i++) sink = Buffer.alloc(1 << 20, i)[5] },
};
exports.handler = async ({ kind, ms, flags }) => {
  for (const flag of flags) require('node:v8').setFlagsFromString(flag);
  const run = kind === 'all' ? () => { for (const one of Object.values(kinds)) one() } : kinds[kind];
  let rounds = 0;
  for (const end = Date.now() + ms; Date.now() < end; rounds++) run();
  return { rounds, live: live.length, sink };
};`;

describe.runIf(possible)(
  `a function with 50 MB live objects in ${limitMib} MiB on busy cores, its heap may grow to 1 GiB`,
  () => {
    // A marking thread that never runs is the worst that other load can do to V8, here without luck.
    const starved = ['--no-concurrent-marking', '--no-concurrent-sweeping'];
    test.each([
      { kind: 'json', load: 'busy cores', flags: [] },
      { kind: 'strings', load: 'busy cores', flags: [] },
      { kind: 'buffers', load: 'busy cores', flags: [] },
      { kind: 'all', load: 'busy cores', flags: [] },
      { kind: 'strings', load: "V8's own threads without CPU", flags: starved },
      { kind: 'all', load: "V8's own threads without CPU", flags: starved },
    ])('M-B4: survives 5 s of garbage: $kind, $load', async ({ kind, flags }) => {
      mkdirSync(group);
      writeFileSync(`${group}/memory.limit_in_bytes`, String(limitMib * mib));
      instance = new TestInstance(
        (runDirectory) => {
          const { command, args, env } = plan(runDirectory);
          const enter = `echo $$ > ${group}/cgroup.procs; exec "$@"`;
          return {
            command: '/bin/sh',
            args: ['-c', enter, 'sh', command, ...args],
            env: { ...env, PATH: process.env['PATH'] ?? '' },
          };
        },
        { 'index.js': source },
      );
      const client = await instance.client();
      expect(await instance.bind(client, { grant: grantOf(limitMib) })).toEqual({ is: 'bound' });
      const answer = await client.invoke({ kind, ms: 5000, flags }, { timeoutMs: 60_000 });
      expect(answer.json()).toMatchObject({ live: 120_000 });
      expect(readFileSync(`${group}/memory.oom_control`, 'utf8')).toContain('oom_kill 0');
    });
  },
);
