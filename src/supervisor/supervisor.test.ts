import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { layoutOf } from '../sys/layout.ts';
import { identify } from '../sys/process.ts';
import { defaultUnitSize } from '../units/fleet/unit-size.ts';
import { readEndpoint, readProcesses, type ChildName } from './records.ts';
import { endLeftRunning } from './take-over.ts';
import { Supervisor, type SupervisorOptions } from './supervisor.ts';

const fake = fileURLToPath(new URL('./fixtures/fake-process.ts', import.meta.url));

let data: string;
let journal: string;
let port: number;
let said: string[];
let running: Supervisor[];

beforeEach(async () => {
  data = mkdtempSync(join(tmpdir(), 'bellows-sup-'));
  journal = join(data, 'journal');
  port = await freePort();
  said = [];
  running = [];
});
afterEach(async () => {
  for (const supervisor of running) await supervisor.stop();
  // What a failed test left of a supervisor that it killed.
  const record = readProcesses(layoutOf(data));
  if (record !== undefined) await endLeftRunning(record);
  rmSync(data, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const programs = (name: ChildName): { command: string; args: string[] } => ({
  command: process.execPath,
  args: [fake, name, journal],
});

const optionsOf = (more: Partial<SupervisorOptions> = {}): SupervisorOptions => ({
  dataDirectory: data,
  port,
  host: '127.0.0.1',
  network: 'host',
  verbose: false,
  say: (line) => said.push(line),
  programs,
  shutDownInstances: (_, graceMs) => {
    writeFileSync(journal, `instances shutdown ${graceMs}\n`, { flag: 'a' });
    return Promise.resolve();
  },
  ...more,
});

async function start(more: Partial<SupervisorOptions> = {}): Promise<Supervisor> {
  const supervisor = await Supervisor.start(optionsOf(more), (created) => running.push(created));
  // The fake gateway is healthy by itself; the others may still be on their way.
  if (more.programs === undefined) await until(allStarted);
  return supervisor;
}

const events = (): string[] => (existsSync(journal) ? readFileSync(journal, 'utf8').trim().split('\n') : []);
const startsOf = (role: ChildName): number[] =>
  events()
    .filter((line) => line.startsWith(`${role} start`))
    .map((line) => Number(line.split(' ')[2]));

const allStarted = (): boolean =>
  (['agent', 'controller', 'gateway'] as const).every((role) => startsOf(role).length > 0);

async function until(check: () => boolean): Promise<void> {
  for (let i = 0; i < 1_000; i += 1) {
    if (check()) return;
    await pause(10);
  }
  throw new Error(`waited in vain: ${events().join('; ')} | ${said.join('; ')}`);
}

test('starts the three, writes down where it is, and makes the data directory private', async () => {
  const supervisor = await start();
  expect(supervisor.url).toBe(`http://127.0.0.1:${port}`);
  expect(readEndpoint(data)).toEqual({ url: supervisor.url });
  expect(statSync(data).mode & 0o777).toBe(0o700);
  const record = readProcesses(supervisor.layout);
  expect(record?.supervisor.pid).toBe(process.pid);
  expect(record?.children.gateway?.pid).toBe(startsOf('gateway')[0]);
});

test('one that dies is started again, the others are left alone, and the person is told', async () => {
  const supervisor = await start();
  const [first = 0] = startsOf('controller');
  process.kill(first, 'SIGKILL');
  await until(() => startsOf('controller').length === 2);
  expect(startsOf('gateway')).toHaveLength(1);
  expect(startsOf('agent')).toHaveLength(1);
  await until(() => readProcesses(supervisor.layout)?.children.controller?.pid === startsOf('controller')[1]);
  await until(() => said.some((line) => line.includes('controller was ended by SIGKILL')));
});

test('stops in order: gateway, controller, the instances, agent; and leaves nothing on record', async () => {
  const supervisor = await start();
  await supervisor.stop();
  expect(events().filter((line) => !line.includes('start '))).toEqual([
    'gateway stop',
    'controller stop',
    'instances shutdown 10000',
    'agent stop',
  ]);
  expect(readEndpoint(data)).toBeUndefined();
  expect(readProcesses(supervisor.layout)).toBeUndefined();
});

test('an agent that is dead when all is stopped is started once more, for only it can end the instances', async () => {
  // As the real call does: it waits for an agent that answers.
  const supervisor = await start({ shutDownInstances: () => until(() => startsOf('agent').length === 2) });
  process.kill(startsOf('agent')[0] ?? 0, 'SIGKILL');
  await until(() => said.some((line) => line.includes('agent was ended')));
  await supervisor.stop();
  expect(startsOf('agent')).toHaveLength(2);
  expect(events().at(-1)).toBe('agent stop');
});

test('asked twice, it has no patience with a gateway that does not end', async () => {
  const stubborn = `process.on('SIGTERM', () => {}); require('node:http').createServer((q, s) => s.end('{"status":"ok"}')).listen({ fd: 4 })`;
  const supervisor = await start({
    programs: (name) =>
      name === 'gateway' ? { command: process.execPath, args: ['-e', stubborn] } : programs(name),
  });
  const first = supervisor.stop();
  await supervisor.stop();
  await first;
  expect(events()).toContain('instances shutdown 0');
});

test('asked once while it is not ready yet, it stops in order, and not as if asked twice', async () => {
  const silent = { command: process.execPath, args: ['-e', 'setInterval(() => {}, 1000)'] };
  const stopped = start({ programs: (name) => (name === 'gateway' ? silent : programs(name)) });
  stopped.catch(() => undefined);
  await until(() => startsOf('controller').length === 1);
  await running[0]?.stop();
  await expect(stopped).rejects.toThrow(/told to stop/);
  expect(events()).toContain('instances shutdown 10000');
});

describe('instances that an earlier one left in units that this one has not', () => {
  const { handles, run, units } = layoutOf('/data');
  const inData = (path: string): string => path.replace('/data', data);
  /** As the one that is really run: it removes what shows that there was something. */
  const sweeping = (name: ChildName): { command: string; args: string[] } =>
    name === 'sweep'
      ? {
          command: process.execPath,
          args: [
            '-e',
            `const fs = require('node:fs'); const kinds = process.argv.slice(1).join();
            fs.appendFileSync(${JSON.stringify(journal)}, 'sweep ' + kinds + '\\n');
            fs.rmSync(${JSON.stringify(inData(run))} + '/i', { recursive: true, force: true });`,
          ],
        }
      : programs(name);
  const fleet: NonNullable<SupervisorOptions['units']> = {
    size: defaultUnitSize(undefined, undefined),
    accelerator: 'auto',
    image: null,
    sharing: 'none',
    subnet: null,
    poolMaximum: 0,
  };
  beforeEach(() => {
    for (const directory of [handles, join(run, 'i'), units])
      mkdirSync(inData(directory), { recursive: true });
    writeFileSync(inData(join(handles, 'i-1.json')), '');
    for (const id of ['u-1', 'u-2']) writeFileSync(inData(join(units, `${id}.json`)), '');
  });

  test('are ended before anything starts, and the person is told: on this machine, where there are machines alone', async () => {
    await start({ units: fleet, programs: sweeping });
    await until(allStarted);
    expect(events()[0]).toBe('sweep host');
    expect(said.filter((line) => line.includes('earlier'))).toEqual([
      'warning: supervisor: This Bellows runs nothing on this machine itself: the instance that an earlier one left on this data directory is ended. With --unit both it would go on.',
    ]);
    expect(readProcesses(layoutOf(data))?.children.sweep).toBeUndefined();
  });

  test('are ended: machines, where there are none', async () => {
    await start({ programs: sweeping });
    await until(allStarted);
    expect(events()[0]).toBe('sweep vm');
    expect(said.join()).toContain(
      'nothing in virtual machines: the 2 virtual machines that an earlier one left on this data directory are ended',
    );
  });

  test('go on where there are both', async () => {
    await start({ units: fleet, hostToo: true, programs: sweeping });
    await until(allStarted);
    expect(events().join()).not.toContain('sweep');
  });

  test('that can not be ended keep nothing from starting: that is said, and tried again by the next', async () => {
    const failing = { command: process.execPath, args: ['-e', 'process.exit(1)'] };
    await start({ programs: (name) => (name === 'sweep' ? failing : programs(name)) });
    await until(allStarted);
    expect(said.join()).toContain('Not all that an earlier Bellows left could be ended');
  });
});

test('asked again while instances are given time, it ends them at once', async () => {
  const ended = Promise.withResolvers<void>();
  const supervisor = await start({
    shutDownInstances: () => {
      void supervisor.stop();
      return ended.promise;
    },
    endInstancesNow: () => {
      ended.resolve();
      return Promise.resolve();
    },
  });
  await supervisor.stop();
  expect(events().at(-1)).toBe('agent stop');
});

describe('an upgrade', () => {
  test('starts another gateway, which serves when it says so, and tells the one before to leave', async () => {
    const supervisor = await start();
    const [first = 0] = startsOf('gateway');
    const [upgraded] = await supervisor.upgrade();
    expect(upgraded).toMatchObject({ before: first, pid: startsOf('gateway')[1] });
    await until(() => events().includes('gateway leave'));
    const record = readProcesses(supervisor.layout);
    expect(record?.children.gateway?.pid).toBe(upgraded?.pid);
    expect(record?.beside.map(({ pid }) => pid)).toEqual([first]);
    // The new one is the one that is kept running now.
    process.kill(first, 'SIGKILL');
    process.kill(upgraded?.pid ?? 0, 'SIGKILL');
    await until(() => startsOf('gateway').length === 3);
    expect((await fetch(supervisor.url)).ok).toBe(true);
  });

  test('that does not get ready fails with a code and the reason, and the gateway before is left alone', async () => {
    const supervisor = await start();
    writeFileSync(`${journal}.broken`, '');
    await expect(supervisor.upgrade()).rejects.toMatchObject({
      code: 'UpgradeFailed',
      message: expect.stringContaining('status 3') as string,
    });
    expect(events()).not.toContain('gateway leave');
    expect(readProcesses(supervisor.layout)?.children.gateway?.pid).toBe(startsOf('gateway')[0]);
    expect((await fetch(supervisor.url)).ok).toBe(true);
    rmSync(`${journal}.broken`);
    expect(await supervisor.upgrade()).toMatchObject([{ before: startsOf('gateway')[0] }]);
  });

  test('waits for the one under way, and all of them end with the rest', async () => {
    const supervisor = await start();
    await Promise.all([supervisor.upgrade(), supervisor.upgrade()]);
    const gateways = startsOf('gateway');
    expect(gateways).toHaveLength(3);
    await supervisor.stop();
    for (const pid of gateways) expect(identify(pid)).toBeUndefined();
  });

  test('while the gateway has crashed is the start that it needs', async () => {
    const supervisor = await start();
    process.kill(startsOf('gateway')[0] ?? 0, 'SIGKILL');
    await until(() => said.some((line) => line.includes('gateway was ended by SIGKILL')));
    await supervisor.upgrade();
    expect((await fetch(supervisor.url)).ok).toBe(true);
    const [{ pid } = { pid: 0 }] = await supervisor.upgrade();
    expect(readProcesses(supervisor.layout)?.children.gateway?.pid).toBe(pid);
  });
});

describe('several gateways', () => {
  const onRecord = (): number[] => {
    const record = readProcesses(layoutOf(data));
    return [record?.children.gateway, ...(record?.gateways ?? [])].map((identity) => identity?.pid ?? 0);
  };

  test('serve one port: each is kept running in its place, replaced by an upgrade, and ended with the rest', async () => {
    const supervisor = await start({ gateways: 3 });
    await until(() => startsOf('gateway').length === 3);
    expect(new Set(onRecord())).toEqual(new Set(startsOf('gateway')));
    const [first = 0, second = 0, third = 0] = onRecord();
    process.kill(second, 'SIGKILL');
    await until(() => startsOf('gateway').length === 4);
    await until(() => said.some((line) => line.includes('gateway 2 was ended by SIGKILL')));
    await until(() => onRecord()[1] === startsOf('gateway')[3]);
    expect(onRecord()).toEqual([first, startsOf('gateway')[3], third]);

    const before = onRecord();
    const upgraded = await supervisor.upgrade();
    expect(upgraded.map((each) => each.before)).toEqual(before);
    expect(onRecord()).toEqual(upgraded.map(({ pid }) => pid));
    expect(readProcesses(supervisor.layout)?.beside.map(({ pid }) => pid)).toEqual(before);
    const pids = startsOf('gateway');
    expect(pids).toHaveLength(7);
    await supervisor.stop();
    for (const pid of pids) expect(identify(pid)).toBeUndefined();
  });

  test('an upgrade that fails in one place leaves the others as they are', async () => {
    const supervisor = await start({ gateways: 2 });
    await until(() => startsOf('gateway').length === 2);
    const before = onRecord();
    writeFileSync(`${journal}.broken`, '');
    await expect(supervisor.upgrade()).rejects.toMatchObject({ code: 'UpgradeFailed' });
    expect(onRecord()).toEqual(before);
    expect(events()).not.toContain('gateway leave');
  });

  test('are all ended when a supervisor takes over from one that was killed', async () => {
    const children = [0, 1].map(() => spawn('sleep', ['1000'], { stdio: 'ignore' }));
    const [gateway, other] = children.map(({ pid }) => identify(pid ?? 0));
    if (gateway === undefined || other === undefined) throw new Error('not started');
    const record = {
      supervisor: gateway,
      host: '127.0.0.1',
      port,
      children: { gateway },
      gateways: [other],
      beside: [],
    };
    await endLeftRunning(record);
    expect([gateway, other].map(({ pid }) => identify(pid))).toEqual([undefined, undefined]);
  });
});

test('while a gateway that crashed is started again nobody is refused: who connects is served by the next', async () => {
  const supervisor = await start();
  const [first = 0] = startsOf('gateway');
  // It stands still: whoever connects now can only be served by the next one.
  process.kill(first, 'SIGSTOP');
  await until(() => / T /.test(readFileSync(`/proc/${first}/stat`, 'utf8')));
  const answers = Array.from({ length: 20 }, async () => {
    const client = connect(port, '127.0.0.1');
    client.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    let text = '';
    for await (const chunk of client) text += String(chunk);
    return text;
  });
  process.kill(first, 'SIGKILL');
  for (const answer of await Promise.all(answers)) expect(answer).toMatch(/^HTTP\/1.1 200/);
  expect(startsOf('gateway')).toHaveLength(2);
  await supervisor.stop();
});

describe('refuses to start, and says why', () => {
  test('on a data directory that another runs on', async () => {
    await start();
    await expect(start({ port: await freePort() })).rejects.toThrow(/already running on .* port/);
    expect(startsOf('gateway')).toHaveLength(1);
  });

  test('on a port in use', async () => {
    const other = createServer().listen(port, '127.0.0.1');
    await once(other, 'listening');
    try {
      await expect(start()).rejects.toThrow(/in use/);
      expect(events()).toEqual([]);
    } finally {
      other.close();
    }
    await start();
  });

  test('when the path is too long for sockets', async () => {
    await expect(start({ dataDirectory: join(data, 'x'.repeat(80)) })).rejects.toThrow(/bytes too long/);
  });

  test('when the data directory is a file', async () => {
    writeFileSync(join(data, 'file'), '');
    await expect(start({ dataDirectory: join(data, 'file') })).rejects.toThrow(/can not be used/);
  });

  test('when a process can not start; nothing is left then', async () => {
    const broken = { command: process.execPath, args: ['-e', 'process.exit(3)'] };
    const failed = start({
      programs: (name) =>
        name === 'controller'
          ? broken
          : { command: process.execPath, args: ['-e', 'setInterval(() => {}, 1000)'] },
    });
    await expect(failed).rejects.toThrow(/the controller ended 5 times/);
    expect(said.some((line) => line.includes('controller ended with status 3'))).toBe(true);
    await start();
  });
});

test('after kill -9 of the supervisor its processes serve on; a new one takes over, and ends them where the gateway hands no sockets over', async () => {
  const script = `
    import { Supervisor } from ${JSON.stringify(new URL('./supervisor.ts', import.meta.url).href)};
    await Supervisor.start({ dataDirectory: ${JSON.stringify(data)}, port: ${port}, host: '127.0.0.1', network: 'host', verbose: false,
      say: () => {}, programs: (name) => ({ command: process.execPath, args: [${JSON.stringify(fake)}, name, ${JSON.stringify(journal)}] }) }, () => {});
    console.log('serving');`;
  const first = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await once(first.stdout, 'data');
  await until(allStarted);
  first.kill('SIGKILL');
  await once(first, 'exit');
  const old = [...startsOf('agent'), ...startsOf('controller'), ...startsOf('gateway')];
  expect(old).toHaveLength(3);
  expect((await fetch(`http://127.0.0.1:${port}/healthz`)).ok).toBe(true);
  for (const pid of old) expect(identify(pid)).toBeDefined();

  await start();
  for (const pid of old) expect(identify(pid)).toBeUndefined();
  expect(startsOf('gateway')).toHaveLength(2);
  expect(said.join()).toContain('Taking over');
  // An agent that is asked to stop would end the instances: it is killed instead.
  expect(events()).not.toContain('agent stop');
});
