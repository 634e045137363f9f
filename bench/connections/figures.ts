// The figures of the bench of connections, out of what its clients have counted. Pure.
import { histogram, ms, percentile, times, type Figure } from '../figure.ts';
import type { Account, Phase } from './protocol.ts';

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

export function speedFigures(accounts: Accounts): Figure[] {
  const all = [accounts.held, accounts.direct];
  const p99 = (of: readonly Account[], phase: Phase): number => percentile(latenciesOf(of, phase), 0.99);
  const slower = (of: readonly Account[]): number => p99(of, 'changing') / p99(of, 'quiet');
  const ratio = slower(all);
  return [
    ...(['quiet', 'changing'] as const).flatMap((phase) => [
      {
        name: `${phase}: from when a message was due to its answer, p50 p99 p99.9 max`,
        value: rowOf(latenciesOf(all, phase)),
      },
      { name: '  of held ones', value: rowOf(latenciesOf([accounts.held], phase)) },
      { name: '  of direct ones', value: rowOf(latenciesOf([accounts.direct], phase)) },
      ...histogram(latenciesOf(all, phase)),
      {
        name: `${phase}: silence while something was awaited, held, p50 p99 p99.9 max`,
        value: rowOf([...accounts.held.phases[phase].gapsMs]),
      },
      { name: '  direct', value: rowOf([...accounts.direct.phases[phase].gapsMs]) },
    ]),
    {
      name: 'p99 with changes / without',
      value: times(ratio),
      aim: `<= ${mostSlower} ×`,
      met: ratio <= mostSlower,
    },
    { name: '  of held ones', value: times(slower([accounts.held])) },
    { name: '  of direct ones', value: times(slower([accounts.direct])) },
  ];
}

function latenciesOf(accounts: readonly Account[], phase: Phase): number[] {
  return accounts.flatMap(({ phases }) => [...phases[phase].latenciesMs]);
}

function rowOf(samples: readonly number[]): string {
  return shown.map((p) => percentile(samples, p).toFixed(1)).join(' ');
}
