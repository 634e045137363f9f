// Ends what an earlier Bellows left running in units that this one does not have, before anything is started: nobody would
// answer for it. Owns what is said of it, and its patience. How it is ended is src/units' (sweep-main.ts).
import type { UnitKind } from '../model/unit-kind.ts';
import type { Layout } from '../sys/layout.ts';
import type { ProcessIdentity } from '../sys/process.ts';
import { leftBehind } from '../units/left-behind.ts';
import { launch, type LaunchSpec } from './launch.ts';

/** Instances' grace, and on a busy machine as much again for each of killing, unmounting and removing. */
const sweepMs = 60_000;

export interface SweepParts {
  readonly layout: Layout;
  /** What this Bellows has. */
  readonly kinds: readonly UnitKind[];
  /** The sweeping program; the kinds that it is to sweep are added to its arguments. */
  readonly launch: LaunchSpec;
  readonly onStart: (identity: ProcessIdentity) => void;
  readonly note: (level: 40 | 50, text: string) => void;
}

export interface Sweep {
  /** Resolves also when not all could be ended, which is said; the next start finds it. */
  readonly done: Promise<void>;
  /** Has no patience any more. */
  readonly cut: () => void;
}

export function sweepUnserved({ layout, kinds, launch: spec, onStart, note }: SweepParts): Sweep {
  const left = (['host', 'vm'] as const).flatMap((kind) => {
    const count = kinds.includes(kind) ? undefined : leftBehind(kind, layout);
    return count === undefined ? [] : [{ kind, count }];
  });
  if (left.length === 0) return { done: Promise.resolve(), cut: () => undefined };
  for (const each of left) if (each.count > 0) note(40, unservedText(each.kind, each.count));
  const { process, identity, ended } = launch({
    ...spec,
    args: [...spec.args, ...left.map(({ kind }) => kind)],
  });
  if (identity !== undefined) onStart(identity);
  const cut = (): void => void process.kill('SIGKILL');
  const late = setTimeout(cut, sweepMs);
  const done = ended.then(({ code }) => {
    clearTimeout(late);
    if (code !== 0) note(50, notAllEnded);
  });
  return { done, cut };
}

/** @param count of those that are on record */
export function unservedText(kind: UnitKind, count: number): string {
  const [where, some] =
    kind === 'host'
      ? ['on this machine itself', count === 1 ? 'instance' : `${count} instances`]
      : ['in virtual machines', count === 1 ? 'virtual machine' : `${count} virtual machines`];
  const [are, they] = count === 1 ? ['is', 'it'] : ['are', 'they'];
  return (
    `This Bellows runs nothing ${where}: the ${some} that an earlier one left on this data directory ${are} ended. ` +
    `With --unit both ${they} would go on.`
  );
}

const notAllEnded =
  'Not all that an earlier Bellows left could be ended (see the log). The next `bellows up` on this data directory tries again.';
