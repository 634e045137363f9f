// Held connections that go to the next gateway at an upgrade while their clients speak: how long a message waits then, how long it
// takes until all are there, and what each costs the two processes, by the kernel's account. CONNECTIONS=2000 has fewer,
// ROUNDS=1 one upgrade only.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bellows } from '../tests/support/bellows.ts';
import { isProcess } from '../tests/support/kernel.ts';
import { MovesBehind } from '../tests/support/moves-behind.ts';
import { ClientProcess, checkOpenFiles } from './connections/client-process.ts';
import type { Account, Phase } from './connections/protocol.ts';
import { histogram, ms, percentile, type Bench, type Figure } from './figure.ts';
import { untilInterrupted } from './interrupted.ts';
import { processorMicros } from './processor-time.ts';

const connections = Number(process.env['CONNECTIONS'] ?? 10_000);
const rounds = Number(process.env['ROUNDS'] ?? 5);
const messagesPerSecond = 500;
const sourceAddress = '127.0.1.1';
const warmUpMs = 5_000;
const quietMs = 5_000;
/** How often it is looked which processes there are: little beside what a move takes. */
const lookEveryMs = 2;
const movedWithinMs = 120_000;
const settleMs = 60_000;
const seed = 2_026;
const longestMs = 50;

const phases = [
  { phase: 'quiet', when: 'otherwise' },
  { phase: 'starting', when: 'while the next gateway starts' },
  { phase: 'upgrade', when: 'while connections move' },
] as const;

/** From the moment when the one before is told to leave until it has ended. */
interface Move {
  readonly tookMs: number;
  /** Processor time, µs. */
  readonly givingMicros: number;
  readonly takingMicros: number;
}

export const upgrade: Bench = {
  what: `${connections} held WebSockets with ${messagesPerSecond} numbered messages/s, ${rounds} upgrades of the gateway`,
  run: async () => {
    checkOpenFiles(connections);
    return untilInterrupted(async (started) => {
      const bellows = await started(Bellows.start({ args: ['--no-examples', '--unit', 'host'] }), (each) =>
        each.stop(),
      );
      const client = await started(Promise.resolve(new ClientProcess()), (each) => each.end());
      const behind = new MovesBehind(bellows, seed);
      await behind.deployHeldAlone();
      await client.open({ port: bellows.port, path: behind.heldPath, sourceAddress }, connections);
      await client.speak(messagesPerSecond);
      await sleep(warmUpMs);
      const moves: Move[] = [];
      const enter = (phase: Phase, round: number): Promise<void> => client.during({ phase, round });
      for (let round = 0; round < rounds; round += 1) {
        await enter('quiet', round);
        await sleep(quietMs);
        await enter('starting', round);
        moves.push(
          await moved(
            bellows,
            () => behind.upgradeGateway(),
            () => enter('upgrade', round),
          ),
        );
      }
      await enter('apart', rounds);
      await client.speak(0);
      await client.settle(settleMs);
      return figuresOf(moves, await client.account());
    });
  },
};

/** @param onBegun the next one is ready, and the connections begin to move */
async function moved(
  bellows: Bellows,
  change: () => Promise<void>,
  onBegun: () => Promise<void>,
): Promise<Move> {
  const before = gatewayOf(bellows);
  const changed = change();
  // Else a failure would be nobody's while the next is waited for.
  changed.catch(() => undefined);
  const endMs = performance.now() + movedWithinMs;
  while (gatewayOf(bellows) === before && performance.now() < endMs) await sleep(lookEveryMs);
  const begunMs = performance.now();
  const entered = onBegun();
  const after = gatewayOf(bellows);
  const begun = { giving: processorMicros(before), taking: processorMicros(after) };
  let last = begun;
  while (isProcess(before) && performance.now() < endMs) {
    // Of one that is just ending, less and less is known.
    const giving = Math.max(last.giving, processorMicros(before));
    last = { giving, taking: processorMicros(after) };
    await sleep(lookEveryMs);
  }
  const tookMs = performance.now() - begunMs;
  await Promise.all([entered, changed]);
  return {
    tookMs,
    givingMicros: last.giving - begun.giving,
    takingMicros: last.taking - begun.taking,
  };
}

function gatewayOf({ dataDirectory }: Bellows): number {
  const record = readFileSync(join(dataDirectory, 'run', 'processes.json'), 'utf8');
  return (JSON.parse(record) as { children: { gateway: { pid: number } } }).children.gateway.pid;
}

function figuresOf(moves: readonly Move[], account: Account): Figure[] {
  const latencies = (phase: Phase): number[] =>
    account.samples
      .filter(({ moment }) => moment.phase === phase)
      .flatMap(({ latenciesMs }) => [...latenciesMs]);
  const during = latencies('upgrade');
  const each = (of: (move: Move) => number): number => percentile(moves.map(of), 0.5) / connections;
  const { closes, lost, doubled, reordered, strangeCount, open } = account;
  const wrong = [closes, lost, doubled, reordered, strangeCount];
  return [
    {
      name: 'until all are there, and the one before has ended, median',
      value: ms(
        percentile(
          moves.map(({ tookMs }) => tookMs),
          0.5,
        ),
      ),
    },
    {
      name: 'processor time for each connection, who gives and who takes',
      value: `${each(({ givingMicros }) => givingMicros).toFixed(1)} µs ${each(({ takingMicros }) => takingMicros).toFixed(1)} µs`,
    },
    ...phases.map(({ phase, when }) => {
      const of = latencies(phase);
      const longest = Math.max(...of);
      return {
        name: `a message's answer ${when}: p50, p99, longest of ${of.length}`,
        value: `${ms(percentile(of, 0.5))} ${ms(percentile(of, 0.99))} ${ms(longest)}`,
        ...(phase === 'upgrade' ? { aim: `longest <= ${longestMs} ms`, met: longest <= longestMs } : {}),
      };
    }),
    ...histogram(during),
    {
      name: 'closes, lost, doubled, reordered, other answers; open',
      value: `${wrong.join(', ')}; ${open}`,
      aim: `none; ${connections}`,
      met: wrong.every((count) => count === 0) && open === connections,
    },
  ];
}
