// An agent ends: killed, the next takes over what runs; asked to, it leaves nothing; the same without rights.
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type WorkloadKey } from '../../src/base/ids.ts';
import { chat, get, isReady, linesOf } from './agent-workloads.ts';
import { suiteNeeding } from '../support/needs.ts';
import {
  appSpec,
  evalHandler,
  eventually,
  functionSpec,
  isRoot,
  kill,
  run,
  start,
  startAgent,
  startUnit,
  stop,
  stopUnit,
  tracesOf,
  writeCode,
  type TestUnit,
} from './agent-process.ts';

const probe = 'acme/probe' as WorkloadKey;
const nothing = { processes: [], groups: [], mounts: [], files: [] };

suiteNeeding('agent that is killed', isRoot ? undefined : 'root is needed for groups and sandboxes', () => {
  test('the next agent takes the same processes over, their logs go on, and nothing else is left', async () => {
    const unit = await startUnit();
    onTestFinished(() => stopUnit(unit));
    await unit.caller.call('setPool', { size: 2 });
    await isReady(unit, 2);
    const code = writeCode(unit, 'probe', evalHandler);
    const app = writeCode(unit, 'chat', { 'server.js': chat });
    const lives = await start(unit, functionSpec(code));
    const frozen = await start(unit, functionSpec(code));
    const dies = await start(unit, functionSpec(code));
    const node = await start(unit, appSpec(app, 'node server.js'));
    const custom = await start(
      unit,
      appSpec(app, 'node server.js', { runtime: 'custom', workload: 'acme/custom' as WorkloadKey }),
    );
    await run(lives.endpoint, `{ globalThis.kept = 'here'; console.log('before'); }`);
    await unit.caller.call('freeze', { id: frozen.instance.id });
    await isReady(unit, 2);

    await kill(unit.agent);
    process.kill(dies.instance.pid, 'SIGKILL');
    await run(lives.endpoint, `console.log('between')`);
    expect(await get({ port: custom.endpoint.port ?? 0 }, '/between')).toContain('pid');
    unit.events.length = 0;
    await startAgent(unit);

    const { instances } = await unit.caller.call('list', {});
    expect(new Map(instances.map(({ info }) => [info.id, [info.pid, info.state]]))).toEqual(
      new Map([
        [lives.instance.id, [lives.instance.pid, 'idle']],
        [frozen.instance.id, [frozen.instance.pid, 'frozen']],
        [node.instance.id, [node.instance.pid, 'idle']],
        [custom.instance.id, [custom.instance.pid, 'idle']],
      ]),
    );
    expect(instances.find(({ info }) => info.id === lives.instance.id)?.endpoint).toEqual(lives.endpoint);
    await eventually(() =>
      unit.events.some(({ event, data }) => event === 'exited' && data.id === dies.instance.id),
    );
    expect(await run(lives.endpoint, `(console.log('after'), globalThis.kept)`)).toEqual({ value: 'here' });
    await eventually(async () => (await linesOf(unit, probe)).some((line) => line.includes('after')));
    const said = (await linesOf(unit, probe)).flatMap(
      (line) => /(before|between|after)$/.exec(line)?.[1] ?? [],
    );
    expect(said).toEqual(['before', 'between', 'after']);
    expect(
      await run(
        lives.endpoint,
        `fetch('http://' + process.env.AWS_LAMBDA_RUNTIME_API + '/bellows/v1/grant').then((answer) => answer.status)`,
      ),
    ).toEqual({ value: 200 });

    // Asked again for what it has, it starts nothing; what it took over can be thawed, and ended.
    expect((await start(unit, { ...functionSpec(code), id: lives.instance.id })).instance.pid).toBe(
      lives.instance.pid,
    );
    await unit.caller.call('thaw', { id: frozen.instance.id });
    expect(await run(frozen.endpoint, '1')).toEqual({ value: 1 });
    for (const { info } of instances) await stop(unit, info.id, 2000);
    expect(readdirSync(join(unit.data, 'run/i'))).toEqual([]);
    // The pool's processes of the first agent are gone too.
    expect(tracesOf(unit).processes).toEqual([]);
  });

  test('a start that was cut off is not taken over', async () => {
    const unit = await startUnit();
    onTestFinished(() => stopUnit(unit));
    const slow = writeCode(unit, 'slow', {
      'index.js':
        'const until = Date.now() + 5000; while (Date.now() < until); exports.handler = async () => 1;',
    });
    const spec = functionSpec(slow);
    const starting = unit.caller.call('start', spec).catch(() => 'lost');
    await eventually(() => existsSync(join(unit.data, 'instances', `${spec.id}.json`)));
    await kill(unit.agent);
    expect(await starting).toBe('lost');
    await startAgent(unit);
    expect((await unit.caller.call('list', {})).instances).toEqual([]);
    expect(tracesOf(unit).processes).toEqual([]);
    expect(readdirSync(join(unit.data, 'instances'))).toEqual([]);
  });
});

