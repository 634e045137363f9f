// Connections that stay while everything behind them moves: by default ten thousand held ones of a function and ten thousand that an
// app has itself, with numbered messages over all of them. Quiet rounds and rounds full of changes take turns in one run, alike in
// load. Owns the rounds; who speaks and listens is ./connections/client.ts, a process apart, what is changed
// tests/support/moves-behind.ts. CONNECTIONS=200 has 200 of each, ROUNDS=1 one round of each with a part of the changes.
import { setTimeout as sleep } from 'node:timers/promises';
import { MovesBehind, idleSeconds } from '../tests/support/moves-behind.ts';
import { Bellows } from '../tests/support/bellows.ts';
import { ClientProcess, checkOpenFiles } from './connections/client-process.ts';
import {
  accountFigures,
  openingFigures,
  speedFigures,
  type Accounts,
  type Opening,
} from './connections/figures.ts';
import { residentKib } from './connections/memory.ts';
import { Moments } from './connections/moments.ts';
import { changes, type Change } from './connections/protocol.ts';
import { startsIn } from './connections/starts.ts';
import { Work } from './connections/work.ts';
import type { Bench, Figure } from './figure.ts';
import { untilInterrupted } from './interrupted.ts';

const connections = Number(process.env['CONNECTIONS'] ?? 10_000);
/** So short that what others do on the machine meanwhile meets both sides alike. */
const rounds = Number(process.env['ROUNDS'] ?? 10);
/** Of all ten rounds together: 1,000 changes of limits, 20 deployments, 20 times no instance. */
const limitChangesPerRound = 100;
const movesPerRound = 2;
const messagesPerSecond = 1_000;
/** So that a round's changes of limits last about as long as its other changes do. */
const limitChangeEveryMs = 250;
/** Between a deployment, going to no instance, and the next: most messages meet neither, as most of a day's do not. */
const betweenMovesMs = 3_000;
/** In a round without changes: for as long its function's clients are silent as with changes, and for as long they are not. */
const quietSilenceMs = 2_000;
const quietBetweenMs = 4_000;
/** Of all that its clients say meanwhile, so that it keeps its instance. */
const keptAwakePerSecond = 10;
/** After a start Bellows makes itself ready for more of them for 3 s, and what is new is compiled. */
const warmUpMs = 10_000;
const settleMs = 60_000;
const seed = 2_026;
/** Apart from each other, and from the address that everybody else comes from. */
const sources = { held: '127.0.1.1', direct: '127.0.1.2' } as const;

export const connectionsBench: Bench = {
  what: `${connections} held and ${connections} direct WebSockets, ${messagesPerSecond} numbered messages/s, ${rounds} rounds without and with changes behind them`,
  run: async () => {
    checkOpenFiles(connections);
    return untilInterrupted(async (started) => {
      const bellows = await started(
        Bellows.start({ args: ['--no-examples', '--unit', 'host', '--keep-alive', `${idleSeconds}`] }),
        (each) => each.stop(),
      );
      const client = (): Promise<ClientProcess> =>
        started(Promise.resolve(new ClientProcess()), (each) => each.end());
      const run = new Run(bellows, { held: await client(), direct: await client() });
      return run.figures();
    });
  },
};

class Run {
  readonly #bellows: Bellows;
  readonly #moves: MovesBehind;
  readonly #clients: Readonly<Record<'held' | 'direct', ClientProcess>>;
  readonly #moments: Moments;
  readonly #work: Work;

  constructor(bellows: Bellows, clients: Readonly<Record<'held' | 'direct', ClientProcess>>) {
    this.#bellows = bellows;
    this.#clients = clients;
    this.#moves = new MovesBehind(bellows, seed);
    this.#moments = new Moments([clients.held, clients.direct]);
    this.#work = new Work(bellows);
  }

