// A real agent in a process of its own, with what tests ask of it and of the machine afterwards.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { newInstanceId, type InstanceId, type TenantId, type WorkloadKey } from '../../src/base/ids.ts';
import { mib } from '../../src/base/quantity.ts';
import { defaultRequest } from '../../src/model/workload.ts';
import type { Resources } from '../../src/model/resources.ts';
import {
  agentProtocol,
  type AgentProtocol,
  type Endpoint,
  type InstanceSpec,
} from '../../src/protocol/agent.ts';
import {
  decodeResult,
  frameType,
  invokePrefixBytes,
  outcome,
  writeInvokePrefix,
} from '../../src/protocol/instance.ts';
import { RpcClient } from '../../src/protocol/rpc-client.ts';
import type { EventOf, Protocol, ResultOf } from '../../src/protocol/rpc.ts';
import { FrameLink } from '../../src/sys/frame-link.ts';

const main = fileURLToPath(new URL('../../src/agent/main.ts', import.meta.url));
const nobody = { methods: {}, events: {} } satisfies Protocol;

export const isRoot = process.getuid?.() === 0;

export interface TestUnit {
  readonly data: string;
  readonly cgroupRoot: string;
  agent: ChildProcess;
  readonly caller: RpcClient<typeof nobody, AgentProtocol>;
  readonly events: EventOf<AgentProtocol>[];
  log: string;
}

/** Tenants' users in these tests: a range that no package and no person uses. */
export const uidOf = (index: number): number => 1_950_000_000 + index;

export async function startUnit(
  options: { data?: string; env?: Record<string, string>; uid?: number; config?: object } = {},
): Promise<TestUnit> {
  const data = options.data ?? mkdtempSync(join(tmpdir(), 'bellows-agent-'));
  if (options.uid !== undefined) chmodSync(data, 0o777);
  const cgroupRoot = `bellows-test-${process.pid}-${data.slice(-6)}`;
  const unit: TestUnit = {
    data,
    cgroupRoot,
    events: [],
    log: '',
    agent: undefined as unknown as ChildProcess,
    caller: new RpcClient({
      socketPath: join(data, 'run/agent.sock'),
      local: nobody,
      handlers: {},
      remote: agentProtocol,
      onConnect: async (peer) => void (await peer.call('hello', {})),
      onEvent: (event) => void unit.events.push(event),
      onDefect: () => {},
    }),
  };
  await startAgent(unit, options);
  return unit;
}

export async function startAgent(
  unit: TestUnit,
  options: { env?: Record<string, string>; uid?: number; config?: object } = {},
): Promise<void> {
  const config = {
    dataDirectory: unit.data,
    network: 'host',
    cgroupRoot: unit.cgroupRoot,
    ...options.config,
  };
  unit.log = '';
  unit.agent = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main], {
    env: { ...process.env, ...options.env, BELLOWS_CONFIG: JSON.stringify(config), BELLOWS_LOG: 'info' },
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
  });
  unit.agent.stderr?.on('data', (chunk: Buffer) => (unit.log += chunk.toString()));
  const exited = once(unit.agent, 'exit').then(() =>
    Promise.reject(new Error(`the agent ended:\n${unit.log}`)),
  );
  const isReady = (): boolean => unit.log.includes('"msg":"ready"');
  await Promise.race([eventually(isReady, 60_000, () => `the agent to be ready:\n${unit.log}`), exited]);
  exited.catch(() => undefined);
}

/** Ends the agent in order, and whatever is left after it, so that a failed test leaves nothing to the next. */
export async function stopUnit(unit: TestUnit): Promise<void> {
  unit.caller.close();
  if (unit.agent.exitCode === null && unit.agent.signalCode === null) {
    const exited = once(unit.agent, 'exit');
    unit.agent.kill('SIGTERM');
    await exited;
  }
  rmSync(unit.data, { recursive: true, force: true });
}

export async function kill(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

/** Writes a workload's files; readable for every tenant, as the controller unpacks them. */
export function writeCode(unit: TestUnit, name: string, files: Readonly<Record<string, string>>): string {
  const directory = join(unit.data, 'code', name);
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, file)), { recursive: true });
    writeFileSync(join(directory, file), content);
  }
  return directory;
}

export type SpecOverrides = Partial<Omit<InstanceSpec, 'grant'>> & { readonly grant?: Partial<Resources> };

