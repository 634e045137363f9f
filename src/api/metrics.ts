// /metrics for Prometheus: a few sums of what the controller knows, read when they are asked for.
// Owns names and labels. Tenants' names and figures are for the admin only: code that runs here can reach the port too.
import { Counter, Gauge, Registry } from 'prom-client';
import type { TenantId } from '../base/ids.ts';
import { instanceStates } from '../model/instance.ts';
import { resourceKinds } from '../model/resources.ts';
import { countedLimits, type CountedUse, type Tenant } from '../model/tenant.ts';
import type { ControlPlane, GatewayView, UnitView } from '../controller/control-plane.ts';
import { nameInKey } from './workload-key.ts';

/** @param detailed whether series by tenant and workload are given too */
export async function renderMetrics(
  control: Pick<
    ControlPlane,
    | 'instances'
    | 'units'
    | 'gateways'
    | 'ledger'
    | 'listTenants'
    | 'countedUse'
    | 'memoryAccount'
    | 'startedAtMs'
  >,
  detailed: boolean,
): Promise<{ text: string; mediaType: string }> {
  // A registry for each answer: what is gone since the last one leaves no series behind.
  const registry = new Registry();
  const registers = [registry];
  const [instances, units, gateways, ledger] = await Promise.all([
    control.instances(),
    control.units(),
    control.gateways(),
    control.ledger(),
  ]);

  new Gauge({
    name: 'bellows_controller_start_time_seconds',
    help: 'When this controller started, in seconds since the epoch.',
    registers,
  }).set(control.startedAtMs / 1_000);

  const states = new Gauge({
    name: 'bellows_instances',
    help: 'Instances by state.',
    labelNames: ['state'],
    registers,
  });
  for (const state of instanceStates) states.set({ state }, 0);
  for (const { state } of instances) states.inc({ state });
  // Whom nobody asked for yet are the agent's own: it lists no instance of them, only how many there are.
  for (const { warm } of units) states.inc({ state: 'warm' }, warm);

  const open = new Gauge({
    name: 'bellows_connections',
    help: 'Client connections open at instances.',
    registers,
  });
  const kills = new Counter({
    name: 'bellows_oom_kills_total',
    help: 'Out-of-memory kills in instances that run now.',
    registers,
  });
  for (const { connections, usage } of instances) {
    open.inc(connections.open);
    kills.inc(usage.oomKills);
  }

  const ready = new Gauge({
    name: 'bellows_unit_ready',
    help: '1 while the unit can serve.',
    labelNames: ['unit'],
    registers,
  });
  for (const { id, state } of units) ready.set({ unit: id }, servingStates.has(state) ? 1 : 0);

  // Bytes, millicores and bytes per second, as everywhere; the resource's name is the label.
  const amounts = [
    'capacity',
    'provisioned',
    'granted',
    'used',
    'claimed',
    'unallocated',
    'oversubscribed',
  ] as const;
  for (const amount of amounts) {
    const gauge = new Gauge({
      name: `bellows_resource_${amount}`,
      help: `What is ${amount} of the machine: bytes, millicores or bytes per second.`,
      labelNames: ['resource'],
      registers,
    });
    for (const line of ledger) gauge.set({ resource: line.resource }, line[amount]);
  }
  const demand = new Gauge({
    name: 'bellows_resource_demand',
    help: 'What instances would use now and soon: bytes, millicores or bytes per second.',
    labelNames: ['resource'],
    registers,
  });
  for (const resource of resourceKinds)
    demand.set(
      { resource },
      instances.reduce((sum, instance) => sum + instance.demand[resource], 0),
    );
  addUnits(registers, units);
  addGateways(registers, gateways);
  if (detailed) {
    const tenants = control.listTenants();
    addDetails(registers, instances, ledger, tenants, await control.countedUse());
    addMetering(registers, tenants, control);
  }
  return { text: await registry.metrics(), mediaType: registry.contentType };
}

const servingStates: ReadonlySet<UnitView['state']> = new Set(['ready', 'warm', 'bound', 'hibernated']);

/** What each virtual machine was made with, what is claimed of it, and what it really takes of the host. */
function addUnits(registers: Registry[], units: readonly UnitView[]): void {
  const byUnit = { labelNames: ['unit', 'resource'] as const, registers };
  const provisioned = new Gauge({
    name: 'bellows_unit_provisioned',
    help: 'What a unit was made with.',
    ...byUnit,
  });
  const claimed = new Gauge({
    name: 'bellows_unit_claimed',
    help: 'The part of a unit that nothing inside may use: the host has it.',
    ...byUnit,
  });
  const host = new Gauge({
    name: 'bellows_unit_host',
    help: "What a virtual machine takes of the host, by the host's own accounting.",
    ...byUnit,
  });
  for (const unit of units) {
    for (const resource of resourceKinds) {
      provisioned.set({ unit: unit.id, resource }, unit.provisioned[resource]);
      claimed.set({ unit: unit.id, resource }, unit.claimed[resource]);
    }
    if (unit.host === null) continue;
    host.set({ unit: unit.id, resource: 'memory' }, unit.host.privateBytes);
    host.set({ unit: unit.id, resource: 'storage' }, unit.host.storageBytes);
  }
}

