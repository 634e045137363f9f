// What may be granted, divided anew with nothing wished for: because somebody came, went, woke or idles, or waits to start. Owns that
// division and its line in the audit log. When it is made is ../rebalance; a change of what is wished for is ./resizer.ts.
import type { Clock } from '../../base/clock.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { InstanceChange } from '../../model/change.ts';
import type { Resources } from '../../model/resources.ts';
import { tenantSpecOf, type AgentLink } from '../agent-link.ts';
import type { AuditLog } from '../audit.ts';
import type { Measures } from '../measures.ts';
import type { KeyedQueue } from '../serial.ts';
import { promisedMemory, type ActualState } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import type { Planner } from './planner.ts';
import type { UnitRequests } from './unit-requests.ts';

/** What is in use moves slowly against a start. */
const roomFigureMaxAgeMs = 1_000;

export interface DividerParts {
  readonly link: Pick<AgentLink, 'hello'>;
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly measures: Measures;
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly planner: Planner;
  readonly requests: UnitRequests;
  /** Shared with changes: plans are made from the outcome of those before. */
  readonly planning: KeyedQueue<'plan'>;
}

export class Divider {
  readonly #parts: DividerParts;
  #isShort = false;
  #planMs = 0;
  #closed = false;

  constructor(parts: DividerParts) {
    this.#parts = parts;
    parts.actual.onChange((change) => {
      const { spec, life } = change.tracked;
      if (change.type === 'gone' || life.phase !== 'waiting') parts.planner.forget(spec.id);
    });
  }

  /** Whether somebody has less than is asked for it, as of the last division: then grants follow what is demanded. */
  get isShort(): boolean {
    return this.#isShort;
  }

  /** A change leaves somebody with less than is asked for it. */
  noteShortage(): void {
    this.#isShort = true;
  }

  /** What the last division took of the processor, without its effects. */
  get planMs(): number {
    return this.#planMs;
  }

  get grantableBytes(): number {
    return this.#parts.planner.grantableBytes;
  }

  /** @param why for the audit log. @returns by how many bytes the kernel's limits of memory were lowered */
  divide(why: string): Promise<number> {
    return this.#divide(why, false);
  }

  /** Also asks again for what was asked for before and is not there. */
  async divideAll(why: string): Promise<void> {
    await this.#divide(why, true);
  }

  /** After the agent came back: tells it again what is wanted of everything that it may have forgotten. */
  reassert(): Promise<void> {
    this.#parts.requests.forgetAll();
    return this.divideAll('the agent came back');
  }

  /** The agent did of itself what was not asked: what it was asked before does not hold. */
  agentActed(id: InstanceId): void {
    this.#parts.requests.forget(id);
  }

  /**
   * Room for one that waits to start: others' grants are lowered to what the division leaves them beside it, and from now on
   * until it starts or is forgotten all divisions count it in.
   * @returns what it may start with; null while the others have not made that room, or where there is less than `leastBytes`
   */
  async roomFor(id: InstanceId, leastBytes: number): Promise<Resources | null> {
    const { planner, requests, planning, measures, actual } = this.#parts;
    planner.expect(id);
    await measures.sample(roomFigureMaxAgeMs).catch(() => undefined);
    const { grant, outcome } = await planning.run('plan', async () => {
      const { plan } = planner.division();
      const share = plan.grants.get(id);
      if (share === undefined || share.memory < leastBytes) return { grant: null, outcome: undefined };
      this.#isShort = true;
      return {
        grant: share,
        outcome: requests.send(
          [],
          requests.differing(plan, {}, () => false),
          0,
        ),
      };
    });
    if (grant === null || outcome === undefined) return null;
    this.#note((await outcome).instances, `${id} needs room to start`);
    let heldBytes = 0;
    for (const tracked of actual.all()) heldBytes += promisedMemory(tracked);
    return heldBytes + grant.memory <= planner.grantableBytes ? grant : null;
  }

  /** From now on divides `bytes` less memory than may be granted; 0 for all of it. */
  withhold(bytes: number): void {
    this.#parts.planner.withhold(bytes);
  }

  close(): void {
    this.#closed = true;
  }

  async #divide(why: string, everything: boolean): Promise<number> {
    const { link, desired, planner, requests, planning, clock } = this.#parts;
    // What is unknown can not be divided; the look at the agent ends with a re-division.
    if (link.hello === null || this.#closed) return 0;
    const { outcome } = await planning.run('plan', async () => {
      const beganMs = clock.monotonicMs();
      const { plan, isShort } = planner.division();
      this.#planMs = clock.monotonicMs() - beganMs;
      this.#isShort = isShort;
      if (plan.status === 'infeasible') return { outcome: undefined };
      const tenants = everything ? desired.tenants().map(tenantSpecOf) : requests.tenantsFor({});
      const instances = requests.differing(plan, {}, () => everything);
      // Where all is short the last bytes can not be had anyway: all or nothing is moved, so that it adds up.
      const isRest = isShort && !everything && instances.every((instance) => requests.isSlight(instance));
      return { outcome: requests.send(tenants, isRest ? [] : instances, 0) };
    });
    return this.#note((await outcome)?.instances ?? [], why);
  }

  #note(instances: readonly InstanceChange[], why: string): number {
    const moved = instances.filter(({ changes }) => changes.some(({ before, after }) => before !== after));
    if (moved.length === 0) return 0;
    const { audit, actual } = this.#parts;
    audit.note({
      type: 'grants.divided',
      message: `Grants of ${moved.length} instances were divided anew among the ${actual.all().length} that run: ${why}.`,
      data: { why, instances: moved },
    });
    let loweredBytes = 0;
    for (const { resource, before, after } of moved.flatMap(({ changes }) => changes))
      if (resource === 'memory') loweredBytes += Math.max(0, (before ?? 0) - (after ?? 0));
    return loweredBytes;
  }
}
