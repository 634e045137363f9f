// One resource of a plan, divided: the same as `divide` of grants.ts, but of 10,000 instances only those are looked at one by one
// whose tenant is short, and nobody's demand is asked for while there is room. Part of plan-change.ts. Pure.
import type { ResourceKind } from '../model/resources.ts';
import { lendingByCredit } from './credits/lend.ts';
import { fairShare, type Claim } from './fair-share.ts';
import { minimumOf } from './feasibility.ts';
import { demandedBy, dividedShares, divideShare, grantable, type InstanceClaim } from './grants.ts';
import type { Member, PlanGroups, TenantGroup } from './plan-groups.ts';
import type { InstanceState, PlanInput } from './plan-input.ts';

/** What tenants have in all, by their places in the groups, and each instance, by its place in the input. */
export interface Division {
  readonly shares: readonly number[];
  readonly amounts: Float64Array;
  /** What each would have if everybody demanded what it asks for; the very amounts where demand made no difference. */
  readonly undemanded: Float64Array;
}

export function divideOne(input: PlanInput, groups: PlanGroups, resource: ResourceKind): Division {
  const { capacity, oversubscription, demandOf } = input;
  const { tenants } = groups;
  const room = grantable(capacity[resource], oversubscription[resource]);
  const asked = tenants.map((group) => claimOf(group, resource));
  const ifAllDemanded = fairShare(room, asked);
  if (demandOf === undefined) return undemanding(input, groups, resource, asked, ifAllDemanded);
  const amounts = new Float64Array(input.instances.length);
  const undemanded = new Float64Array(input.instances.length);
  let given = 0;
  for (const share of ifAllDemanded) given += share;
  const wants = new Demands(demandOf, resource);
  // Where the tenants' own limits alone stand against somebody, no tenant has anything that another one could use.
  const isRoomShort = given >= room;
  const shares = isRoomShort ? sharesByDemand(input, groups, room, asked, wants) : ifAllDemanded;
  let differs = false;
  for (const { place, members } of tenants) {
    const most = asked[place]?.demand ?? 0;
    const share = shares[place] ?? 0;
    const ifAll = ifAllDemanded[place] ?? 0;
    if (share >= most && ifAll >= most) {
      for (const { instance, index } of members)
        undemanded[index] = amounts[index] = instance.wanted[resource];
      continue;
    }
    differs = true;
    const claims = members.map(({ instance }) => claimOfInstance(instance, resource));
    put(undemanded, members, divideShare(ifAll, claims));
    if (share >= most) {
      for (const { instance, index } of members) amounts[index] = instance.wanted[resource];
      continue;
    }
    const demanding = members.map(({ instance }, at) => ({
      ...(claims[at] as InstanceClaim),
      demand: wants.of(instance),
    }));
    put(amounts, members, divideShare(share, demanding));
  }
  return { shares, amounts, undemanded: differs ? undemanded : amounts };
}

/** Everybody demands what it asks for. */
function undemanding(
  { instances }: PlanInput,
  { tenants }: PlanGroups,
  resource: ResourceKind,
  asked: readonly Claim[],
  shares: readonly number[],
): Division {
  const amounts = new Float64Array(instances.length);
  for (const { place, members } of tenants) {
    const share = shares[place] ?? 0;
    if (share >= (asked[place]?.demand ?? 0)) {
      for (const { instance, index } of members) amounts[index] = instance.wanted[resource];
      continue;
    }
    put(
      amounts,
      members,
      divideShare(
        share,
        members.map(({ instance }) => claimOfInstance(instance, resource)),
      ),
    );
  }
  return { shares, amounts, undemanded: amounts };
}

function sharesByDemand(
  { balances }: PlanInput,
  { tenants }: PlanGroups,
  room: number,
  asked: readonly Claim[],
  wants: Demands,
): readonly number[] {
  const demanded = tenants.map((group, at): Claim => ({
    ...(asked[at] as Claim),
    demand: wants.ofTenant(group),
  }));
  const lend =
    balances === undefined
      ? undefined
      : lendingByCredit(
          tenants.map(({ state }) => state.tenant),
          demanded,
          balances,
        );
  return dividedShares(room, demanded, asked, lend);
}

/** What instances demand of one resource, asked for once. */
class Demands {
  readonly #demandOf: NonNullable<PlanInput['demandOf']>;
  readonly #resource: ResourceKind;
  readonly #known = new Map<InstanceState, number>();

  constructor(demandOf: NonNullable<PlanInput['demandOf']>, resource: ResourceKind) {
    this.#demandOf = demandOf;
    this.#resource = resource;
  }

  of(instance: InstanceState): number {
    let demand = this.#known.get(instance);
    if (demand === undefined) {
      demand = demandedBy({
        request: instance.wanted[this.#resource],
        demand: this.#demandOf(instance)[this.#resource] ?? instance.wanted[this.#resource],
        floor: floorOf(instance, this.#resource),
      });
      this.#known.set(instance, demand);
    }
    return demand;
  }

  ofTenant({ members }: TenantGroup): number {
    let demand = 0;
    for (const { instance } of members) demand += this.of(instance);
    return demand;
  }
}

function claimOf({ state, members }: TenantGroup, resource: ResourceKind): Claim {
  let demand = 0;
  let floor = 0;
  for (const { instance } of members) {
    const wanted = instance.wanted[resource];
    demand += wanted;
    floor += Math.min(floorOf(instance, resource), wanted);
  }
  const limit = state.wantedLimits[resource] ?? Number.POSITIVE_INFINITY;
  return { demand, floor, limit, weight: state.weight };
}

function claimOfInstance(instance: InstanceState, resource: ResourceKind): InstanceClaim {
  return { id: instance.id, request: instance.wanted[resource], floor: floorOf(instance, resource) };
}

function floorOf({ inUse }: InstanceState, resource: ResourceKind): number {
  return Math.max(minimumOf[resource], inUse[resource] ?? 0);
}

function put(amounts: Float64Array, members: readonly Member[], values: readonly number[]): void {
  let at = 0;
  for (const { index } of members) {
    amounts[index] = values[at] ?? 0;
    at += 1;
  }
}
