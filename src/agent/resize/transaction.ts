// One request to resize tenants and instances in a unit, as a transaction that never kills (MISSION E1).
//
//   plan ─▶ notify ─▶ grow ─▶ free ─▶ verify ─▶ shrink ─▶ applied ──strained within 2 s──▶ old limit, deferred
//                                       │
//                                       └▶ deferred ──tried again: fits──▶ applied, told through onApplied
//
// Owns the order of effects and the answer. plan.ts decides; what goes on after the answer is resizer.ts's.
import type { Clock } from '../../base/clock.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { ResourceChange } from '../../model/change.ts';
import type { Resources } from '../../model/resources.ts';
import type { ResizeRequest, ResizeResult } from '../../protocol/agent.ts';
import type { Cgroup } from '../cgroup/port.ts';
import { resizeAnswer, type Parts } from './answer.ts';
import type { InstanceControl } from './control.ts';
import type { Deferrals } from './deferrals.ts';
import { EarlyWord } from './early-word.ts';
import { neededMeanwhile, type Lending } from './lending.ts';
import { wishOf } from './loan.ts';
import type { Lowering } from './lowering.ts';
import type { Notices } from './notices.ts';
import type { Part } from './outcome.ts';
import { concernedBy, type Groups, type InstanceOwner, type Owner } from './owners.ts';
import { planSteps, type Step } from './plan.ts';
import type { Shortfalls } from './shortfalls.ts';
import type { Space, Spaces } from './spaces.ts';
import type { Steps } from './steps.ts';
import type { Turns } from './turns.ts';

/** What requests share, and what goes on after their answers. */
export interface TransactionParts extends Groups {
  readonly cgroup: Cgroup;
  readonly control: InstanceControl;
  readonly clock: Clock;
  /** What each instance was last asked to be. */
  readonly desired: Map<InstanceId, Resources>;
  /** The latest owner's record for each key: of another request than this one, and this one's is superseded. */
  readonly owners: Map<string, Owner>;
  /** Writes to one owner's group follow each other. */
  readonly turns: Turns;
  readonly steps: Steps;
  readonly lowering: Lowering;
  readonly lending: Lending;
  readonly shortfalls: Shortfalls;
  readonly deferrals: Deferrals;
  readonly notices: Notices;
  readonly spaces: Spaces;
}

/** What has happened so far to one owner. */
interface Progress extends Parts {
  readonly owner: Owner;
  memory: Part | null;
  cpu: Part | null;
}

type Concerned = ReturnType<typeof concernedBy>;

const superseding = 'a later request has taken its place';

export class Transaction {
  readonly #parts: TransactionParts;
  readonly #request: ResizeRequest;
  readonly #startedMs: number;
  readonly #progress = new Map<string, Progress>();

  constructor(request: ResizeRequest, parts: TransactionParts) {
    this.#parts = parts;
    this.#request = request;
    this.#startedMs = parts.clock.monotonicMs();
  }

