// The figures of the bench of connections, out of what its clients have counted. Pure.
import { histogram, ms, percent, percentile, times, type Figure } from '../figure.ts';
import { changes, type Account, type Change, type Moment } from './protocol.ts';

export type Accounts = Readonly<Record<'held' | 'direct', Account>>;

export interface Opening {
  readonly heldMs: number;
  readonly directMs: number;
  readonly kibPerHeld: number;
}

const mostKibPerHeld = 6;
/** With changes / without. */
const mostSlower = 1.1;
const shown = [0.5, 0.99, 0.999, 1] as const;

export function openingFigures(connections: number, { heldMs, directMs, kibPerHeld }: Opening): Figure[] {
  return [
    { name: `${connections} held WebSockets to open, each with a call of $connect`, value: ms(heldMs) },
    { name: `${connections} direct WebSockets to open`, value: ms(directMs) },
    {
      name: "gateway's memory for each held one, garbage included",
      value: `${kibPerHeld.toFixed(2)} KiB`,
      aim: `<= ${mostKibPerHeld} KiB`,
      met: kibPerHeld <= mostKibPerHeld,
    },
  ];
}

export function accountFigures(connections: number, accounts: Accounts): Figure[] {
  return (['held', 'direct'] as const).flatMap((kind) => {
    const account = accounts[kind];
    const counted = (['closes', 'lost', 'doubled', 'reordered', 'strangeCount'] as const).map(
      (name) => account[name],
    );
    return [
      {
        name: `${kind}: messages sent; connections open at the end`,
        value: `${account.sent}; ${account.open}`,
      },
      {
        name: `${kind}: closes, lost, doubled, reordered, answers of another kind`,
        value: counted.join(', '),
        aim: 'none',
        met: counted.every((count) => count === 0) && account.open === connections,
      },
      ...account.strange.map((text) => ({ name: `  ${kind} was told`, value: text })),
    ];
  });
}

type Which = (moment: Moment) => boolean;

const quiet: Which = ({ phase }) => phase === 'quiet';
const changing: Which = ({ phase }) => (changes as readonly string[]).includes(phase);

const whatIsDone: Readonly<Record<Change, string>> = {
  limits: 'limits change, nothing else',
  deployment: 'new code, and 2 s after it',
  wake: 'no instance, from the first message on, 2 s',
  controller: 'the controller is killed, and 2 s after it',
  upgrade: 'the gateway is upgraded, and 2 s after it',
};

export function speedFigures(accounts: Accounts): Figure[] {
  const { held, direct } = accounts;
  const all = [held, direct];
  const p99 = (of: readonly Account[], which: Which): number => percentile(latenciesOf(of, which), 0.99);
  const slower = (of: readonly Account[], which: Which): number => p99(of, which) / p99(of, quiet);
  const ratio = slower(all, changing);
  const sides = [
    ['quiet', quiet],
    ['changing', changing],
  ] as const;
  return [
    ...sides.flatMap(([name, which]) => [
      {
        name: `${name}: from when a message was due to its answer, p50 p99 p99.9 max`,
        value: rowOf(latenciesOf(all, which)),
      },
      { name: '  of held ones', value: rowOf(latenciesOf([held], which)) },
      { name: '  of direct ones', value: rowOf(latenciesOf([direct], which)) },
      { name: '  p99 of its rounds, least median most', value: spreadOf(p99OfRounds(all, which)) },
      ...histogram(latenciesOf(all, which)),
      {
        name: `${name}: silence while something was awaited, held, p50 p99 p99.9 max`,
        value: rowOf(gapsOf(held, which)),
      },
      { name: '  direct', value: rowOf(gapsOf(direct, which)) },
      {
        name: '  of all this, clients late by themselves, p50 p99 p99.9 max',
        value: rowOf(latenessOf(all, which)),
      },
    ]),
    ...changes.flatMap((change) => {
      const which: Which = ({ phase }) => phase === change;
      return [
        {
          name: `${whatIsDone[change]}: held, p50 p99 p99.9 max`,
          value: rowOf(latenciesOf([held], which)),
        },
        { name: '  direct', value: rowOf(latenciesOf([direct], which)) },
        { name: '  p99 / without changes', value: times(slower(all, which)) },
        {
          name: '  part of the slowest 1 % of all while anything changes',
          value: percent(partOfSlowest(all, which)),
        },
      ];
    }),
    {
      name: 'p99 with changes / without',
      value: times(ratio),
      aim: `<= ${mostSlower} ×`,
      met: ratio <= mostSlower,
    },
    { name: '  of held ones', value: times(slower([held], changing)) },
    { name: '  of direct ones', value: times(slower([direct], changing)) },
    {
      name: '  each round by its quiet part, least median most',
      value: spreadOf(ratios(p99OfRounds(all, changing), p99OfRounds(all, quiet))),
    },
  ];
}

function latenciesOf(accounts: readonly Account[], which: Which): number[] {
  return accounts.flatMap(({ samples }) =>
    samples.filter(({ moment }) => which(moment)).flatMap(({ latenciesMs }) => [...latenciesMs]),
  );
}

function gapsOf({ samples }: Account, which: Which): number[] {
  return samples.filter(({ moment }) => which(moment)).flatMap(({ gapsMs }) => [...gapsMs]);
}

function latenessOf(accounts: readonly Account[], which: Which): number[] {
  return accounts.flatMap(({ samples }) =>
    samples.filter(({ moment }) => which(moment)).flatMap(({ lateMs }) => [...lateMs]),
  );
}

/** In their order. */
function p99OfRounds(accounts: readonly Account[], which: Which): number[] {
  const last = Math.max(...accounts.flatMap(({ samples }) => samples.map(({ moment }) => moment.round)));
  return Array.from({ length: last + 1 }, (_, round) =>
    percentile(
      latenciesOf(accounts, (moment) => moment.round === round && which(moment)),
      0.99,
    ),
  );
}

/** What the 99th percentile of all is made of. */
function partOfSlowest(accounts: readonly Account[], which: Which): number {
  const boundMs = percentile(latenciesOf(accounts, changing), 0.99);
  const slowest = (of: Which): number => latenciesOf(accounts, of).filter((each) => each > boundMs).length;
  return slowest(which) / slowest(changing);
}

const ratios = (above: readonly number[], below: readonly number[]): number[] =>
  above.map((value, at) => value / (below[at] ?? NaN));

function rowOf(samples: readonly number[]): string {
  return shown.map((p) => percentile(samples, p).toFixed(1)).join(' ');
}

function spreadOf(values: readonly number[]): string {
  return [Math.min(...values), percentile(values, 0.5), Math.max(...values)]
    .map((value) => value.toFixed(2))
    .join(' ');
}
