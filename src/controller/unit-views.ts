// What APIs show of units: this machine as one, its virtual machines, or both. Pure.
import type { Resources } from '../model/resources.ts';
import type { UnitMeasure } from '../protocol/unit.ts';
import type { Unit } from '../units/port.ts';
import type { AgentHello } from './agent-link.ts';
import type { InstanceView, UnitView } from './control-plane.ts';
import { resourcesOf } from './views.ts';

export interface UnitFigures {
  /** Virtual machines. */
  readonly virtual: readonly UnitMeasure[];
  /** Whether instances run on this machine itself. */
  readonly isUnit: boolean;
  readonly agent: {
    readonly connected: boolean;
    readonly hello: AgentHello | null;
    readonly unit: Pick<Unit, 'handle' | 'provisioned' | 'claimed' | 'pid'>;
  };
  /** Unbound processes that are ready. */
  readonly poolReady: number;
  readonly instances: readonly InstanceView[];
}

export function unitViews(figures: UnitFigures): UnitView[] {
  const machines = figures.virtual.map((unit) => machineView(unit, figures));
  return figures.isUnit ? [hostView(figures), ...machines] : machines;
}

function hostView({ virtual, agent, poolReady, instances }: UnitFigures): UnitView {
  const { handle, provisioned, claimed, pid } = agent.unit;
  const elsewhere = new Set<string>(virtual.map(({ id }) => id));
  return {
    id: handle.id,
    driver: handle.driver,
    state: agent.connected ? 'ready' : 'disconnected',
    pid,
    tenant: null,
    warm: agent.connected ? poolReady : 0,
    capabilities: agent.hello?.capabilities ?? null,
    provisioned,
    claimed,
    ...sums(instances.filter(({ unit }) => !elsewhere.has(unit))),
    host: null,
  };
}

function machineView(unit: UnitMeasure, { agent, instances }: UnitFigures): UnitView {
  return {
    id: unit.id,
    driver: unit.driver,
    state: agent.connected ? unit.state : 'disconnected',
    pid: unit.pid,
    tenant: unit.tenant,
    warm: unit.state === 'warm' ? 1 : 0,
    capabilities: agent.hello?.capabilities ?? null,
    provisioned: unit.provisioned,
    claimed: unit.claimed,
    ...sums(instances.filter((instance) => instance.unit === unit.id)),
    host: {
      privateBytes: unit.hostPrivateBytes,
      groupBytes: unit.hostGroupBytes,
      storageBytes: unit.hostStorageBytes,
    },
  };
}

function sums(instances: readonly InstanceView[]): Pick<UnitView, 'instances' | 'granted' | 'used'> {
  const total = (amount: (view: InstanceView) => Resources): Resources => {
    const sum = (kind: keyof Resources): number =>
      instances.reduce((all, view) => all + amount(view)[kind], 0);
    return resourcesOf(sum('memory'), sum('cpu'), sum('storage'), sum('bandwidth'));
  };
  return {
    instances: instances.length,
    granted: total((view) => view.grant),
    used: total((view) => view.used),
  };
}