  /** Answers when everything is applied, or after `waitMs`; what is deferred then is tried again until it fits. */
  async run(): Promise<ResizeResult> {
    const { cgroup, control, deferrals, notices, spaces } = this.#parts;
    const concerned = this.#begin();
    const before = new Map(concerned.instances.map((owner) => [owner.id, control.connections(owner.id)]));
    const phases = planSteps(concerned.tenants, concerned.instances);
    const elsewhere = concerned.instances.filter(
      ({ id, asked, instance }) => asked !== null && spaces.differs(id, instance.grant, asked),
    );
    await notices.announce(phases.flat(), elsewhere, (key) => this.#progress.get(key)?.owner);
    const early = new EarlyWord(phases.flat(), (key) => this.#tellEarly(this.#progress.get(key)));
    for (const phase of phases) {
      const performed = phase.map(async (step) => {
        await this.#perform(step);
        early.done(step.key);
      });
      await Promise.all(performed);
    }
    const changed = new Map<InstanceId, Space>();
    for (const { id, asked, instance } of elsewhere)
      if (asked !== null) changed.set(id, spaces.begin(id, instance.grant, asked));
    await Promise.all([this.#awaitDeferred(), spaces.wait([...changed.values()], this.#leftMs())]);
    early.close();
    for (const owner of concerned.instances)
      this.#settleLoan(owner, this.#progress.get(owner.key)?.memory ?? null);
    deferrals.wake();
    const elsewhereOf = (id: InstanceId): ResourceChange[] => {
      const space = changed.get(id);
      return space === undefined ? [] : spaces.changes(space);
    };
    const result = resizeAnswer(
      concerned,
      { parts: this.#progress, before, spaces: elsewhereOf },
      { cgroup, control },
    );
    for (const owner of concerned.instances) {
      const enforced = result.enforced.get(owner.id);
      if (enforced !== undefined) notices.tellCurrent(owner.id, enforced);
    }
    return { tenants: result.tenants, instances: result.instances };
  }

  /** Notes what is wanted from now on. @returns whom it concerns, asked for or not */
  #begin(): Concerned {
    const { cgroup, control, deferrals, desired, lending, owners, shortfalls } = this.#parts;
    const { memoryLimit } = cgroup.capabilities;
    for (const part of this.#request.instances)
      if (control.describe(part.id) !== undefined) {
        const { grant } = wishOf(part, memoryLimit);
        desired.set(part.id, grant);
        shortfalls.request(part.id, Math.max(grant.memory, part.requested?.memory ?? 0), grant.memory);
      }
    const concerned = concernedBy(this.#request, {
      ...this.#parts,
      desired: (id) => desired.get(id),
      promised: (id) => lending.promisedBytes(id),
    });
    for (const owner of [...concerned.tenants, ...concerned.instances]) {
      this.#progress.set(owner.key, { owner, memory: null, cpu: null });
      if (owner.kind === 'instance' && owner.asked === null) continue;
      owners.set(owner.key, owner);
      // A later request supersedes what still waits.
      deferrals.drop(owner.key);
    }
    for (const owner of concerned.instances) {
      // Its tenant's limit may press its CPU down now: remembered, to come back with that limit.
      if (!desired.has(owner.id)) desired.set(owner.id, owner.instance.grant);
    }
    return concerned;
  }

  async #perform(step: Step): Promise<void> {
    const state = this.#progress.get(step.key);
    if (state === undefined) return;
    const { lowering, deferrals, owners, shortfalls, steps, turns } = this.#parts;
    const { owner } = state;
    await turns.inTurn(step.key, async () => {
      const { memoryBytes, cpuMillicores } = step.limits;
      const wasAsked = owner.kind === 'tenant' || owner.asked !== null;
      const superseded = wasAsked && owners.get(step.key) !== owner;
      const reason = superseded ? superseding : await steps.write(step, owner);
      const failed = superseded ? this.#part('deferred', reason) : this.#part('infeasible', reason);
      if (cpuMillicores !== undefined) state.cpu = reason === '' ? this.#part('applied', '') : failed;
      if (memoryBytes === undefined) return;
      if (reason !== '') {
        state.memory = failed;
      } else if (step.direction === 'grow' || memoryBytes === null) {
        state.memory = this.#part('applied', '');
      } else {
        const obstacle = await lowering.to(memoryBytes, owner, true);
        state.memory = obstacle === '' ? this.#part('applied', '') : this.#part('deferred', obstacle);
        if (obstacle !== '' && obstacle !== neededMeanwhile)
          deferrals.put(step.key, memoryBytes, obstacle, { resting: false });
      }
      if (owner.kind === 'instance') shortfalls.settle(owner.id);
    });
  }

  /** All its steps were done, and the request waits for others. What is deferred stands as before: the answer tells of it. */
  #tellEarly(state: Progress | undefined): void {
    if (state?.owner.kind !== 'instance' || state.memory?.status === 'deferred') return;
    const { owner, memory } = state;
    this.#settleLoan(owner, memory);
    this.#parts.notices.tellCurrent(owner.id, this.#parts.cgroup.limits(owner.group));
  }

  /** Brings the loan, and what is held of less than was asked for, to what the request came to. One that is to end and could not yet goes on as it was. */
  #settleLoan(owner: InstanceOwner, memory: Part | null): void {
    const { cgroup, lending, owners, shortfalls } = this.#parts;
    const { id, group, promisedBytes } = owner;
    if (owner.asked === null || owners.get(owner.key) !== owner) return;
    const limitBytes = cgroup.limits(group).memoryBytes;
    if (promisedBytes !== null && limitBytes !== null && limitBytes < promisedBytes)
      lending.keep(id, group, limitBytes, promisedBytes);
    else if (promisedBytes !== null || memory === null || memory.status === 'applied') lending.drop(id);
    shortfalls.settle(id);
  }

  async #awaitDeferred(): Promise<void> {
    const { deferrals, owners } = this.#parts;
    const open = [...this.#progress.values()].flatMap((state) => {
      const entry = state.memory?.status === 'deferred' ? deferrals.get(state.owner.key) : undefined;
      return entry === undefined ? [] : [{ state, entry }];
    });
    const waits = open.map(async ({ state, entry }) => {
      await deferrals.wait([entry], this.#leftMs());
      const waiting = deferrals.get(entry.key) === entry;
      const superseded = owners.get(entry.key) !== state.owner;
      if (waiting) state.memory = this.#part('deferred', entry.reason);
      else if (superseded) state.memory = this.#part('deferred', superseding);
      else state.memory = this.#part('applied', '');
    });
    await Promise.all(waits);
  }

  #part(status: Part['status'], reason: string): Part {
    return { status, reason, durationMs: this.#parts.clock.monotonicMs() - this.#startedMs };
  }

  /** Of the time that the request may take. */
  #leftMs(): number {
    return this.#request.waitMs - (this.#parts.clock.monotonicMs() - this.#startedMs);
  }
}