suiteNeeding('agent that stops', isRoot ? undefined : 'root is needed for groups and sandboxes', () => {
  test.each(['SIGTERM', 'a call of shutdown'])(
    'with %s it leaves no process, group, mount, socket or handle',
    async (way) => {
      const unit = await startUnit();
      onTestFinished(() => stopUnit(unit));
      await unit.caller.call('setPool', { size: 1 });
      const app = writeCode(unit, 'chat', { 'server.js': chat });
      await start(unit, appSpec(app, 'node server.js'));
      await start(unit, functionSpec(writeCode(unit, 'probe', evalHandler)));
      if (way !== 'SIGTERM') await unit.caller.call('shutdown', { graceMs: 1000 });
      const exited = once(unit.agent, 'exit');
      unit.agent.kill('SIGTERM');
      expect(await exited).toEqual([0, null]);
      expect(tracesOf(unit)).toEqual(nothing);
    },
  );

  test('a second agent on the same data directory is refused', async () => {
    const unit = await startUnit();
    onTestFinished(() => stopUnit(unit));
    const second: TestUnit = { ...unit };
    await expect(startAgent(second)).rejects.toThrow(/Another agent/);
    expect(await unit.caller.call('list', {})).toMatchObject({ instances: [] });
  });
});

describe('agent without rights', () => {
  test('it runs functions and apps, says what is not enforced, and leaves nothing', async () => {
    // As root this becomes a user who may do nothing; otherwise it stays who it is.
    const uid = isRoot ? 65_534 : undefined;
    const unit = await startUnit(uid === undefined ? {} : { uid });
    onTestFinished(() => stopUnit(unit));
    const { capabilities } = await unit.caller.call('hello', {});
    expect(capabilities).toMatchObject({ cgroup: 'none', sandbox: 'none', separateUsers: false });
    expect(capabilities.notEnforced.map(({ what }) => what).join()).toContain('isolation');
    await unit.caller.call('setPool', { size: 1 });
    await isReady(unit, 1);
    const code = writeCode(unit, 'probe', evalHandler);
    const pooled = await start(unit, functionSpec(code));
    expect(pooled.pooled).toBe(true);
    expect(
      await run(
        pooled.endpoint,
        `[process.getuid(), JSON.parse(fs.readFileSync(process.env.BELLOWS_GRANT_FILE)).phase]`,
      ),
    ).toEqual({ value: [uid ?? process.getuid?.(), 'current'] });
    const app = writeCode(unit, 'chat', { 'server.js': chat });
    const node = await start(unit, appSpec(app, 'node server.js'));
    expect(await get({ socketPath: join(node.endpoint.runDirectory, 'http.sock') })).toContain('pid');
    const custom = await start(
      unit,
      appSpec(app, 'node server.js', { runtime: 'custom', workload: 'acme/custom' as WorkloadKey }),
    );
    expect(await get({ port: custom.endpoint.port ?? 0 })).toContain('pid');
    await kill(unit.agent);
    await startAgent(unit, uid === undefined ? {} : { uid });
    expect((await unit.caller.call('list', {})).instances.length).toBe(3);
    await stop(unit, pooled.instance.id, 500);
    const exited = once(unit.agent, 'exit');
    unit.agent.kill('SIGTERM');
    expect(await exited).toEqual([0, null]);
    expect(tracesOf(unit)).toEqual(nothing);
  });
});
