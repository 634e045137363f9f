// Real Node processes in real groups, for the tests of the resize: starts them, talks to them, clears up after them.
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { detectCgroup } from '../../src/agent/cgroup/detect.ts';
import type { GroupPath } from '../../src/agent/cgroup/port.ts';
import type { InstanceControl } from '../../src/agent/resize/control.ts';
import type { Strained } from '../../src/agent/resize/strain.ts';
import { Resizer } from '../../src/agent/resize/resizer.ts';
import { systemClock } from '../../src/base/clock.ts';
import {
  newInstanceId,
  parseTenantId,
  parseWorkloadName,
  workloadKey,
  type InstanceId,
} from '../../src/base/ids.ts';
import { mib, type Bytes, type Millicores } from '../../src/base/quantity.ts';
import type { Resources } from '../../src/model/resources.ts';
import { defaultRequest } from '../../src/model/workload.ts';
import type { ResizeResult, TenantSpec } from '../../src/protocol/agent.ts';
import { nodeRuntime } from '../../src/runtime/node-runtime.ts';
import { raiseOwnPriority } from '../../src/sys/priority.ts';
import { memoryLimitOf } from '../support/kernel.ts';

export const tenant = parseTenantId('acme');
const workload = workloadKey(tenant, parseWorkloadName('app'));

/**
 * Holds as many MiB as it is told, or any number of them below a bound, at random, all the time. Writes a
 * file of as many, reads it through, and loads it whole.
 */
const program = `
  let held = []; let timer;
  const hold = (count) => {
    while (held.length > count) held.pop();
    while (held.length < count) held.push(Buffer.alloc(1048576, 1));
  };
  const fs = require('node:fs');
  const piece = Buffer.alloc(1048576, 1);
  const writeFile = (path, count) => {
    const fd = fs.openSync(path, 'w');
    for (let index = 0; index < count; index += 1) fs.writeSync(fd, piece);
    fs.fsyncSync(fd);
    fs.closeSync(fd);
  };
  const readFile = (path) => {
    const fd = fs.openSync(path, 'r');
    while (fs.readSync(fd, piece, 0, piece.length, null) > 0);
    fs.closeSync(fd);
  };
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const [command, argument, path] = line.split(' ');
    if (command === 'hold') hold(Number(argument));
    if (command === 'gc') globalThis.gc();
    if (command === 'write') writeFile(path, Number(argument));
    if (command === 'read') readFile(path);
    if (command === 'load') held.push(fs.readFileSync(path));
    if (command === 'churn') timer = setInterval(() => { hold(Math.floor(Math.random() * Number(argument))); if (Math.random() < 0.2) globalThis.gc(); }, 15);
    if (command === 'rest') clearInterval(timer);
    console.log(command);
  });
  console.log('ready');
`;

/** As instances have it: with its own ideas, glibc keeps what V8 has freed. */
const pooled = nodeRuntime.pooled({
  node: process.execPath,
  runtimeDirectory: '',
  runDirectory: '',
  ceilingBytes: 0,
});

export interface Process {
  readonly id: InstanceId;
  readonly child: ChildProcess;
  readonly group: GroupPath;
  /** Returns when the process has done it. */
  tell(line: string): Promise<void>;
}

export function grantOf(memoryMib: number, cpuMillicores = 1000): Resources {
  return { ...defaultRequest, memory: (memoryMib * mib) as Bytes, cpu: cpuMillicores as Millicores };
}

export function tenantOf(memoryMib: number | null, cpuMillicores: number | null = null): TenantSpec {
  const memoryBytes = memoryMib === null ? null : memoryMib * mib;
  return { tenant, uid: 20_000, memoryBytes, cpuMillicores, weight: 1 };
}

export function makeUnit() {
  // As the agent does.
  raiseOwnPriority('changes');
  const { cgroup } = detectCgroup(`bellows-test-${randomBytes(4).toString('hex')}`);
  const processes = new Map<InstanceId, Process>();
  const notices: { id: InstanceId; memory: number; phase: string }[] = [];
  const later: ResizeResult[] = [];
  const givenBack: { id: InstanceId; memory: number; why: string }[] = [];
  const strains: ({ id: InstanceId } & Strained)[] = [];
  const grants = new Map<InstanceId, Resources>();
  const groupOfTenant = (name: string): GroupPath => ['tenants', name];
  const groupOfInstance = (id: InstanceId): GroupPath => ['tenants', tenant, id];
  let trims = 0;
  /** Who does not come to collect its garbage. */
  const stuck = new Set<InstanceId>();
  const control: InstanceControl = {
    describe: (id) => {
      const grant = grants.get(id);
      return grant === undefined ? undefined : { tenant, workload, grant };
    },
    announce: async (id, grant) => void notices.push({ id, memory: grant.memory, phase: 'changing' }),
    enforced: (id, grant, promisedBytes) => {
      notices.push({ id, memory: promisedBytes ?? grant.memory, phase: 'current' });
    },
    givenBack: (id, { grant }, why) => void givenBack.push({ id, memory: grant.memory, why }),
    strained: (id, strained) => void strains.push({ id, ...strained }),
    trim: async (id) => {
      trims += 1;
      if (stuck.has(id)) await new Promise(() => undefined);
      await processes.get(id)?.tell('gc');
    },
    storageBytes: () => null,
    resizeStorage: () => ({ is: 'applied' }),
    connections: () => ({ open: 0, closedByClient: 0, closedByServer: 0 }),
  };
  const resizer = new Resizer({
    cgroup,
    control,
    groupOfTenant,
    groupOfInstance,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    onApplied: (result) => later.push(result),
  });
  cgroup.create(groupOfTenant(tenant));

  async function start(grant: Resources): Promise<Process> {
    const id = newInstanceId();
    const group = groupOfInstance(id);
    cgroup.create(group);
    await cgroup.setLimits(group, { memoryBytes: grant.memory, cpuMillicores: grant.cpu });
    // In the group from its first page on, as an instance is.
    const command = ['-c', 'read go; exec "$0" --expose-gc -e "$1"', process.execPath, program];
    const env = { ...process.env, ...pooled?.env };
    const child = spawn('sh', command, { stdio: ['pipe', 'pipe', 'inherit'], env });
    if (child.pid === undefined) throw new Error('the process did not start');
    cgroup.attach(group, child.pid);
    // Whoever tells a process that has ended hears it from `tell`.
    child.stdin.on('error', () => undefined);
    child.stdin.write('go\n');
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    await lines.next();
    let turn: Promise<unknown> = Promise.resolve();
    const tell = async (line: string): Promise<void> => {
      turn = turn.then(async () => {
        child.stdin.write(`${line}\n`);
        if ((await lines.next()).done === true) throw new Error(`the process ended before it did: ${line}`);
      });
      await turn;
    };
    const started = { id, child, group, tell };
    processes.set(id, started);
    grants.set(id, grant);
    return started;
  }

  async function close(): Promise<void> {
    resizer.close();
    await cgroup.kill([]);
    await cgroup.remove([]);
  }

  /** What the kernel's own file says, past our code. */
  function kernelLimit(group: GroupPath): number {
    return memoryLimitOf(cgroup.memoryDirectory(group) ?? '');
  }

  const told = { notices, later, givenBack, strains };
  return {
    cgroup,
    resizer,
    start,
    close,
    kernelLimit,
    ...told,
    groupOfTenant,
    trims: () => trims,
    stuck,
    grants,
  };
}