/** By place: process ids would begin new series with each upgrade. `bellows gateways` tells them. */
function addGateways(registers: Registry[], gateways: readonly GatewayView[]): void {
  const byPlace = { labelNames: ['gateway', 'state'] as const, registers };
  const processes = new Gauge({
    name: 'bellows_gateways',
    help: 'Processes that clients are connected to, by place and state; more than one leave one place after several upgrades.',
    ...byPlace,
  });
  const connections = new Gauge({
    name: 'bellows_gateway_connections',
    help: 'Client connections open in gateways; what was handed to apps is not. No series of one that is silent.',
    ...byPlace,
  });
  for (const { place, state, connections: open } of gateways) {
    const labels = { gateway: String(place + 1), state };
    processes.inc(labels);
    if (open !== null) connections.inc(labels, open);
  }
}

function addMetering(
  registers: Registry[],
  tenants: readonly Tenant[],
  control: Pick<ControlPlane, 'memoryAccount'>,
): void {
  const seconds = new Counter({
    name: 'bellows_tenant_memory_byte_seconds_total',
    help: "Memory over time: a tenant's own and borrowed is what it had; lent and unused is the rest of its share.",
    labelNames: ['tenant', 'part'],
    registers,
  });
  const credit = new Gauge({
    name: 'bellows_tenant_memory_credit_byte_seconds',
    help: 'Memory that a tenant lent and has not had back; below 0 for what it borrowed.',
    labelNames: ['tenant'],
    registers,
  });
  for (const { id } of tenants) {
    const account = control.memoryAccount(id);
    for (const part of ['own', 'borrowed', 'lent', 'unused'] as const)
      seconds.inc({ tenant: id, part }, account[part]);
    credit.set({ tenant: id }, account.credit);
  }
}

function addDetails(
  registers: Registry[],
  instances: Awaited<ReturnType<ControlPlane['instances']>>,
  ledger: Awaited<ReturnType<ControlPlane['ledger']>>,
  tenants: readonly Tenant[],
  use: ReadonlyMap<TenantId, CountedUse> | null,
): void {
  const byTenant = { labelNames: ['tenant', 'resource'] as const, registers };
  const granted = new Gauge({
    name: 'bellows_tenant_granted',
    help: "Granted to a tenant's instances.",
    ...byTenant,
  });
  const used = new Gauge({
    name: 'bellows_tenant_used',
    help: "Used by a tenant's instances; its connections, its invocations that run or wait, and its requests of the last second.",
    ...byTenant,
  });
  const demand = new Gauge({
    name: 'bellows_tenant_demand',
    help: "What a tenant's instances would use now and soon.",
    ...byTenant,
  });
  for (const instance of instances) {
    for (const resource of resourceKinds)
      demand.inc({ tenant: instance.tenant, resource }, instance.demand[resource]);
  }
  const limit = new Gauge({
    name: 'bellows_tenant_limit',
    help: 'The most a tenant may be allocated; no series means no limit.',
    ...byTenant,
  });
  for (const { resource, tenants } of ledger) {
    for (const line of tenants) {
      granted.set({ tenant: line.tenant, resource }, line.granted);
      used.set({ tenant: line.tenant, resource }, line.used);
      if (line.limit !== null) limit.set({ tenant: line.tenant, resource }, line.limit);
    }
  }
  for (const { id, limits } of tenants) {
    for (const resource of countedLimits) {
      if (use !== null) used.set({ tenant: id, resource }, use.get(id)?.[resource] ?? 0);
      const most = limits[resource];
      if (most !== null) limit.set({ tenant: id, resource }, most);
    }
  }
  const byWorkload = { labelNames: ['tenant', 'workload'] as const, registers };
  const counts = new Gauge({
    name: 'bellows_workload_instances',
    help: 'Instances of a workload.',
    ...byWorkload,
  });
  const open = new Gauge({
    name: 'bellows_workload_connections',
    help: 'Client connections open at a workload.',
    ...byWorkload,
  });
  for (const { tenant, workload, connections } of instances) {
    const labels = { tenant, workload: nameInKey(workload) };
    counts.inc(labels);
    open.inc(labels, connections.open);
  }
}
