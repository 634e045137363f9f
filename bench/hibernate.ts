// What a function with held clients costs while none of them says anything: its memory by the kernel's account of its tenant's
// groups, awake and at zero instances, and how soon it answers when one of the clients speaks again.
//
// Without warm processes first: on cgroup v1 what one of those was charged stays with the pool's group, so that only an instance
// whose processes began in its own group shows there all that it costs. Then with them, as by default, for the time.
import { dirname } from 'node:path';
import { Bellows, eventually } from '../tests/support/bellows.ts';
import { groupDirectory } from '../tests/support/kernel.ts';
import { MovesBehind, idleSeconds } from '../tests/support/moves-behind.ts';
import { ClientProcess, checkOpenFiles } from './connections/client-process.ts';
import { groupBytes } from './connections/memory.ts';
import { ms, percent, percentile, times, type Bench, type Figure } from './figure.ts';
import { untilInterrupted } from './interrupted.ts';

const clients = 1_000;
const rounds = 10;
/** Answers while it is awake, one after another, before each sleep. */
const warmPerRound = 50;
const sourceAddress = '127.0.1.1';
/** The whole crowd speaks at the end, so that each is seen to be served still. */
const crowdMs = 2_000;
const settleMs = 60_000;
const leastLess = 0.95;
const seed = 2_026;

interface Samples {
  readonly awakeBytes: readonly number[];
  readonly asleepBytes: readonly number[];
  readonly firstMs: readonly number[];
  readonly warmMs: readonly number[];
  /** Closes, lost, doubled, reordered messages, and answers of another kind. */
  readonly wrong: readonly number[];
  readonly open: number;
}

export const hibernate: Bench = {
  what: `a function with ${clients} held clients, awake and at zero instances; ${rounds} rounds without and with warm processes`,
  run: async () => {
    checkOpenFiles(clients);
    const cold = await measured(['--pool', '0']);
    const pooled = await measured([]);
    const less = 1 - median(cold.asleepBytes) / median(cold.awakeBytes);
    return [
      { name: "memory of the tenant's groups, awake, median", value: mebibytes(median(cold.awakeBytes)) },
      {
        name: 'the same at zero instances, median and most',
        value: `${mebibytes(median(cold.asleepBytes))} ${mebibytes(Math.max(...cold.asleepBytes))}`,
      },
      { name: 'less by', value: percent(less), aim: '>= 95 %', met: less >= leastLess },
      ...answerFigures('with warm processes', pooled),
      ...answerFigures('without', cold),
    ];
  },
};

function answerFigures(how: string, { firstMs, warmMs, wrong, open }: Samples): Figure[] {
  return [
    {
      name: `${how}: first answer after zero instances, p50 and most`,
      value: `${ms(median(firstMs))} ${ms(Math.max(...firstMs))}`,
    },
    {
      name: `  ${warmMs.length} answers while it is awake, p50 and p99`,
      value: `${ms(median(warmMs))} ${ms(percentile(warmMs, 0.99))}`,
    },
    { name: '  first / awake, p50', value: times(median(firstMs) / median(warmMs)) },
    {
      name: `  closes, lost, doubled, reordered, other answers; open`,
      value: `${wrong.join(', ')}; ${open}`,
      aim: `none; ${clients}`,
      met: wrong.every((count) => count === 0) && open === clients,
    },
  ];
}

function measured(args: readonly string[]): Promise<Samples> {
  return untilInterrupted(async (started) => {
    const bellows = await started(
      Bellows.start({
        args: ['--no-examples', '--unit', 'host', '--keep-alive', `${idleSeconds}`, ...args],
      }),
      (each) => each.stop(),
    );
    const client = await started(Promise.resolve(new ClientProcess()), (each) => each.end());
    const moves = new MovesBehind(bellows, seed);
    await moves.deployHeldAlone();
    await client.open({ port: bellows.port, path: moves.heldPath, sourceAddress }, clients);
    return sampled(moves, client);
  });
}

async function sampled(moves: MovesBehind, client: ClientProcess): Promise<Samples> {
  const awakeBytes: number[] = [];
  const asleepBytes: number[] = [];
  const firstMs: number[] = [];
  const warmMs: number[] = [];
  let next = 0;
  const ask = (): Promise<number> => client.ask(next++ % clients);
  for (let round = 0; round < rounds; round += 1) {
    // Of several that were started for all the clients one is left that serves: the least that it costs awake.
    await eventually(
      async () => {
        await ask();
        return (await moves.instancesOf('held')).length === 1;
      },
      { timeoutMs: settleMs, what: () => 'one instance to serve' },
    );
    for (let answer = 0; answer < warmPerRound; answer += 1) warmMs.push(await ask());
    const [instance] = await moves.instancesOf('held');
    if (instance === undefined) throw new Error('it answered and has no instance');
    const group = dirname(groupDirectory(instance.pid, 'memory'));
    awakeBytes.push(groupBytes(group));
    await moves.untilNoneOfHeld();
    asleepBytes.push(groupBytes(group));
    firstMs.push(await ask());
  }
  await client.speak(clients / (crowdMs / 1_000));
  await new Promise((resolve) => setTimeout(resolve, crowdMs));
  await client.speak(0);
  await client.settle(settleMs);
  const { open, closes, lost, doubled, reordered, strangeCount } = await client.account();
  const wrong = [closes, lost, doubled, reordered, strangeCount];
  return { awakeBytes, asleepBytes, firstMs, warmMs, wrong, open };
}

const median = (values: readonly number[]): number => percentile(values, 0.5);
const mebibytes = (bytes: number): string => `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
