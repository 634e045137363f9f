// How long the allocator plans, for how many instances: all four resources, tenants with weights and limits, memory scarce. Arithmetic
// alone, nothing runs. The plot shows whether it grows as the number of instances does.
import { mkdirSync, writeFileSync } from 'node:fs';
import { divideByCredit } from '../src/allocator/credits/lend.ts';
import type { TenantClaim } from '../src/allocator/grants.ts';
import { planChange } from '../src/allocator/plan-change.ts';
import type { InstanceState, PlanInput, TenantState } from '../src/allocator/plan-input.ts';
import { SeededRandom } from '../src/allocator/simulator/random.ts';
import type { InstanceId, TenantId, WorkloadKey } from '../src/base/ids.ts';
import { mib } from '../src/base/quantity.ts';
import type { Resources } from '../src/model/resources.ts';
import { ms, percentile, type Bench } from './figure.ts';
import { linePlot } from './plot.ts';

const sizes = [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000] as const;
const asked = 10_000;
const plotFile = 'bench/results/allocator.svg';
const resources = (memory: number, cpu: number): Resources =>
  ({ memory, cpu, storage: 512 * mib, bandwidth: 12_500_000 }) as Resources;

/**
 * Time on a processor, of this thread: arithmetic waits for nobody, and how busy others keep the machine is not its matter.
 * The kernel counts it in ticks of some milliseconds, so short work is done `repeats` times.
 */
function cpuMsOf(repeats: number, work: () => void): number {
  const before = process.threadCpuUsage();
  for (let count = 0; count < repeats; count += 1) work();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1_000 / repeats;
}

/** Ten instances a tenant, granted what they are to have: until a limit changes there is nothing to do. */
function settled(count: number): PlanInput {
  const random = new SeededRandom(count);
  const tenantCount = count / 10;
  const tenants = Array.from({ length: tenantCount }, (_, index): TenantState => {
    const limits = {
      memory: index % 3 === 0 ? 2_048 * mib : null,
      cpu: index % 4 === 0 ? 8_000 : null,
      storage: null,
      bandwidth: null,
    } as TenantState['limits'];
    return { tenant: `t-${index}` as TenantId, weight: 1 + (index % 3), limits, wantedLimits: limits };
  });
  const instances = Array.from({ length: count }, (_, index): InstanceState => {
    const tenant = `t-${index % tenantCount}` as TenantId;
    const wanted = resources(
      Math.round(random.between(64, 256)) * mib,
      Math.round(random.between(100, 1_000)),
    );
    return {
      id: `i-${index}` as InstanceId,
      workload: `${tenant}/w-${index % (3 * tenantCount)}` as WorkloadKey,
      tenant,
      grant: wanted,
      request: wanted,
      wanted,
      inUse: { memory: (Math.round(random.between(40, 60)) * mib) as Resources['memory'] },
    };
  });
  const input: PlanInput = {
    // All of them ask for 160 MiB on average.
    capacity: {
      ...resources(count * 130 * mib, count * 400),
      storage: count * 600 * mib,
      bandwidth: count * 12_000_000,
    } as Resources,
    oversubscription: { memory: 1, cpu: 1, storage: 1, bandwidth: 1 },
    tenants,
    instances,
  };
  const { grants } = planChange(input);
  return {
    ...input,
    instances: instances.map((each) => ({ ...each, grant: grants.get(each.id) ?? each.grant })),
  };
}

/** One tenant's memory limit goes up and down; what that tenant gains or loses comes from, or goes to, all others. */
function replanned(input: PlanInput, rounds: number): number[] {
  return Array.from({ length: rounds }, (_, round) => {
    const at = (round * 7) % input.tenants.length;
    const limit = ((512 + 64 * round) * mib) as NonNullable<TenantState['limits']['memory']>;
    const tenants = input.tenants.map((state, index) =>
      index === at ? { ...state, wantedLimits: { ...state.wantedLimits, memory: limit } } : state,
    );
    const { status } = planChange({ ...input, tenants });
    if (status === 'infeasible') throw new Error('the plan that was to be measured is none');
    return cpuMsOf(Math.ceil(30_000 / input.instances.length), () => planChange({ ...input, tenants }));
  });
}

function divided({ capacity, tenants, instances }: PlanInput, rounds: number): number[] {
  const own = Map.groupBy(instances, ({ tenant }) => tenant);
  const claims = tenants.map(({ tenant, weight, limits }): TenantClaim => ({
    tenant,
    weight,
    limit: limits.memory,
    instances: (own.get(tenant) ?? []).map(({ id, wanted, inUse }) => ({
      id,
      request: wanted.memory,
      floor: inUse.memory ?? 0,
    })),
  }));
  const balances = new Map(tenants.map(({ tenant }, index) => [tenant, (index % 7) - 3]));
  return Array.from({ length: rounds }, () =>
    cpuMsOf(5, () => divideByCredit(capacity.memory, 1, claims, balances)),
  );
}

export const allocator: Bench = {
  what: 'one tenant’s limit changes: a new plan for all, four resources, ten instances a tenant',
  run: () => {
    const medians = sizes.map((count) => {
      const input = settled(count);
      // The first ones warm the compiler up; a few of the large ones are enough.
      const rounds = count > asked ? 5 : 21;
      return { count, tookMs: percentile(replanned(input, rounds + 5).slice(5), 0.5), input };
    });
    const of = (count: number): number => medians.find((each) => each.count === count)?.tookMs ?? Number.NaN;
    const [first] = sizes;
    const last = sizes[sizes.length - 1] ?? asked;
    // How many times as long for ten times as many; 10 is linear.
    const growth = of(last) / of(asked);
    // The slope of the plot: time grows as the number of instances to this power.
    const power = Math.log(of(last) / of(first)) / Math.log(last / first);
    const input = medians.find(({ count }) => count === asked)?.input ?? settled(asked);
    mkdirSync('bench/results', { recursive: true });
    writeFileSync(
      plotFile,
      linePlot({
        title: 'A plan of all instances after one change',
        x: 'instances',
        y: 'median, ms of processor time',
        points: medians.map(({ count, tookMs }) => ({ x: count, y: tookMs })),
      }),
    );
    return Promise.resolve([
      ...medians.map(({ count, tookMs }) => ({
        name: `${count} instances of ${count / 10} tenants, median`,
        value: ms(tookMs),
        ...(count === asked ? { aim: '<= 20 ms', met: tookMs <= 20 } : {}),
      })),
      {
        name: `growth from ${first} to ${last}: instances to the power of`,
        value: power.toFixed(2),
        aim: '<= 1.1',
        met: power <= 1.1,
      },
      {
        name: `${last} / ${asked} instances`,
        value: `${growth.toFixed(1)} ×`,
        aim: '<= 13 ×',
        met: growth <= 13,
      },
      {
        name: `${asked} instances, memory alone, by credits, median`,
        value: ms(percentile(divided(input, 15), 0.5)),
      },
      { name: 'plot', value: plotFile },
    ]);
  },
};
