// Takes memory back: decides from whom and how (src/allocator/reclaim), does it (./climber.ts), looks whether it was enough, and
// says what came of it. The same for who asks for it (`bellows reclaim`, planned or done) and for the loop (./reclaim-loop.ts).
// Owns one run at a time, its report and its event. Does not own when it runs by itself.
//
//   sample ─▶ candidates ─▶ victims ─▶ plan ─▶ climb ─▶ enough? ─no─▶ plan anew without those that were asked
import { connectionOutcome } from '../../agent/resize/outcome.ts';
import { planReclaim, type ReclaimPlan } from '../../allocator/reclaim/ladder.ts';
import { victimOrder, type VictimPolicy } from '../../allocator/reclaim/victims.ts';
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId, TenantId, UnitId } from '../../base/ids.ts';
import type { ConnectionOutcome } from '../../model/change.ts';
import type { ConnectionCounts } from '../../model/instance.ts';
import type { AuditLog } from '../audit.ts';
import type { ReclaimedFrom, ReclaimReport, ReclaimRequest } from '../control-plane.ts';
import type { Sample } from '../measures.ts';
import { KeyedQueue } from '../serial.ts';
import { knownOf, type Tracked } from '../state/actual.ts';
import { Asked } from './asked.ts';
import { candidatesOf } from './candidates.ts';
import { Climber, type ClimberParts } from './climber.ts';
import { worthwhileBytes } from './expected-gain.ts';
import type { RecentUse } from './recent-use.ts';
import { sentenceOf } from './wording.ts';

/** "All that can be found": more than any machine has. */
const everything = Number.MAX_SAFE_INTEGER;
/** What a step brings is only known afterwards. After so many plans that brought too little the rest has nothing either. */
const mostPlans = 4;

export interface ReclaimerParts extends Omit<ClimberParts, 'asked'> {
  readonly recent: RecentUse;
  readonly audit: AuditLog;
  readonly clock: Clock;
  /** Tenants that lend to others, and are asked last. */
  readonly lenders: () => ReadonlySet<TenantId>;
  /** Idle for less is a pause between two calls: not a reason to end anything. */
  readonly idleThresholdMs: number;
  /** A machine that is quiet for less is not put on disk. */
  readonly restThresholdMs: number;
}

/** One run: who may be asked, for how much, and how far it may go. */
export interface Run {
  readonly wantedBytes: number;
  /** Null: all. */
  readonly from: ReclaimRequest['from'] | null;
  readonly policy: VictimPolicy;
  /** Whether what idles longer than the thresholds may be put on disk, or ended where it is a function. */
  readonly mayEnd: boolean;
  /** In words, for the audit log and for what is ended. */
  readonly why: string;
}

export class Reclaimer {
  readonly #parts: ReclaimerParts;
  readonly #asked = new Asked();
  readonly #climber: Climber;
  readonly #turn = new KeyedQueue<'reclaim'>();

  constructor(parts: ReclaimerParts) {
    this.#parts = parts;
    this.#climber = new Climber({ ...parts, asked: this.#asked });
    parts.actual.onChange((change) => {
      if (change.type === 'gone') this.#asked.forget(change.tracked.spec.id);
    });
  }

  /** Bytes that were taken back from an instance and that it has not taken again. */
  claimedBytes(id: InstanceId): number {
    return this.#asked.claimedBytes(id, this.#parts.measures.usageOf(id)?.memoryBytes);
  }

  /** On request. @throws BellowsError NotFound when `from` names nobody, Unavailable without an agent */
  async reclaim({ memoryBytes, from, plan = false }: ReclaimRequest): Promise<ReclaimReport> {
    if (from !== undefined && !this.#parts.actual.all().some((tracked) => isNamed(tracked, from))) {
      throw new BellowsError(
        'NotFound',
        `Nothing that runs belongs to ${from}.`,
        'List instances with `bellows ps`.',
      );
    }
    const run: Run = {
      wantedBytes: memoryBytes ?? everything,
      from: from ?? null,
      // Who is named is asked, whatever it does; else nobody who does anything.
      policy: { idleThresholdMs: 0, leastUsedShare: from === undefined ? 0 : 1 },
      mayEnd: memoryBytes !== undefined,
      why: 'it was asked for',
    };
    return plan ? this.#turn.run('reclaim', () => this.#planned(run)) : this.run(run);
  }

