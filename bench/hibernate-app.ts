// What an app costs whose thousand clients have WebSockets of its own and say nothing, in a virtual machine: memory of the machine's
// process and group by the kernel's account, awake and hibernated; and how soon it answers when one of them speaks again, which is
// what wakes it. CONNECTIONS=100 has so many clients, ROUNDS=2 so many sleeps.
import { existsSync } from 'node:fs';
import { Bellows } from '../tests/support/bellows.ts';
import { amountOf, archiveOf } from '../tests/support/apps.ts';
import { groupDirectory } from '../tests/support/kernel.ts';
import { instanceOf, privateBytesOf, unitOf } from '../tests/support/machines.ts';
import { ClientProcess, checkOpenFiles } from './connections/client-process.ts';
import { groupBytes, residentKib } from './connections/memory.ts';
import { ms, percent, percentile, times, type Bench, type Figure } from './figure.ts';
import { untilInterrupted } from './interrupted.ts';

const clients = Number(process.env['CONNECTIONS'] ?? 1_000);
const rounds = Number(process.env['ROUNDS'] ?? 5);
/** Answers while it is awake, one after another, before each sleep. */
const warmPerRound = 20;
const sourceAddress = '127.0.1.1';
/** An emulated machine takes seconds for a thousand answers, on a busy host several times that. */
const settleMs = 120_000;
/** The image is made before the first start on a machine, which takes minutes. */
const readyMs = 400_000;
const leastLess = 0.95;
const app = 'echo';
const memory = '256MiB';

interface Machine {
  readonly privateBytes: number;
  readonly residentBytes: number;
  readonly groupBytes: number;
}

/** Of each round. */
interface Samples {
  readonly awake: readonly Machine[];
  readonly asleep: readonly Machine[];
  readonly storedBytes: readonly number[];
  readonly hibernateMs: readonly number[];
  readonly firstMs: readonly number[];
  readonly allMs: readonly number[];
  readonly warmMs: readonly number[];
  /** Closes, lost, doubled, reordered messages, and answers of another kind. */
  readonly wrong: readonly number[];
  readonly sent: number;
  readonly open: number;
}

export const hibernateApp: Bench = {
  what: `an app in a virtual machine with ${clients} WebSockets of its own, awake and hibernated; ${rounds} rounds`,
  run: async () => {
    checkOpenFiles(clients);
    return untilInterrupted(async (started) => {
      const bellows = await started(
        Bellows.start({ args: ['--no-examples', '--unit', 'vm', '--pool', '1'], readyMs }),
        (each) => each.stop(),
      );
      const client = await started(Promise.resolve(new ClientProcess()), (each) => each.end());
      const archive = await archiveOf('bench/gateway/app', ['ws'], { memory });
      const { status, body } = await bellows.v1('PUT', `/workloads/default/${app}`, archive);
      if (status !== 201) throw new Error(`it was not deployed: ${status} ${JSON.stringify(body)}`);
      await client.open({ port: bellows.port, path: `/w/default/${app}/`, sourceAddress }, clients);
      return figures(await sampled(bellows, client));
    });
  },
};

function figures(samples: Samples): Figure[] {
  const { awake, asleep, firstMs, warmMs, wrong, open, sent } = samples;
  const less = (of: (machine: Machine) => number): number =>
    1 - median(asleep.map(of)) / median(awake.map(of));
  const row = (name: string, of: (machine: Machine) => number): Figure => ({
    name: `${name}: awake, hibernated`,
    value: `${mebibytes(median(awake.map(of)))} ${mebibytes(median(asleep.map(of)))}`,
  });
  const least = less((each) => each.privateBytes);
  return [
    row("memory of the machine's process that no other shares", (each) => each.privateBytes),
    row('  resident, what all machines share included', (each) => each.residentBytes),
    row('  charged to its group, pages of files and of the template too', (each) => each.groupBytes),
    {
      name: 'less by, of what is its own',
      value: percent(least),
      aim: '>= 95 %',
      met: least >= leastLess,
    },
    { name: 'on disk instead', value: mebibytes(median(samples.storedBytes)) },
    { name: 'to put it there, p50 and most', value: p50AndMost(samples.hibernateMs) },
    { name: 'first answer to a message that wakes it, p50 and most', value: p50AndMost(firstMs) },
    { name: `then one to each of ${clients}, until the last has its own`, value: p50AndMost(samples.allMs) },
    {
      name: `  ${warmMs.length} answers while it is awake, p50 and p99`,
      value: `${ms(median(warmMs))} ${ms(percentile(warmMs, 0.99))}`,
    },
    { name: '  first / awake, p50', value: times(median(firstMs) / median(warmMs)) },
    {
      name: `  of ${sent}: closes, lost, doubled, reordered, other answers; open`,
      value: `${wrong.join(', ')}; ${open}`,
      aim: `none; ${clients}`,
      met: wrong.every((count) => count === 0) && open === clients,
    },
  ];
}

async function sampled(bellows: Bellows, client: ClientProcess): Promise<Samples> {
  const awake: Machine[] = [];
  const asleep: Machine[] = [];
  const storedBytes: number[] = [];
  const hibernateMs: number[] = [];
  const firstMs: number[] = [];
  const allMs: number[] = [];
  const warmMs: number[] = [];
  let next = 0;
  const ask = (): Promise<number> => client.ask(next++ % clients);
  for (let round = 0; round < rounds; round += 1) {
    for (let answer = 0; answer < warmPerRound; answer += 1) warmMs.push(await ask());
    const { id, pid } = await unitOf(bellows, app);
    const group = groupDirectory(pid, 'memory');
    awake.push(machineOf(pid, group));
    const report = await hibernate(bellows, id);
    storedBytes.push(amountOf('storage', report.stored));
    hibernateMs.push(report.durationMs);
    asleep.push(machineOf(pid, group));
    const { connections } = await instanceOf(bellows, app);
    if (connections !== clients) throw new Error(`${connections} of ${clients} are connected to it`);
    firstMs.push(await ask());
    allMs.push(await client.askAll(settleMs));
  }
  const { open, closes, sent, lost, doubled, reordered, strangeCount } = await client.account();
  const wrong = [closes, lost, doubled, reordered, strangeCount];
  return { awake, asleep, storedBytes, hibernateMs, firstMs, allMs, warmMs, wrong, sent, open };
}

interface Hibernated {
  readonly stored: string;
  readonly durationMs: number;
}

async function hibernate(bellows: Bellows, unit: string): Promise<Hibernated> {
  const { status, body } = await bellows.v1<Hibernated>('POST', `/units/${unit}/hibernate`);
  if (status !== 200) throw new Error(`it was not hibernated: ${status} ${JSON.stringify(body)}`);
  return body;
}

/** By the kernel, whatever Bellows says: nothing of a process that is not there. */
function machineOf(pid: number, group: string): Machine {
  const isThere = existsSync(`/proc/${pid}`);
  return {
    privateBytes: isThere ? privateBytesOf(pid) : 0,
    residentBytes: isThere ? residentKib(pid) * 1024 : 0,
    groupBytes: groupBytes(group),
  };
}

const median = (values: readonly number[]): number => percentile(values, 0.5);
const mebibytes = (bytes: number): string => `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
const p50AndMost = (values: readonly number[]): string => `${ms(median(values))} ${ms(Math.max(...values))}`;