  async figures(): Promise<Figure[]> {
    await this.#moves.deployBoth('bench/gateway/app');
    const opening = await this.#open();
    await this.#speak(messagesPerSecond / 2, messagesPerSecond / 2);
    await sleep(warmUpMs);
    for (let round = 0; round < rounds; round += 1) {
      await this.#moments.enter('quiet', round);
      await this.#work.during('quiet', () => this.#stayQuiet());
      await this.#moments.enter('limits', round);
      await this.#work.during('changing', () => Promise.all([this.#changeLimits(), this.#move(round)]));
    }
    await this.#moments.enter('apart');
    await this.#speak(0, 0);
    const { held, direct } = this.#clients;
    await Promise.all([held.settle(settleMs), direct.settle(settleMs)]);
    const accounts: Accounts = { held: await held.account(), direct: await direct.account() };
    return [
      ...openingFigures(connections, opening),
      ...accountFigures(connections, accounts),
      ...this.#changeFigures(accounts),
      ...this.#work.figures(),
      ...speedFigures(accounts),
    ];
  }

  async #open(): Promise<Opening> {
    const { held, direct } = this.#clients;
    const gateway = this.#bellows.pidOf('gateway');
    if (gateway === undefined) throw new Error('there is no gateway');
    const { port } = this.#bellows;
    // What the first of all costs is not what each costs.
    const first = { port, path: this.#moves.heldPath, sourceAddress: sources.held };
    await held.open(first, 1);
    const beforeKib = residentKib(gateway);
    const heldMs = await held.open(first, connections - 1);
    const afterKib = residentKib(gateway);
    const directMs = await direct.open(
      { port, path: this.#moves.directPath, sourceAddress: sources.direct },
      connections,
    );
    return { heldMs, directMs, kibPerHeld: (afterKib - beforeKib) / (connections - 1) };
  }

  async #speak(heldPerSecond: number, directPerSecond: number): Promise<void> {
    const { held, direct } = this.#clients;
    await Promise.all([held.speak(heldPerSecond), direct.speak(directPerSecond)]);
  }

  /** As {@link #move}, with nothing done. */
  async #stayQuiet(): Promise<void> {
    for (let move = 0; move < movesPerRound; move += 1) {
      await sleep(quietBetweenMs);
      await this.#speak(keptAwakePerSecond, messagesPerSecond - keptAwakePerSecond);
      await sleep(quietSilenceMs);
      await this.#speak(messagesPerSecond / 2, messagesPerSecond / 2);
      await sleep(quietBetweenMs);
    }
  }

  async #changeLimits(): Promise<void> {
    for (let change = 0; change < limitChangesPerRound; change += 1) {
      const pause = sleep(limitChangeEveryMs);
      await this.#moves.changeALimit();
      await pause;
    }
  }

  async #move(round: number): Promise<void> {
    for (let move = 0; move < movesPerRound; move += 1) {
      await this.#moments.during('deployment', () => this.#moves.deployHeld());
      await sleep(betweenMovesMs);
      await this.#hibernate();
      await sleep(betweenMovesMs);
      // In the middle of a round, and with another one to come where there is one.
      if (move > 0) continue;
      if (round === Math.min(1, rounds - 1))
        await this.#moments.during('controller', () => this.#moves.killController());
      if (round === Math.max(0, rounds - 2))
        await this.#moments.during('upgrade', () => this.#moves.upgradeGateway());
    }
  }

  /** Its clients are silent until it has no instance; the others speak for them. The next message wakes it. */
  async #hibernate(): Promise<void> {
    await this.#speak(0, messagesPerSecond);
    await this.#moves.untilNoneOfHeld();
    await this.#moments.during('wake', () => this.#speak(messagesPerSecond / 2, messagesPerSecond / 2));
  }

  #changeFigures({ held }: Accounts): Figure[] {
    const { applied, deferred, infeasible } = this.#moves.limitChanges;
    const moves = rounds * movesPerRound;
    return [
      {
        name: 'changes of limits: applied, deferred, infeasible',
        value: `${applied}, ${deferred}, ${infeasible}`,
      },
      { name: 'deployments, and times without any instance', value: `${moves}, ${moves}` },
      {
        name: "versions of the function's code that answered",
        value: `${held.versions.length}`,
        aim: `${moves + 1}`,
        met: held.versions.length === moves + 1,
      },
      { name: 'kill -9 of the controller, and upgrades of the gateway', value: '1, 1' },
      {
        name: `instances started: ${changes.join(', ')}`,
        value: changes.map((change) => this.#startsDuring(change)).join(', '),
      },
    ];
  }

  #startsDuring(change: Change): number {
    return startsIn(this.#bellows.dataDirectory).filter((atMs) => this.#moments.phaseAt(atMs) === change)
      .length;
  }
}
