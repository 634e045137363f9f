// One tenant's code against everything that is not its own: what it tries must fail, and nobody else may notice.
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TenantId, WorkloadKey } from '../../src/base/ids.ts';
import { mib } from '../../src/base/quantity.ts';
import { instancePids } from '../../src/agent/config.ts';
import { linesOf } from './agent-workloads.ts';
import { suiteNeeding } from '../support/needs.ts';
import {
  appSpec,
  evalHandler,
  eventually,
  functionSpec,
  isRoot,
  mebibytes,
  run,
  start,
  startUnit,
  stop,
  stopUnit,
  uidOf,
  writeCode,
  type Started,
  type TestUnit,
} from './agent-process.ts';

suiteNeeding('sandbox', isRoot ? undefined : 'root is needed for separate users', () => {
  let unit: TestUnit;
  let code: string;
  /** The tenant who tries, and the one who must not notice. */
  let mallory: Started;
  let alice: Started;
  const storageBytes = 32 * mib;

  const specOf = (tenant: string, index: number, overrides: Parameters<typeof functionSpec>[1] = {}) =>
    functionSpec(code, {
      tenant: tenant as TenantId,
      uid: uidOf(index),
      workload: `${tenant}/probe` as WorkloadKey,
      ...overrides,
      grant: { memory: mebibytes(160), storage: mebibytes(32), ...overrides.grant },
    });

  beforeAll(async () => {
    unit = await startUnit();
    code = writeCode(unit, 'probe', evalHandler);
    writeFileSync(join(unit.data, 'credentials.json'), 'secret', { mode: 0o600 });
    mkdirSync(join(unit.data, 'open'));
    writeFileSync(join(unit.data, 'open', 'file'), 'secret');
    mallory = await start(unit, specOf('mallory', 1));
    alice = await start(unit, specOf('alice', 2, { env: { SECRET: 'of alice' } }));
  });
  afterAll(async () => {
    await stopUnit(unit);
  });

  const tries = async (js: string): Promise<unknown> => (await run(mallory.endpoint, js)).error;
  const gives = async (js: string): Promise<unknown> => {
    const { value, error } = await run(mallory.endpoint, js);
    expect(error).toBeUndefined();
    return value;
  };

  test('every thread of an instance is the tenant, without any right to become more', async () => {
    const status = (await gives(
      `fs.readdirSync('/proc/self/task').map((task) => fs.readFileSync('/proc/self/task/' + task + '/status', 'utf8'))`,
    )) as string[];
    expect(status.length).toBeGreaterThan(3);
    for (const text of status) {
      const field = (name: string): string =>
        new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(text)?.[1]?.replace(/\s+/g, ' ') ?? 'none';
      const uid = uidOf(1);
      expect(field('Uid')).toBe(`${uid} ${uid} ${uid} ${uid}`);
      expect(field('Gid')).toBe(`${uid} ${uid} ${uid} ${uid}`);
      expect(field('Groups').trim()).toBe('');
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'])
        expect([set, field(set)]).toEqual([set, '0000000000000000']);
      // setuid and setgid stay in the bounding set of a pooled process; without new privileges nothing comes of that.
      expect(BigInt(`0x${field('CapBnd')}`) & ~0xc0n).toBe(0n);
      expect(field('NoNewPrivs')).toBe('1');
      expect(field('Seccomp')).toBe('2');
    }
  });

  test('a custom command has no capability at all', async () => {
    const script = writeCode(unit, 'caps', {
      'run.sh':
        'grep -E "^(Uid|Cap|NoNewPrivs|Seccomp:)" /proc/self/status; ls -l /proc/self/fd; exec node -e "require(\'http\').createServer((q,s)=>s.end()).listen(process.env.PORT)"',
    });
    const app = await start(
      unit,
      appSpec(script, 'sh run.sh', { runtime: 'custom', workload: 'acme/caps' as WorkloadKey }),
    );
    // It listens before all that it said is in the log.
    let lines: string[] = [];
    await eventually(async () => {
      lines = (await linesOf(unit, 'acme/caps' as WorkloadKey)).map((line) => line.replace(/\s+/g, ' '));
      return lines.some((line) => / 3 -> /.test(line));
    });
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect(lines).toContain(`${set}: 0000000000000000`);
    expect(lines).toContain('Seccomp: 2');
    expect(
      lines
        .filter((line) => / \d+ -> /.test(line))
        .map((line) => / (\d+) -> (.*)$/.exec(line)?.slice(1, 3).join(' ')),
    ).toEqual([
      '0 /dev/null',
      `1 ${app.endpoint.runDirectory}/log`,
      `2 ${app.endpoint.runDirectory}/log`,
      expect.stringMatching(/^3 \/proc/),
    ]);
    await stop(unit, app.instance.id);
  });

  test('no descriptor of Bellows is in an instance', async () => {
    const links = (await gives(
      `fs.readdirSync('/proc/self/fd').map((fd) => { try { return fs.readlinkSync('/proc/self/fd/' + fd); } catch { return ''; } })`,
    )) as string[];
    const files = links.filter((link) => link.startsWith('/') && !link.startsWith('/proc/'));
    expect(new Set(files)).toEqual(
      new Set(['/dev/null', `${mallory.endpoint.runDirectory}/log`, '/var/cg/memory.max_usage_in_bytes']),
    );
    // Its own listening socket and the connections of the agent and of this test.
    expect(links.filter((link) => link.startsWith('socket:')).length).toBeLessThanOrEqual(4);
  });

  test('a program that it starts has none of its descriptors, its listening socket neither', async () => {
    const listed = await gives(`cp.execFileSync('ls', ['/proc/self/fd']).toString().trim().split('\\n')`);
    // The last is that of the listing itself.
    expect(listed).toEqual(['0', '1', '2', '3']);
  });

  test.each([
    ['the other tenant’s environment', () => `/proc/${alice.instance.pid}/environ`],
    ['the other tenant’s memory', () => `/proc/${alice.instance.pid}/mem`],
    ['the first process’s environment', () => '/proc/1/environ'],
    ['the first process’s memory', () => '/proc/1/mem'],
    ['the machine through the first process', () => '/proc/1/root/etc/shadow'],
    ['the machine’s passwords', () => '/etc/shadow'],
    ['Bellows’ credentials', () => join(unit.data, 'credentials.json')],
    ['a file of the data directory that anybody may read', () => join(unit.data, 'open/file')],
    ['the other tenant’s socket', () => join(alice.endpoint.runDirectory, 's.sock')],
    ['the agent’s socket', () => join(unit.data, 'run/agent.sock')],
    ['root’s home', () => '/root'],
    ['the machine’s groups', () => '/sys/fs/cgroup'],
    ['the machine’s disk', () => '/dev/vda'],
    ['kernel memory', () => '/proc/kcore'],
  ])('it can not read %s', async (_, path) => {
    expect(
      await tries(
        `fs.statSync('${path()}').isDirectory() ? fs.readdirSync('${path()}') : fs.readSync(fs.openSync('${path()}'), Buffer.alloc(10))`,
      ),
    ).toMatch(/^(ENOENT|EACCES|EPERM)$/);
  });

  test.each([
    ['its code', '/var/task/index.js'],
    ['beside its code', '/var/task/more.js'],
    ['its grant', '/run/bellows/grant.json'],
    ['beside its sockets', '/run/bellows/x'],
    ['its memory limit', '/var/cg/memory.limit_in_bytes'],
    ['a kernel setting', '/proc/sys/kernel/core_pattern'],
    ['the machine’s programs', '/usr/bin/node2'],
    ['the root', '/x'],
    ['a device', '/dev/x'],
    ['its own user’s name', '/etc/passwd'],
  ])('it can not write %s', async (_, path) => {
    expect(await tries(`fs.writeFileSync('${path}', 'x')`)).toMatch(/^(EROFS|EACCES|EPERM)$/);
  });

  test('it can not replace or connect to its own control socket', async () => {
    expect(await tries(`fs.unlinkSync('/run/bellows/s.sock')`)).toMatch(/^(EACCES|EPERM)$/);
    expect(
      await tries(
        `new Promise((resolve, reject) => require('node:net').connect('/run/bellows/s.sock').on('error', reject).on('connect', resolve))`,
      ),
    ).toBe('EACCES');
  });

  test('it sees none but its own processes', async () => {
    const pids = (await gives(`fs.readdirSync('/proc').filter((name) => /^\\d+$/.test(name))`)) as string[];
    expect(pids.length).toBeLessThanOrEqual(3);
  });

  test('its signals reach nobody else', async () => {
    expect(await tries(`process.kill(${alice.instance.pid}, 9)`)).toBe('ESRCH');
    expect(await tries('process.kill(1, 9)')).toBe('EPERM');
    expect(await run(alice.endpoint, '1 + 1')).toEqual({ value: 2 });
  });

  test.each([
    ['new namespaces', 'unshare -U true'],
    ['a mount', 'mount -t tmpfs none /tmp'],
    ['another root', 'chroot / true'],
    ['root', 'setpriv --reuid 0 true'],
  ])('it can not get %s', async (_, command) => {
    expect(await gives(`cp.spawnSync('sh', ['-c', ${JSON.stringify(command)}]).status`)).not.toBe(0);
  });

  test('it can not become root again', async () => {
    expect(await tries('process.setuid(0)')).toBe('EPERM');
    expect(await tries('process.setgid(0)')).toBe('EPERM');
    expect(await tries('process.setgroups([0])')).toBe('EPERM');
  });

  test('its temporary directory is its own and ends at its size', async () => {
    expect(await run(alice.endpoint, `fs.writeFileSync('/tmp/secret', 'of alice')`)).toEqual({ value: null });
    expect(await tries(`fs.readFileSync('/tmp/secret')`)).toBe('ENOENT');
    const [bytes, code] = (await gives(`(() => {
      let bytes = 0; const fd = fs.openSync('/tmp/fill', 'w');
      try { for (;;) bytes += fs.writeSync(fd, Buffer.alloc(1 << 20)); }
      catch (error) { return [bytes, error.code]; }
      finally { fs.closeSync(fd); fs.rmSync('/tmp/fill'); } })()`)) as [number, string];
    expect(code).toBe('ENOSPC');
    // The file system's own notes about the file take some blocks of it.
    expect(bytes).toBeGreaterThanOrEqual(storageBytes - mib);
    expect(bytes).toBeLessThanOrEqual(storageBytes);
  });

  test('a fork bomb ends at the limit of its own processes, and the other tenant still answers', async () => {
    const made = await gives(`(async () => {
      let failed = null; const children = [];
      for (let index = 0; index < 400 && failed === null; index += 1) {
        const child = cp.spawn('sleep', ['100']); child.on('error', (error) => (failed = error.code));
        if (child.pid === undefined) await new Promise((resolve) => setImmediate(resolve)); else children.push(child);
      }
      globalThis.bomb = children; return [children.length, failed]; })()`);
    const [children, failed] = made as [number, string];
    expect(failed).toBe('EAGAIN');
    expect(children).toBeGreaterThan(50);
    expect(children).toBeLessThan(instancePids);
    expect(await run(alice.endpoint, '6 * 7')).toEqual({ value: 42 });
    const { instances } = await unit.caller.call('measure', {});
    expect(instances.find(({ id }) => id === mallory.instance.id)?.usage.pids).toBeLessThanOrEqual(
      instancePids,
    );
    await gives(
      `Promise.all(globalThis.bomb.map((child) => { child.kill('SIGKILL'); return new Promise((resolve) => child.once('exit', resolve)); })).then(() => null)`,
    );
  });

  test('a memory bomb kills its own instance and no other, and is reported as out of memory', async () => {
    const victim = await start(unit, specOf('mallory', 1));
    await expect(
      run(victim.endpoint, `(() => { const all = []; for (;;) all.push(Buffer.alloc(10 << 20, 1)); })()`),
    ).rejects.toThrow();
    await eventually(() =>
      unit.events.some(({ event, data }) => event === 'exited' && data.id === victim.instance.id),
    );
    const exit = unit.events.find(
      ({ event, data }) => event === 'exited' && (data as { id: string }).id === victim.instance.id,
    );
    expect(exit?.data).toMatchObject({ oomKilled: true, signal: 'SIGKILL' });
    expect(await run(alice.endpoint, '1')).toEqual({ value: 1 });
    expect(await run(mallory.endpoint, '2')).toEqual({ value: 2 });
  });

  test('killing everything it can reach ends only itself', async () => {
    const victim = await start(unit, specOf('mallory', 1));
    await run(victim.endpoint, `cp.spawnSync('sh', ['-c', 'kill -9 -1'])`).catch(() => undefined);
    await eventually(
      async () =>
        !(await unit.caller.call('list', {})).instances.some(({ info }) => info.id === victim.instance.id),
    );
    expect(await run(alice.endpoint, '1')).toEqual({ value: 1 });
  });

  test('a process that it leaves behind ends with it', async () => {
    const victim = await start(unit, specOf('mallory', 1));
    const group =
      readFileSync(`/proc/${victim.instance.pid}/cgroup`, 'utf8')
        .split('\n')
        .find((line) => line.includes('pids'))
        ?.split(':')[2] ?? '';
    await run(victim.endpoint, `cp.spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' }).unref()`);
    const inside = readFileSync(join('/sys/fs/cgroup/pids', group, 'cgroup.procs'), 'utf8')
      .trim()
      .split('\n');
    expect(inside.length).toBeGreaterThanOrEqual(3);
    await stop(unit, victim.instance.id);
    for (const pid of inside) expect(() => statSync(`/proc/${pid}`)).toThrow();
    expect(() => readdirSync(join('/sys/fs/cgroup/pids', group))).toThrow();
  });

  test('with network none there is no way out, and the grant is still in its file', async () => {
    const lonely = await start(unit, specOf('mallory', 1, { network: 'none' }));
    expect(
      await run(
        lonely.endpoint,
        `Object.values(os.networkInterfaces()).flat().filter((one) => !one.internal)`,
      ),
    ).toEqual({ value: [] });
    expect(
      await run(
        lonely.endpoint,
        `fetch('http://' + process.env.AWS_LAMBDA_RUNTIME_API).catch((error) => error.cause.code)`,
      ),
    ).toEqual({ value: 'ECONNREFUSED' });
    expect(
      (await run(lonely.endpoint, `JSON.parse(fs.readFileSync(process.env.BELLOWS_GRANT_FILE)).memoryBytes`))
        .value,
    ).toBe(160 * mib);
    await stop(unit, lonely.instance.id);
  });

  test('M-E5: the Runtime API tells an instance its grant, and another tenant nothing', async () => {
    const address = await gives('process.env.AWS_LAMBDA_RUNTIME_API');
    const ask = `fetch('http://${address}/bellows/v1/grant').then(async (answer) => [answer.status, (await answer.json()).memoryBytes ?? null])`;
    expect(await gives(ask)).toEqual([200, 160 * mib]);
    expect(await run(alice.endpoint, ask)).toEqual({ value: [403, null] });
  });
});