  /** What it brought is in the report, and when anybody was asked, in the audit log. @throws BellowsError Unavailable */
  run(run: Run): Promise<ReclaimReport> {
    return this.#turn.run('reclaim', () => this.#run(run));
  }

  /** Nothing is touched: the steps that would be taken now, each with what it is expected to bring. */
  async #planned(run: Run): Promise<ReclaimReport> {
    const { clock, measures, actual } = this.#parts;
    const startedMs = clock.monotonicMs();
    const sample = await measures.sample(0);
    const { steps, amount } = this.#plan(run, run.wantedBytes, sample, new Set());
    const from = steps.flatMap(({ id, rung, amount: bringsBytes, leaves }): ReclaimedFrom[] => {
      const tracked = actual.get(id);
      if (tracked === undefined) return [];
      return [
        {
          instance: id,
          workload: tracked.spec.workload,
          how: rung,
          beforeBytes: leaves + bringsBytes,
          afterBytes: leaves,
          claimedBytes: bringsBytes,
        },
      ];
    });
    const open = sumOf(from.map(({ instance }) => connectionsOf(actual.get(instance))?.open ?? 0));
    return {
      planned: true,
      ...this.#amounts(run, amount, amount),
      freedBytes: 0,
      from,
      durationMs: clock.monotonicMs() - startedMs,
      connections: { open, kept: open, dropped: 0 },
    };
  }

  async #run(run: Run): Promise<ReclaimReport> {
    const { clock, measures, actual, audit } = this.#parts;
    const startedMs = clock.monotonicMs();
    const before = await measures.sample(0);
    const stood = new Map(actual.all().map((tracked) => [tracked.spec.id, tracked]));
    const asked = new Set<InstanceId>();
    const from: ReclaimedFrom[] = [];
    let found = 0;
    let claimed = 0;
    let sample = before;
    for (let plans = 0; plans < mostPlans && claimed < run.wantedBytes; plans += 1) {
      const { steps, amount } = this.#plan(run, run.wantedBytes - claimed, sample, asked);
      if (steps.length === 0) break;
      found += amount;
      for (const { id } of steps) asked.add(id);
      const taken = await this.#climber.climb(steps, run.wantedBytes - claimed, run.why);
      from.push(...taken);
      claimed += sumOf(taken.map(({ claimedBytes }) => claimedBytes));
      sample = await measures.sample(0);
    }
    this.#remember(from, before, sample);
    const units = unitsOf(from, stood);
    const report: ReclaimReport = {
      planned: false,
      ...this.#amounts(run, Math.max(found, claimed), claimed),
      freedBytes: Math.max(0, heldBytes(before, units) - heldBytes(sample, units)),
      from,
      durationMs: clock.monotonicMs() - startedMs,
      connections: this.#connections(from, stood),
    };
    if (from.length > 0)
      audit.note({
        type: 'reclaim.taken',
        message: sentenceOf(report, run.why),
        data: { why: run.why, report },
      });
    return report;
  }

  #plan(run: Run, wantedBytes: number, sample: Sample, asked: ReadonlySet<InstanceId>): ReclaimPlan {
    const { actual, clock, recent, lenders, machines, idleThresholdMs, restThresholdMs } = this.#parts;
    const nowMs = clock.nowMs();
    const { from } = run;
    const quiet = new Set(run.mayEnd ? machines.quietFor(restThresholdMs).map(({ unit }) => unit) : []);
    const named = actual
      .all()
      .filter((tracked) => from === null || from === undefined || isNamed(tracked, from));
    const candidates = candidatesOf(
      named.filter(
        ({ spec }) =>
          !asked.has(spec.id) && (spec.id === from || this.#asked.mayBeAsked(spec.id, clock.monotonicMs())),
      ),
      {
        sample,
        leftOf: (id) => this.#asked.leftOf(id),
        shareOf: (id) => recent.shareOf(id),
        busyAtMs: (id) => recent.busyAtMs(id),
        endIdleBeforeMs: run.mayEnd ? nowMs - idleThresholdMs : null,
        mayRest: (unit) => quiet.has(unit),
        named: named.find(({ spec }) => spec.id === from)?.spec.id ?? null,
      },
    );
    const victims = victimOrder(candidates, lenders(), nowMs, run.policy);
    return planReclaim({ resource: 'memory', wanted: wantedBytes, victims, worthwhile: worthwhileBytes });
  }

  #amounts(
    { wantedBytes }: Run,
    foundBytes: number,
    claimedBytes: number,
  ): Pick<ReclaimReport, 'wantedBytes' | 'foundBytes' | 'claimedBytes' | 'missingBytes'> {
    const isAll = wantedBytes === everything;
    return {
      wantedBytes: isAll ? null : wantedBytes,
      foundBytes,
      claimedBytes,
      missingBytes: isAll ? 0 : Math.max(0, wantedBytes - claimedBytes),
    };
  }

  /** By samples, not by what the trims answered: theirs leave out what a pooled process was charged before its bind. */
  #remember(from: readonly ReclaimedFrom[], before: Sample, after: Sample): void {
    const usage = ({ instances }: Sample) => new Map(instances.map((each) => [each.id, each.usage]));
    const was = usage(before);
    const is = usage(after);
    for (const { instance, how } of from) {
      const usedBefore = was.get(instance);
      const usedAfter = is.get(instance);
      if (usedBefore !== undefined && usedAfter !== undefined)
        this.#asked.note(instance, how !== 'cache', usedBefore, usedAfter);
    }
  }

  /** Of those that were asked. One that ended kept none, and only those without any are ended. */
  #connections(from: readonly ReclaimedFrom[], before: ReadonlyMap<InstanceId, Tracked>): ConnectionOutcome {
    const { actual } = this.#parts;
    const outcomes = from.flatMap(({ instance }) => {
      const was = connectionsOf(before.get(instance));
      if (was === undefined) return [];
      const is = connectionsOf(actual.get(instance));
      return [is === undefined ? { open: was.open, kept: 0, dropped: was.open } : connectionOutcome(was, is)];
    });
    return {
      open: sumOf(outcomes.map(({ open }) => open)),
      kept: sumOf(outcomes.map(({ kept }) => kept)),
      dropped: sumOf(outcomes.map(({ dropped }) => dropped)),
    };
  }
}

