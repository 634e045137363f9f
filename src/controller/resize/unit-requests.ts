// What the unit's agent is asked for, and what it was asked for last: its word on that comes a moment later.
// Owns that memory and the call. What to ask for is the plan's to say.
import type { ChangePlan } from '../../allocator/plan-change.ts';
import type { InstanceId } from '../../base/ids.ts';
import { resourceKinds, type ResourceKind, type Resources } from '../../model/resources.ts';
import { mib, type Bytes } from '../../base/quantity.ts';
import type { InstanceSpec, ResizeRequest, TenantSpec } from '../../protocol/agent.ts';
import { tenantSpecOf, type AgentLink } from '../agent-link.ts';
import { desiredGrant, knownOf, type ActualState, type Tracked } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import type { EnforcedLimits } from './enforced-limits.ts';
import { requestOf, type Wish } from './plan-input.ts';
import type { AgentOutcome } from './transaction.ts';

/** Beyond the time that a caller is willing to wait: notifying, collecting garbage and writing take a moment themselves. */
const resizeMarginMs = 30_000;

/** What one instance is to have, what it is promised beside that while a part of it is lent, and what was asked for it if more. */
export type InstanceGrant = Readonly<ResizeRequest['instances'][number]>;

/** Half of the steps that demand moves in (../rebalance/steady-demand.ts). */
const slight: Readonly<Record<ResourceKind, number>> = {
  memory: 4 * mib,
  cpu: 25,
  storage: 0,
  bandwidth: 500_000,
};

export interface UnitRequestsParts {
  readonly link: AgentLink;
  readonly desired: DesiredState;
  readonly actual: ActualState;
}

export class UnitRequests {
  readonly #parts: UnitRequestsParts;
  readonly #enforced: EnforcedLimits;
  readonly #asked = new Map<InstanceId, InstanceGrant>();

  constructor(parts: UnitRequestsParts, enforced: EnforcedLimits) {
    this.#parts = parts;
    this.#enforced = enforced;
  }

  forget(id: InstanceId): void {
    this.#asked.delete(id);
  }

  /** An instance's part in a plan; nothing when it has none. */
  partOf({ grants, promised }: ChangePlan, id: InstanceId, wish: Wish): InstanceGrant[] {
    const tracked = this.#parts.actual.get(id);
    const grant = grants.get(id);
    if (tracked === undefined || grant === undefined) return [];
    const memory = promised.get(id);
    const requestedBytes = this.#requestedMemory(tracked, wish);
    return [
      {
        id,
        grant,
        ...(memory === undefined ? {} : { promised: { memory } }),
        ...(requestedBytes > grant.memory ? { requested: { memory: requestedBytes } } : {}),
      },
    ];
  }

  /** The agent may know nothing of what it was asked. */
  forgetAll(): void {
    this.#asked.clear();
  }

  async send(
    tenants: readonly TenantSpec[],
    instances: readonly InstanceGrant[],
    waitMs: number,
  ): Promise<AgentOutcome> {
    if (tenants.length === 0 && instances.length === 0) return { tenants: [], instances: [] };
    for (const instance of instances) this.#asked.set(instance.id, instance);
    try {
      const outcome = await this.#parts.link.agent.call(
        'resize',
        { tenants: [...tenants], instances: [...instances], waitMs },
        { timeoutMs: waitMs + resizeMarginMs },
      );
      this.#enforced.note(outcome.tenants);
      return outcome;
    } catch (thrown) {
      for (const { id } of instances) this.#asked.delete(id);
      throw thrown;
    }
  }

  /**
   * Tenants to be told of with a change: the one whose limits are wished otherwise, as they are to be, and those whose
   * stored limit is not in force yet, for room may have come.
   */
  tenantsFor({ limits }: Wish): TenantSpec[] {
    return this.#parts.desired.tenants().flatMap((tenant) => {
      if (tenant.id === limits?.tenant)
        return [tenantSpecOf({ ...tenant, limits: { ...tenant.limits, ...limits.wanted } })];
      return this.#enforced.of(tenant.id) === undefined ? [] : [tenantSpecOf(tenant)];
    });
  }

  /**
   * Instances that are to have otherwise than was asked for them last.
   * @param wish what the plan was made for
   * @param again whether to ask once more for one that was asked for just this and does not have it yet: who asks
   *   again is owed the agent's word, not the plan's, and an agent that came back has forgotten what waits
   */
  differing(plan: ChangePlan, wish: Wish, again: (instance: InstanceSpec) => boolean): InstanceGrant[] {
    return [...plan.grants.keys()].flatMap((id) => {
      const tracked = this.#parts.actual.get(id);
      const known = tracked === undefined ? null : knownOf(tracked);
      // One that has no process yet gets its share when it has.
      if (tracked === undefined || known === null) return [];
      return this.partOf(plan, id, wish).filter((wanted) => {
        const { grant, promised, requested } = this.#askedOf(tracked);
        if (!same(grant, wanted.grant) || lentOf(promised, grant) !== lentOf(wanted.promised, grant))
          return true;
        if (requested?.memory !== wanted.requested?.memory) return true;
        return !same(known.info.grant, wanted.grant) && again(tracked.spec);
      });
    });
  }

  /** Whether it is to have hardly other than was asked for it last: what is in use moves by as much at every look. */
  isSlight({ id, grant, promised, requested }: InstanceGrant): boolean {
    const tracked = this.#parts.actual.get(id);
    if (tracked === undefined) return true;
    const asked = this.#askedOf(tracked);
    const owed = (promised?.memory ?? grant.memory) - (asked.promised?.memory ?? asked.grant.memory);
    return (
      requested?.memory === asked.requested?.memory &&
      resourceKinds.every((kind) => Math.abs(grant[kind] - asked.grant[kind]) <= slight[kind]) &&
      Math.abs(owed) <= slight.memory
    );
  }

  #askedOf(tracked: Tracked): Omit<InstanceGrant, 'id'> {
    const { id } = tracked.spec;
    return this.#asked.get(id) ?? { grant: desiredGrant(tracked), promised: knownOf(tracked)?.info.promised };
  }

  #requestedMemory(tracked: Tracked, { request: wished }: Wish): Bytes {
    const { memory } = requestOf(this.#parts.desired.record(tracked.spec.workload), tracked);
    return wished?.workload === tracked.spec.workload ? (wished.wanted.memory ?? memory) : memory;
  }

  /** Whether a plan gives an instance otherwise than was asked for it last; so it does when it is not known. */
  moves(plan: ChangePlan, id: InstanceId, resource: ResourceKind): boolean {
    const tracked = this.#parts.actual.get(id);
    const grant = plan.grants.get(id);
    if (tracked === undefined || grant === undefined) return true;
    return (this.#asked.get(id)?.grant ?? desiredGrant(tracked))[resource] !== grant[resource];
  }
}

/** How much is promised beyond a grant. */
function lentOf(promised: { readonly memory: Bytes } | undefined, grant: Resources): number {
  return Math.max(0, (promised?.memory ?? 0) - grant.memory);
}

function same(left: Resources, right: Resources): boolean {
  return resourceKinds.every((kind) => left[kind] === right[kind]);
}