export function functionSpec(codeDirectory: string, overrides: SpecOverrides = {}): InstanceSpec {
  const { grant, ...rest } = overrides;
  return {
    id: newInstanceId(),
    tenant: 'acme' as TenantId,
    uid: uidOf(1),
    workload: 'acme/probe' as WorkloadKey,
    generation: 'g1',
    kind: 'function',
    runtime: 'nodejs26.x',
    codeDirectory,
    handler: 'index.handler',
    start: null,
    timeoutMs: 10_000,
    env: {},
    network: 'host',
    function: {
      name: 'probe',
      version: '$LATEST',
      arn: 'arn:aws:lambda:us-east-1:000000000000:function:probe',
      memoryMb: 128,
      logGroup: '/aws/lambda/probe',
      logStream: 's',
    },
    ...rest,
    grant: { ...defaultRequest, ...grant },
  };
}

export function appSpec(codeDirectory: string, start: string, overrides: SpecOverrides = {}): InstanceSpec {
  return functionSpec(codeDirectory, {
    kind: 'app',
    handler: null,
    start,
    function: null,
    workload: 'acme/app' as WorkloadKey,
    ...overrides,
  });
}

export type Started = Extract<ResultOf<AgentProtocol['methods']['start']>, { outcome: 'started' }>;

export async function start(unit: TestUnit, spec: InstanceSpec): Promise<Started> {
  const result = await unit.caller.call('start', spec, { timeoutMs: 60_000 });
  if (result.outcome === 'failed')
    throw new Error(`${result.error.errorType}: ${result.error.errorMessage}\n${unit.log}`);
  return result;
}

export async function stop(unit: TestUnit, id: InstanceId, graceMs = 0): Promise<void> {
  await unit.caller.call('stop', { id, graceMs, reason: 'the test is over' }, { timeoutMs: 30_000 });
}

/** Invokes a function as the gateway does. Rejects when the instance ends meanwhile. */
export function invoke(endpoint: Endpoint, event: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const link = new FrameLink(connect(join(endpoint.runDirectory, 's.sock')), {
      onFrame: (frame) => {
        if (frame.type !== frameType.result) return;
        const result = decodeResult(Buffer.from(frame.payload));
        const body: unknown = JSON.parse(result.body.toString() || 'null');
        if (result.outcome === outcome.ok) resolve(body);
        else reject(new Error(JSON.stringify(body)));
        link.end();
      },
      onClose: () => reject(new Error('the instance ended')),
    });
    const payload = Buffer.from(JSON.stringify(event));
    const prefix = Buffer.alloc(invokePrefixBytes(''));
    writeInvokePrefix(prefix, 0, {
      timeoutMs: 60_000,
      memoryMb: 128,
      flags: 0,
      requestId: '00000000-0000-4000-8000-000000000000',
      extra: '',
    });
    link.send(frameType.invoke, 1, Buffer.concat([prefix, payload]));
  });
}

/** A function that runs what it is sent: it plays the hostile tenant. */
export const evalHandler = {
  'index.js': `
    const fs = require('node:fs'); const cp = require('node:child_process'); const os = require('node:os');
    const state = globalThis.state = {};
    exports.handler = async (event) => {
      try { return { value: (await eval(event.js)) ?? null }; }
      catch (error) { return { error: error.code ?? error.message }; }
    };`,
};

export async function run(endpoint: Endpoint, js: string): Promise<{ value?: unknown; error?: string }> {
  return (await invoke(endpoint, { js })) as { value?: unknown; error?: string };
}

/** @param what is waited for, and how far it has come; without it a failure shows the condition itself */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 20_000,
  what: () => string = () => condition.toString(),
): Promise<void> {
  const untilMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > untilMs) throw new Error(`not within ${timeoutMs} ms: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Everything on this machine that belongs to a unit: processes, groups, mounts, files in its run directory. */
export function tracesOf(unit: TestUnit): {
  processes: string[];
  groups: string[];
  mounts: string[];
  files: string[];
} {
  const processes = readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name) || Number(name) === unit.agent.pid || Number(name) === process.pid) return false;
    try {
      return (
        readFileSync(`/proc/${name}/environ`, 'latin1').includes(`${unit.data}/run/i/`) ||
        (readFileSync(`/proc/${name}/mountinfo`, 'latin1').includes(`${unit.data}/run/i/`) &&
          readFileSync(`/proc/${name}/cgroup`, 'latin1').includes(unit.cgroupRoot))
      );
    } catch {
      return false;
    }
  });
  const groups = readdirSync('/sys/fs/cgroup').flatMap((name) => {
    const directory = join('/sys/fs/cgroup', name, unit.cgroupRoot);
    return existsSync(directory) ? below(directory) : [];
  });
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith(`${unit.data}/`));
  const files = ['run', 'instances'].flatMap((name) =>
    existsSync(join(unit.data, name))
      ? readdirSync(join(unit.data, name), { recursive: true }).map(String)
      : [],
  );
  return { processes, groups, mounts, files };
}

function below(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap((entry) => [join(directory, entry.name), ...below(join(directory, entry.name))]);
}

export const mebibytes = (count: number): Resources['memory'] => (count * mib) as Resources['memory'];