function isNamed({ spec }: Tracked, from: NonNullable<ReclaimRequest['from']>): boolean {
  return from === spec.id || from === spec.workload || from === spec.tenant;
}

function connectionsOf(tracked: Tracked | undefined): ConnectionCounts | undefined {
  return tracked === undefined ? undefined : knownOf(tracked)?.info.connections;
}

function unitsOf(
  from: readonly ReclaimedFrom[],
  stood: ReadonlyMap<InstanceId, Tracked>,
): ReadonlySet<UnitId> {
  return new Set(
    from.flatMap(({ instance }) => {
      const tracked = stood.get(instance);
      const known = tracked === undefined ? null : knownOf(tracked);
      return known === null ? [] : [known.info.unit];
    }),
  );
}

/** Of the host: the processes of the virtual machines that were asked; without any, what is charged to all tenants. */
function heldBytes(sample: Sample, asked: ReadonlySet<UnitId>): number {
  if (sample.units.length === 0) return sumOf(sample.tenants.map(({ memoryBytes }) => memoryBytes));
  return sumOf(
    sample.units.filter(({ id }) => asked.has(id)).map(({ hostPrivateBytes }) => hostPrivateBytes),
  );
}

function sumOf(amounts: readonly number[]): number {
  return amounts.reduce((sum, amount) => sum + amount, 0);
}
