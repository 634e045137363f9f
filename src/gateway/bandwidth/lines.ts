// The lines of instances, of functions and of tenants, with the rates that the route table says. A function's line has what
// its instances are granted together, for a call's bytes come and go before and after it is known which of them serves it.
// Does not own what passes.
import type { InstanceId, TenantId, WorkloadKey } from '../../base/ids.ts';
import type { InstanceRoute, RouteChange } from '../../protocol/routes.ts';
import { Line, type Rates } from './line.ts';
import { TokenBucket } from './token-bucket.ts';

const unlimited = Number.POSITIVE_INFINITY;

/** Bytes that went over one owner's line. */
export interface Passed {
  readonly owner: 'tenant' | 'workload' | 'instance';
  readonly name: string;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export class Lines {
  readonly #nowMs: () => number;
  readonly #tenants = new Map<TenantId, Rates>();
  readonly #workloads = new Map<
    WorkloadKey,
    { readonly tenant: TenantId; readonly rates: Rates; readonly line: Line }
  >();
  readonly #instances = new Map<
    InstanceId,
    { route: InstanceRoute; readonly rates: Rates; readonly line: Line }
  >();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  ofWorkload(key: WorkloadKey): Line | undefined {
    return this.#workloads.get(key)?.line;
  }

  ofInstance(id: InstanceId): Line | undefined {
    return this.#instances.get(id)?.line;
  }

  /** To be told before those who carry. */
  onChange(change: RouteChange): void {
    switch (change.change) {
      case 'tenant':
        setRate(this.#tenant(change.tenant.id), change.tenant.bandwidthLimit ?? unlimited);
        return;
      case 'tenantGone':
        this.#tenants.delete(change.id);
        return;
      case 'workload': {
        const { key, tenant } = change.workload;
        if (this.#workloads.has(key)) return;
        const rates = this.#newRates(unlimited);
        this.#workloads.set(key, { tenant, rates, line: new Line(rates, this.#tenant(tenant)) });
        return;
      }
      case 'workloadGone':
        this.#workloads.delete(change.key);
        return;
      case 'instance':
        this.#setInstance(change.instance);
        return;
      case 'instanceGone':
        this.#instances.delete(change.id);
        this.#divide(change.workload);
    }
  }

  /** What has passed since this was asked last, over each line that has carried anything. */
  *takeUntold(): Iterable<Passed> {
    for (const [name, rates] of this.#tenants) yield* untoldOf('tenant', name, rates);
    for (const [name, { rates }] of this.#workloads) yield* untoldOf('workload', name, rates);
    for (const [name, { rates }] of this.#instances) yield* untoldOf('instance', name, rates);
  }

  /** As much has passed through another gateway. */
  passedElsewhere({ owner, name, bytesIn, bytesOut }: Passed): void {
    const rates = {
      tenant: () => this.#tenants.get(name as TenantId),
      workload: () => this.#workloads.get(name as WorkloadKey)?.rates,
      instance: () => this.#instances.get(name as InstanceId)?.rates,
    }[owner]();
    rates?.in.passedElsewhere(bytesIn);
    rates?.out.passedElsewhere(bytesOut);
  }

  #setInstance(route: InstanceRoute): void {
    const known = this.#instances.get(route.id);
    const workload = this.#workloads.get(route.workload);
    if (known !== undefined) {
      known.route = route;
      setRate(known.rates, route.grant.bandwidth);
    } else if (workload !== undefined) {
      const rates = this.#newRates(route.grant.bandwidth);
      this.#instances.set(route.id, { route, rates, line: new Line(rates, this.#tenant(workload.tenant)) });
    }
    this.#divide(route.workload);
  }

  #divide(key: WorkloadKey): void {
    const workload = this.#workloads.get(key);
    if (workload === undefined) return;
    let sum = 0;
    for (const { route } of this.#instances.values())
      if (route.workload === key) sum += route.grant.bandwidth;
    setRate(workload.rates, sum === 0 ? unlimited : sum);
  }

  #tenant(id: TenantId): Rates {
    let rates = this.#tenants.get(id);
    if (rates === undefined) this.#tenants.set(id, (rates = this.#newRates(unlimited)));
    return rates;
  }

  #newRates(bytesPerSecond: number): Rates {
    return {
      in: new TokenBucket(bytesPerSecond, this.#nowMs),
      out: new TokenBucket(bytesPerSecond, this.#nowMs),
    };
  }
}

function* untoldOf(owner: Passed['owner'], name: string, rates: Rates): Iterable<Passed> {
  const bytesIn = rates.in.takeUntold();
  const bytesOut = rates.out.takeUntold();
  if (bytesIn + bytesOut > 0) yield { owner, name, bytesIn, bytesOut };
}

function setRate(rates: Rates, bytesPerSecond: number): void {
  rates.in.setRate(bytesPerSecond);
  rates.out.setRate(bytesPerSecond);
}
