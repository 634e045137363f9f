// A real agent on the real kernel: instances start, live through its crashes, and leave nothing.
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newInstanceId, type TenantId, type WorkloadKey } from '../../src/base/ids.ts';
import { mib } from '../../src/base/quantity.ts';
import { defaultRequest } from '../../src/model/workload.ts';
import type { Endpoint } from '../../src/protocol/agent.ts';
import { mayRaisePriority, raisedNiceness } from '../../src/sys/priority.ts';
import {
  cpuLimitOf,
  groupDirectory,
  memoryLimitOf,
  nicenessesOf,
  sessionNicenessOf,
  slicesMsOf,
} from '../support/kernel.ts';
import { chat, get, isReady, linesOf } from './agent-workloads.ts';
import { suiteNeeding } from '../support/needs.ts';
import {
  appSpec,
  evalHandler,
  eventually,
  functionSpec,
  invoke,
  isRoot,
  mebibytes,
  run,
  start,
  startUnit,
  stop,
  stopUnit,
  tracesOf,
  uidOf,
  writeCode,
  type TestUnit,
} from './agent-process.ts';

suiteNeeding('agent', isRoot ? undefined : 'root is needed for groups and sandboxes', () => {
  let unit: TestUnit;
  let code: string;
  beforeAll(async () => {
    unit = await startUnit();
    code = writeCode(unit, 'probe', evalHandler);
  });
  afterAll(async () => {
    await stopUnit(unit);
  });

  test('it says what this machine enforces', async () => {
    const { capabilities, capacity, pid } = await unit.caller.call('hello', {});
    expect(pid).toBe(unit.agent.pid);
    expect(capabilities).toMatchObject({
      sandbox: 'bubblewrap',
      separateUsers: true,
      memoryLimit: true,
      cpuLimit: true,
    });
    expect(capacity.memory).toBeGreaterThan(512 * mib);
    expect(capacity.cpu).toBeGreaterThanOrEqual(1000);
  });

  test('M-A2: a pooled process becomes an instance of exactly the size asked for', async () => {
    await unit.caller.call('setPool', { size: 1 });
    await isReady(unit, 1);
    const started = await start(
      unit,
      functionSpec(code, { grant: { memory: mebibytes(192), cpu: 500 as never, storage: mebibytes(16) } }),
    );
    expect(started.pooled).toBe(true);
    const { pid } = started.instance;
    expect(memoryLimitOf(groupDirectory(pid, 'memory'))).toBe(192 * mib);
    expect(cpuLimitOf(groupDirectory(pid, 'cpu'))).toBe(500);
    expect(groupDirectory(pid, 'memory')).toContain(`/tenants/acme/${started.instance.id}`);
    const free = await run(
      started.endpoint,
      `(() => { const { bsize, bavail } = fs.statfsSync('/tmp'); return bsize * bavail; })()`,
    );
    expect(free).toEqual({ value: 16 * mib });
    await isReady(unit, 1);
    await stop(unit, started.instance.id);
    await unit.caller.call('setPool', { size: 0 });
  });

  test.each([true, false])(
    'an instance has as much of the processor as any process has, sooner from when it serves (pooled: %j)',
    async (pooled) => {
      await unit.caller.call('setPool', { size: pooled ? 1 : 0 });
      await isReady(unit, pooled ? 1 : 0);
      const started = await start(unit, functionSpec(code));
      expect(started.pooled).toBe(pooled);
      expect(nicenessesOf(unit.agent.pid ?? 0)).toContain(mayRaisePriority() ? raisedNiceness : 0);
      const { pid } = started.instance;
      expect(new Set(nicenessesOf(pid))).toEqual(new Set([0]));
      expect(sessionNicenessOf(pid)).toBe(0);
      // Where the kernel knows slices of their own: the thread that serves, and not those that compile and collect beside it.
      const [serves, ...helps] = slicesMsOf(pid);
      if (serves !== undefined) {
        expect(serves).toBe(0.1);
        expect(Math.min(...helps)).toBeGreaterThan(serves);
        // What starts it makes nobody wait who serves.
        expect(slicesMsOf(unit.agent.pid ?? 0)[0]).toBeGreaterThan(serves);
      }
      await stop(unit, started.instance.id);
      await unit.caller.call('setPool', { size: 0 });
    },
  );

  test('what a pooled process used before it was bound is counted as its instance’s, and once', async () => {
    await unit.caller.call('setPool', { size: 1 });
    await eventually(async () => (await unit.caller.call('list', {})).poolReady > 0);
    const started = await start(unit, functionSpec(code));
    const status = readFileSync(`/proc/${started.instance.pid}/status`, 'utf8');
    const anonymousBytes = Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
    const measured = await unit.caller.call('measure', {});
    const usage = measured.instances.find(({ id }) => id === started.instance.id)?.usage;
    expect(started.pooled).toBe(true);
    // The kernel charges pages of files and of its own besides; what it charges to nobody is the binary's code.
    expect(usage?.memoryBytes).toBeGreaterThan(0.6 * anonymousBytes);
    expect(usage?.memoryPeakBytes).toBeGreaterThanOrEqual(usage?.memoryBytes ?? Infinity);
    const tenant = measured.tenants.find((each) => each.tenant === started.instance.tenant);
    expect(tenant?.memoryBytes).toBeGreaterThanOrEqual(usage?.memoryBytes ?? Infinity);
    await stop(unit, started.instance.id);
  });

  test('a process of the pool that dies is replaced', async () => {
    await unit.caller.call('setPool', { size: 1 });
    await isReady(unit, 1);
    const [slot = ''] = readdirSync(`/sys/fs/cgroup/pids/${unit.cgroupRoot}/pool`).filter((name) =>
      name.startsWith('s-'),
    );
    const pids = readFileSync(`/sys/fs/cgroup/pids/${unit.cgroupRoot}/pool/${slot}/cgroup.procs`, 'utf8')
      .trim()
      .split('\n')
      .map(Number);
    process.kill(Math.max(...pids), 'SIGKILL');
    await eventually(() => !existsSync(`/sys/fs/cgroup/pids/${unit.cgroupRoot}/pool/${slot}`));
    await isReady(unit, 1);
    await unit.caller.call('setPool', { size: 0 });
    await eventually(() => readdirSync(join(unit.data, 'run/i')).length === 0);
  });

  test('an id is started once, however often it is asked for', async () => {
    const spec = functionSpec(code);
    const [one, two] = await Promise.all([start(unit, spec), start(unit, spec)]);
    const three = await start(unit, spec);
    expect(two.instance.pid).toBe(one.instance.pid);
    expect(three.instance.pid).toBe(one.instance.pid);
    expect((await unit.caller.call('list', {})).instances.length).toBe(1);
    await stop(unit, spec.id);
  });

  test.each(['from the pool', 'without one'])(
    'what a function is sent while it starts is run once it serves, in the order it came: %s',
    async (way) => {
      const slow = writeCode(unit, 'slow', {
        'index.mjs': `import { existsSync } from 'node:fs';
          while (!existsSync('/var/task/go')) await new Promise((done) => setTimeout(done, 10));
          let calls = 0;
          export const handler = async (event) => ({ event, call: ++calls });`,
      });
      await unit.caller.call('setPool', { size: way === 'from the pool' ? 1 : 0 });
      await isReady(unit, way === 'from the pool' ? 1 : 0);
      const spec = functionSpec(slow);
      const started = start(unit, spec);
      const reachable = (): Endpoint | undefined =>
        unit.events.flatMap(({ event, data }) =>
          event === 'reachable' && data.instance.id === spec.id ? [data.endpoint] : [],
        )[0];
      await eventually(() => reachable() !== undefined);
      let answered = false;
      void started.then(() => (answered = true));
      const endpoint = reachable() as Endpoint;
      const first = invoke(endpoint, 'first');
      expect(answered).toBe(false);
      writeCode(unit, 'slow', { go: '' });
      expect(await first).toMatchObject({ event: 'first', call: 1 });
      expect((await started).pooled).toBe(way === 'from the pool');
      expect(await invoke(endpoint, 'second')).toMatchObject({ event: 'second', call: 2 });
      await stop(unit, spec.id);
      await unit.caller.call('setPool', { size: 0 });
      rmSync(join(slow, 'go'));
    },
  );

  test.each([
    ['throws while it loads', `throw new TypeError('broken');`, 'TypeError', 'broken'],
    ['ends while it loads', `process.exit(3);`, 'Runtime.ExitError', 'status 3'],
    ['has no such handler', `exports.other = 1;`, 'Runtime.HandlerNotFound', 'handler'],
  ])(
    'a function that %s fails to start with its own error, and leaves nothing',
    async (name, source, errorType, message) => {
      const broken = writeCode(unit, `broken ${name}`.replaceAll(' ', '-'), { 'index.js': source });
      const result = await unit.caller.call('start', functionSpec(broken));
      expect(result).toMatchObject({
        outcome: 'failed',
        error: { errorType, errorMessage: expect.stringContaining(message) },
      });
      expect(tracesOf(unit)).toMatchObject({
        processes: [],
        files: expect.not.arrayContaining([expect.stringMatching(/^i\/s-|^i-/)]),
      });
      expect((await unit.caller.call('list', {})).instances).toEqual([]);
    },
  );

  test('a function that never finishes loading is ended after the time that Lambda gives', async () => {
    const endless = writeCode(unit, 'endless', { 'index.js': 'for (;;);' });
    const result = await unit.caller.call('start', functionSpec(endless));
    expect(result).toMatchObject({ outcome: 'failed', error: { errorType: 'Sandbox.Timedout' } });
    expect(tracesOf(unit).processes).toEqual([]);
  });

  test('a start that nobody can do is refused before anything is made', async () => {
    const files = tracesOf(unit).files;
    await expect(unit.caller.call('start', functionSpec('/does/not/exist'))).rejects.toMatchObject({
      code: 'NotFound',
    });
    const lonely = appSpec(code, 'python3 server.py', { runtime: 'custom', network: 'none' });
    await expect(unit.caller.call('start', lonely)).rejects.toMatchObject({ code: 'NotSupportedHere' });
    expect(tracesOf(unit).files).toEqual(files);
  });

  test('a Node app is usable when it listens, and ends when it is asked to', async () => {
    const app = writeCode(unit, 'chat', { 'server.js': chat });
    const started = await start(unit, appSpec(app, 'node server.js'));
    expect(started.endpoint).toMatchObject({ mode: 'frames', port: null });
    expect(await get({ socketPath: join(started.endpoint.runDirectory, 'http.sock') }, '/one')).toContain(
      'port 8080',
    );
    await stop(unit, started.instance.id, 5000);
    expect(await linesOf(unit, 'acme/app' as WorkloadKey)).toEqual(['asked /one', 'told to end']);
    const exit = unit.events.find(
      ({ event, data }) => event === 'exited' && (data as { id: string }).id === started.instance.id,
    );
    expect(exit?.data).toMatchObject({ code: 0, signal: null, oomKilled: false, reason: 'the test is over' });
  });

  test('an app that never listens is told so', async () => {
    const idle = writeCode(unit, 'idle', { 'server.js': 'process.exit(0)' });
    const result = await unit.caller.call('start', appSpec(idle, 'node server.js'));
    expect(result).toMatchObject({ outcome: 'failed', error: { errorType: 'Runtime.ExitError' } });
  });

  test('any other command is an app behind a port', async () => {
    const app = writeCode(unit, 'custom', { 'server.js': chat });
    const started = await start(
      unit,
      appSpec(app, 'node server.js # not the managed one', {
        runtime: 'custom',
        workload: 'acme/custom' as WorkloadKey,
      }),
    );
    expect(started.endpoint.mode).toBe('tcp');
    const port = started.endpoint.port ?? 0;
    expect(await get({ port }, '/two')).toContain(`port ${port}`);
    await stop(unit, started.instance.id, 5000);
    await expect(get({ port })).rejects.toThrow('ECONNREFUSED');
    expect(await linesOf(unit, 'acme/custom' as WorkloadKey)).toEqual(['asked /two', 'told to end']);
  });

  test('what a crashed instance said last is in its log', async () => {
    const workload = 'acme/crash' as WorkloadKey;
    const started = await start(unit, functionSpec(code, { workload }));
    const crash = `for (let line = 0; line < 5000; line += 1) fs.writeSync(1, 'line ' + line + '\\n'); process.kill(process.pid, 'SIGKILL');`;
    await run(started.endpoint, `(() => { ${crash} })()`).catch(() => undefined);
    await eventually(() =>
      unit.events.some(({ event, data }) => event === 'exited' && data.id === started.instance.id),
    );
    let cursor: string | null = '0';
    const lines: string[] = [];
    for (;;) {
      const page: { entries: { line: string }[]; cursor: string } = await unit.caller.call('readLogs', {
        workload,
        cursor,
        limit: 1000,
        waitMs: 0,
      });
      if (page.entries.length === 0) break;
      lines.push(...page.entries.map((entry) => entry.line));
      cursor = page.cursor;
    }
    expect(lines.filter((line) => line.startsWith('line '))).toEqual(
      Array.from({ length: 5000 }, (_, line) => `line ${line}`),
    );
    await unit.caller.call('removeLogs', { workload });
    expect(await linesOf(unit, workload)).toEqual([]);
  });

  test('bytes that are no lines do no harm to the log', async () => {
    const workload = 'acme/noise' as WorkloadKey;
    const started = await start(unit, functionSpec(code, { workload }));
    await run(
      started.endpoint,
      `void fs.writeSync(1, Buffer.concat([Buffer.alloc(300 * 1024, 120), Buffer.from([0xff, 0, 10]), Buffer.from('end\\n')]))`,
    );
    await eventually(async () => (await linesOf(unit, workload)).includes('end'));
    const lines = (await linesOf(unit, workload)).filter((line) => line.startsWith('x'));
    expect(lines.map((line) => line.length)).toEqual([256 * 1024, 44 * 1024 + 2]);
    await stop(unit, started.instance.id);
  });

  test('a reader that waits is told of the next line', async () => {
    const workload = 'acme/waits' as WorkloadKey;
    const started = await start(unit, functionSpec(code, { workload }));
    const { cursor } = await unit.caller.call('readLogs', { workload, cursor: null, limit: 1, waitMs: 0 });
    const waiting = unit.caller.call('readLogs', { workload, cursor, limit: 10, waitMs: 20_000 });
    await run(started.endpoint, `void fs.writeSync(2, 'here\\n')`);
    const { entries } = await waiting;
    expect(entries[0]).toMatchObject({ instance: started.instance.id });
    await stop(unit, started.instance.id);
  });

  test('a frozen instance stands still, is trimmed all the same, and goes on after thaw', async () => {
    const started = await start(unit, functionSpec(code, { grant: { memory: mebibytes(256) } }));
    const { id, pid } = started.instance;
    const frozen = (): string =>
      readFileSync(join(groupDirectory(pid, 'freezer'), 'freezer.state'), 'utf8').trim();
    await run(
      started.endpoint,
      `{ globalThis.garbage = Array.from({ length: 300000 }, (_, index) => ({ index })); globalThis.garbage = null; }`,
    );
    await unit.caller.call('freeze', { id });
    expect(frozen()).toBe('FROZEN');
    expect((await unit.caller.call('list', {})).instances[0]?.info.state).toBe('frozen');
    const trimmed = await unit.caller.call('trim', { id });
    expect(trimmed.afterBytes).toBeLessThan(trimmed.beforeBytes);
    expect(frozen()).toBe('FROZEN');
    await unit.caller.call('thaw', { id });
    expect(frozen()).toBe('THAWED');
    expect(await run(started.endpoint, '1')).toEqual({ value: 1 });
    await unit.caller.call('freeze', { id });
    await stop(unit, id);
    expect(existsSync(`/proc/${pid}`)).toBe(false);
  });

  test('M-A3, M-E5: a resize reaches the kernel, the file and the application; pid and memory stay', async () => {
    const started = await start(unit, functionSpec(code, { grant: { memory: mebibytes(256) } }));
    const { id, pid } = started.instance;
    await run(
      started.endpoint,
      `{ globalThis.kept = 'here'; globalThis.notices = []; process.on('bellows:grant', (notice) => globalThis.notices.push([notice.phase, notice.memory])); }`,
    );
    const result = await unit.caller.call('resize', {
      tenants: [],
      instances: [{ id, grant: { ...defaultRequest, memory: mebibytes(160), cpu: 250 as never } }],
      waitMs: 2000,
    });
    expect(result.instances[0]?.changes.map(({ resource, status }) => [resource, status])).toEqual([
      ['memory', 'applied'],
      ['cpu', 'applied'],
    ]);
    expect(memoryLimitOf(groupDirectory(pid, 'memory'))).toBe(160 * mib);
    expect(cpuLimitOf(groupDirectory(pid, 'cpu'))).toBe(250);
    await eventually(async () =>
      JSON.stringify((await run(started.endpoint, 'globalThis.notices')).value).includes('current'),
    );
    expect(
      (await run(started.endpoint, '[globalThis.kept, process.pid > 0, globalThis.notices]')).value,
    ).toEqual([
      'here',
      true,
      [
        ['changing', '160MiB'],
        ['current', '160MiB'],
      ],
    ]);
    await eventually(
      async () =>
        (await run(started.endpoint, `JSON.parse(fs.readFileSync(process.env.BELLOWS_GRANT_FILE)).phase`))
          .value === 'current',
    );
    expect((await unit.caller.call('list', {})).instances[0]?.info).toMatchObject({
      pid,
      grant: { memory: 160 * mib, cpu: 250 },
    });
    await stop(unit, id);
  });

  test('a tenant is removed when it is empty, and not before', async () => {
    const tenant = 'leaving' as TenantId;
    await unit.caller.call('ensureTenant', {
      tenant,
      uid: uidOf(7),
      memoryBytes: 512 * mib,
      cpuMillicores: 1000,
      weight: 100,
    });
    expect(memoryLimitOf(`/sys/fs/cgroup/memory/${unit.cgroupRoot}/tenants/leaving`)).toBe(512 * mib);
    const started = await start(unit, functionSpec(code, { tenant, uid: uidOf(7) }));
    await expect(unit.caller.call('removeTenant', { tenant })).rejects.toMatchObject({ code: 'Conflict' });
    await stop(unit, started.instance.id);
    await unit.caller.call('removeTenant', { tenant });
    expect(existsSync(`/sys/fs/cgroup/memory/${unit.cgroupRoot}/tenants/leaving`)).toBe(false);
  });

  test('a hundred starts and stops leave nothing behind', async () => {
    await unit.caller.call('setPool', { size: 2 });
    await isReady(unit, 2);
    // The scratch space that is made ahead may be there or not yet.
    const traces = (): ReturnType<typeof tracesOf> => {
      const { mounts, files, ...rest } = tracesOf(unit);
      const kept = (paths: readonly string[]): string[] =>
        paths.filter((path) => !path.includes('stage/spare'));
      return { ...rest, mounts: kept(mounts), files: kept(files) };
    };
    const before = traces();
    const descriptors = (): number => readdirSync(`/proc/${unit.agent.pid}/fd`).length;
    const descriptorsBefore = descriptors();
    for (let round = 0; round < 25; round += 1) {
      await Promise.all(
        Array.from({ length: 4 }, async () => {
          const started = await start(unit, functionSpec(code, { id: newInstanceId() }));
          await stop(unit, started.instance.id);
        }),
      );
    }
    await isReady(unit, 2);
    // The same number of everything: the pool's processes are others.
    const counts = (of: ReturnType<typeof tracesOf>): unknown =>
      Object.fromEntries(Object.entries(of).map(([kind, each]) => [kind, each.length]));
    await expect.poll(() => counts(traces())).toEqual(counts(before));
    await expect.poll(descriptors).toBeLessThanOrEqual(descriptorsBefore);
    await unit.caller.call('setPool', { size: 0 });
  });
});
